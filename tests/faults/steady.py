"""Clients that stay at one node: what it does for them while its log is away."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from tests.acceptance.checker import check_received
from tests.acceptance.subscribers import Subscriber, http_client
from tests.acceptance.waiting import until
from tests.faults.lanes import end, failed
from tests.faults.traffic import CHANNELS, WITHIN

if TYPE_CHECKING:
    from tests.faults.model import Published
    from tests.server_process import ServerProcess

STREAMS = ("ws", "sse")


class Steady:
    """One stream of each kind at a node, from before the trouble until after it."""

    def __init__(self, node: ServerProcess) -> None:
        self._node = node
        self.subscribers = {kind: Subscriber(CHANNELS, since="start") for kind in STREAMS}

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(subscriber.listen(self._node.url, kind))
            for kind, subscriber in self.subscribers.items()
        ]
        await until(lambda: all(s.readies for s in self.subscribers.values()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._tasks)

    async def check(self, published: Published) -> None:
        """All has come, on the same connection as ever."""
        log = published.acknowledged.values()
        await until(
            lambda: (
                failed(self._tasks)
                or all(len(s.messages) >= len(log) for s in self.subscribers.values())
            ),
            within=WITHIN,
        )
        for subscriber in self.subscribers.values():
            check_received(log, subscriber.messages)
            assert len(subscriber.readies) == 1, "it had to connect again"
            assert subscriber.gaps == []
        assert not any(task.done() for task in self._tasks), "a stream has ended"


async def check_refusal(node: ServerProcess, *, within: float = 20.0) -> None:
    """A publish is refused, soon, with a word on when to try again; the node itself is well."""
    async with http_client(node.url) as client:
        before = time.monotonic()
        answer = await client.post("/publish", json={"channel": "away", "data": 1})
        assert time.monotonic() - before < within
        assert answer.status_code == 503, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "engine_unavailable"
        assert int(answer.headers["Retry-After"]) > 0
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200, path
