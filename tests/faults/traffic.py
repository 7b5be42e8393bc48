"""Publishers and subscribers that go on whatever happens to the nodes, and a verdict on each."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Self

from tests.acceptance.subscribers import TRANSPORTS, CutError, RefusedError
from tests.acceptance.subscribers import Subscriber as PlainSubscriber
from tests.acceptance.waiting import until
from tests.faults.clients import RECONNECT, Publisher, Subscriber, only_a_restart
from tests.faults.lanes import end, failed, hopping, warm_up
from tests.faults.model import Published, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.acceptance.checker import Message
    from tests.faults.model import Verdict
    from tests.server_process import ServerProcess

CHANNELS = ["a", "b", "c"]
WITHIN = 60.0
"""Seconds for whatever has to come about; far above the usual ones, for a loaded machine."""


class Traffic:
    """Clients of some nodes of one log, while it is entered.

    Each begins at another node than the one before it and goes to the next whenever its connection
    ends, is silent for ``patience`` seconds, or refuses it for the time being.
    """

    def __init__(self, nodes: Sequence[ServerProcess], seed: str, *, patience: float = 2.0) -> None:
        self.published = Published()
        self._urls = [node.url for node in nodes]
        self._nodes = nodes
        self._stop = asyncio.Event()
        self._publishers = [
            Publisher(name, self.published, CHANNELS, self._stop, patience=patience)
            for name in ("single", "batch", "socket")
        ]
        kinds: dict[str, Iterator[str]] = {
            transport: itertools.repeat(transport) for transport in TRANSPORTS
        }
        kinds |= {"hopping": hopping(f"{seed} 1"), "hopping, too": hopping(f"{seed} 2")}
        self.subscribers = {
            name: Subscriber(CHANNELS, kind, patience=patience, seed=f"{seed} {name}")
            for name, kind in kinds.items()
        }

    async def __aenter__(self) -> Self:
        cursors = [await warm_up(node) for node in self._nodes]
        for subscriber in self.subscribers.values():
            subscriber.cursor = cursors[-1]
        single, batch, socket = self._publishers
        self._publishing = [
            asyncio.create_task(single.over_http(self._from(0), count=1, pause=0.01)),
            asyncio.create_task(batch.over_http(self._from(1), count=8, pause=0.03)),
            # One at a time: an order that is lost by trying again is the publisher's doing.
            asyncio.create_task(socket.over_websocket(self._from(2), pause=0.01, at_once=1)),
        ]
        self._listening = [
            asyncio.create_task(subscriber.listen(self._from(number)))
            for number, subscriber in enumerate(self.subscribers.values())
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await end([*self._publishing, *self._listening])

    def _from(self, number: int) -> list[str]:
        first = number % len(self._urls)
        return self._urls[first:] + self._urls[:first]

    @property
    def count(self) -> int:
        """How many messages are acknowledged."""
        return len(self.published.acknowledged)

    async def flows(self, more: int = 100) -> None:
        """Wait until some more are acknowledged, and everybody has seen one that is new."""
        enough = self.count + more
        seen = {name: len(s.view.messages) for name, s in self.subscribers.items()}
        await self._until(
            lambda: (
                self.count >= enough
                and all(len(s.view.messages) > seen[n] for n, s in self.subscribers.items())
            )
        )

    async def finish(self, *, lossy: bool = False, partitioned: bool = False) -> dict[str, Verdict]:
        """Publish no more; wait until all is answered and has arrived everywhere; judge.

        With ``lossy`` the log itself may have lost messages: then what it has in the end must have
        arrived, and gaps tell of the rest. ``partitioned`` as for ``judge``.
        """
        self._stop.set()
        await self._until(lambda: all(task.done() for task in self._publishing))
        newest = self.newest()
        await self._until(
            lambda: all(s.view.messages[-1:] >= [newest] for s in self.subscribers.values())
        )
        views = {name: subscriber.view for name, subscriber in self.subscribers.items()}
        if not lossy:
            return judge(self.published, views, kept=CHANNELS, partitioned=partitioned)
        log = await self.whole_log()
        return judge(self.published, views, kept=(), survived=log, partitioned=partitioned)

    async def whole_log(self) -> list[Message]:
        """All that the log has from its start to the newest message, as a newcomer sees it."""
        reader = PlainSubscriber(CHANNELS, since="start")
        newest = self.newest()
        async with asyncio.timeout(WITHIN):
            while reader.messages[-1:] != [newest]:
                try:
                    await reader.listen(
                        self._urls[0], "ws", until=lambda: reader.messages[-1:] == [newest]
                    )
                except (CutError, RefusedError) as error:
                    only_a_restart(error)
                    await asyncio.sleep(RECONNECT)
        return reader.messages

    def newest(self) -> Message:
        """Of the acknowledged messages the last one."""
        return max(self.published.acknowledged.values())

    async def _until(self, holds: Callable[[], object]) -> None:
        tasks = [*self._publishing, *self._listening]
        await until(lambda: holds() or failed(tasks), within=WITHIN)
        for task in tasks:
            if task.done() and (error := task.exception()):
                raise error


def check(verdicts: dict[str, Verdict]) -> None:
    """Nobody lost anything, and nothing came twice."""
    for who, verdict in verdicts.items():
        verdict.check()
        assert (verdict.lost, verdict.duplicated) == (0, 0), who
