"""One fault, clients of every kind on a bad network, and a verdict on each.

They have one server, or the nodes of one log: then each connection goes to another node than the
last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.acceptance.subscribers import TRANSPORTS, http_client, publish
from tests.acceptance.waiting import LOOK_EVERY, until
from tests.faults.clients import Publisher, Subscriber
from tests.faults.model import (
    EVERYBODY,
    Footprint,
    Published,
    Verdict,
    judge,
    judge_healing,
    judge_server,
)
from tests.faults.proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

    from tests.server_process import ServerProcess

KEPT = ["a", "b", "c"]
SHORT = ["short:a", "short:b"]
SHORT_HISTORY = 40
SETTINGS: dict[str, Any] = {
    "history_size": 1_000_000,
    "namespaces": f'{{"short":{{"history_size":{SHORT_HISTORY}}}}}',
}
"""What the server of a lane is started with."""

LANES = (*TRANSPORTS, "hopping", "short history")
"""Subscribers: one of each transport, one that changes it, one whose messages soon expire."""

PUBLISHERS = ("single", "batch", "socket")

FAULTS_EACH = 5
MESSAGES = 800
MOST_SECONDS = 60.0
"""How long a run may take until every subscriber has had its faults, and all is published."""

HEALS_WITHIN = 40.0
SETTLES_WITHIN = 20.0
"""Seconds to catch up, and to forget all clients: far above the usual, for a loaded machine."""

ALLOWED_GROWTH = 48 << 20
"""Bytes that the server's memory may grow in a run, besides what the messages take."""


class Pace(NamedTuple):
    """How clients behave under a fault: seconds of patience, characters of text in a message."""

    patience: float = 0.3
    text: int = 60


PACES = {"slow": Pace(patience=4.0, text=1_000)}
"""Where it is slow, no client may give up early, and there is more than gets through."""


@dataclass
class Outcome:
    """What came of a run: a verdict for each subscriber, and what was done to it."""

    verdicts: dict[str, Verdict]
    injected: dict[str, Counter[str]] = field(default_factory=dict)


def hopping(seed: str) -> Iterator[str]:
    """All transports in random order, never one twice in a row."""
    choice = random.Random(seed)
    last = ""
    while True:
        last = choice.choice([transport for transport in TRANSPORTS if transport != last])
        yield last


def footprint(server: ServerProcess) -> Footprint:
    """What the server holds now."""
    return Footprint(server.resident_memory(), server.connections(), server.descriptors())


async def warm_up(server: ServerProcess) -> str:
    """Have the server open what it opens once, before anything is counted; return a cursor."""
    async with http_client(server.url) as client:
        message = await publish(client, {"channel": "warm-up", "data": 0})
        for _ in range(4):
            await client.get("/history?channel=warm-up")
    return f"{message.epoch}-{message.position}"


class Run:
    """Publishers and subscribers, each with a faulty proxy of its own before each of the servers.

    ``kind`` is what the subscribers are, and without ``keys`` publishers publish again without
    saying so: that is for clients that are wrong on purpose.
    """

    def __init__(
        self,
        servers: Sequence[ServerProcess],
        fault: str,
        *,
        seed: str,
        lanes: Sequence[str] = LANES,
        kind: type[Subscriber] = Subscriber,
        keys: bool = True,
        heals_within: float = HEALS_WITHIN,
    ) -> None:
        self.servers = servers
        self.fault = fault
        self.seed = seed
        self.lanes = lanes
        self.keys = keys
        self.heals_within = heals_within
        self.pace = PACES.get(fault, Pace())
        self.published = Published()
        self.stop = asyncio.Event()
        self.most_memory = [0] * len(servers)
        self.proxies: dict[str, list[FaultyProxy]] = {}
        self.subscribers = {
            lane: kind(
                SHORT if lane == "short history" else KEPT,
                itertools.repeat(lane) if lane in TRANSPORTS else hopping(f"{seed} {lane}"),
                patience=self.pace.patience,
                seed=f"{seed} {lane}",
            )
            for lane in lanes
        }

    async def perform(self) -> Outcome:
        """Run until every subscriber has had enough faults; heal the network; judge."""
        # A cursor, not the start: the start of a channel that keeps little moves without a gap.
        starts = [await warm_up(server) for server in self.servers]
        for subscriber in self.subscribers.values():
            subscriber.cursor = starts[-1]
        await until(lambda: not any(server.connections() for server in self.servers))
        before = [footprint(server) for server in self.servers]
        async with AsyncExitStack() as stack:
            for name in (*PUBLISHERS, *self.lanes):
                proxies: list[FaultyProxy] = []
                for server in self.servers:
                    proxy = FaultyProxy(
                        server.address,
                        self.fault,
                        seed=f"{self.seed} {name}",
                        most_bytes=3_000 if name in PUBLISHERS else 12_000,
                        beside=proxies[0] if proxies else None,
                    )
                    proxies.append(await stack.enter_async_context(proxy))
                self.proxies[name] = proxies
            took = await self._run()
        with contextlib.suppress(AssertionError):
            await until(lambda: self._at_rest(before), within=SETTLES_WITHIN)
        outcome = Outcome(
            judge(
                self.published,
                {lane: subscriber.view for lane, subscriber in self.subscribers.items()},
                kept=KEPT,
            )
        )
        for lane in self.lanes:
            outcome.injected[lane] = self._injected(lane)
            judge_healing(outcome.verdicts[lane], took.get(lane), within=self.heals_within)
        outcome.injected[EVERYBODY] = self._injected(*PUBLISHERS)
        for server, first, most in zip(self.servers, before, self.most_memory, strict=True):
            judge_server(
                outcome.verdicts[EVERYBODY],
                first,
                footprint(server),
                most=most,
                allowed=ALLOWED_GROWTH + 3 * len(self.published.attempts) * self.pace.text,
            )
        return outcome

    def _injected(self, *names: str) -> Counter[str]:
        """What has happened to these clients."""
        return sum((self.proxies[name][0].injected for name in names), Counter[str]())

    def _urls(self, name: str) -> list[str]:
        """Where a client connects to: to one after the other, and not all to the first at first."""
        urls = [proxy.url for proxy in self.proxies[name]]
        first = list(self.proxies).index(name) % len(urls)
        return urls[first:] + urls[:first]

    async def _run(self) -> dict[str, float]:
        """Let the clients run; return how long each took to catch up after the healing."""
        publishing = [asyncio.create_task(work) for work in self._publishers()]
        listening = [
            asyncio.create_task(subscriber.listen(self._urls(lane)))
            for lane, subscriber in self.subscribers.items()
        ]
        tasks = [*publishing, *listening]
        try:
            await until(lambda: self._enough() or failed(tasks), within=MOST_SECONDS)
            for proxy in itertools.chain(*self.proxies.values()):
                proxy.heal()
            self.stop.set()
            healed = time.monotonic()
            await until(
                lambda: all(task.done() for task in publishing) or failed(tasks),
                within=self.heals_within + MOST_SECONDS,
            )
            took: dict[str, float] = {}
            while len(took) < len(self.lanes) and time.monotonic() < healed + self.heals_within:
                for lane in self.lanes:
                    if lane not in took and self._caught_up(lane):
                        took[lane] = time.monotonic() - healed
                await asyncio.sleep(LOOK_EVERY)
            return took
        finally:
            await end(tasks)

    def _publishers(self) -> Iterator[Coroutine[None, None, None]]:
        single, batch, socket = (
            Publisher(
                name,
                self.published,
                [*KEPT, *SHORT],
                self.stop,
                patience=self.pace.patience,
                text="~" * self.pace.text,
                keys=self.keys,
            )
            for name in PUBLISHERS
        )
        yield single.over_http(self._urls(single.name), count=1, pause=0.01)
        yield batch.over_http(self._urls(batch.name), count=8, pause=0.03)
        yield socket.over_websocket(self._urls(socket.name), pause=0.005)

    def _enough(self) -> bool:
        memory = [server.resident_memory() for server in self.servers]
        self.most_memory = list(map(max, self.most_memory, memory))
        return len(self.published.acknowledged) >= MESSAGES and all(
            self._injected(lane).total() >= FAULTS_EACH for lane in self.lanes
        )

    def _caught_up(self, lane: str) -> bool:
        view = self.subscribers[lane].view
        newest = max(m for m in self.published.acknowledged.values() if m.channel in view.channels)
        return any(message >= newest for message in view.messages[-1:])

    def _at_rest(self, before: list[Footprint]) -> bool:
        return all(
            not now.connections and now.descriptors <= first.descriptors
            for now, first in zip(map(footprint, self.servers), before, strict=True)
        )


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel what still runs, and raise what has failed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def failed(tasks: list[asyncio.Task[None]]) -> bool:
    """Whether a client has ended with an error: then there is nothing to wait for."""
    return any(task.done() and task.exception() for task in tasks)
