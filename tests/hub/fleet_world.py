"""Nodes on one log, in a world whose time passes when nothing else is to be done."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

from tidewire.hub import Hub, NodeInfo
from tidewire.hub.fleet import Fleet
from tidewire.log import MemoryEngine
from tidewire.model import EngineUnavailable, Namespaces, Retention

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from tidewire.log.engine import Broken, Change, Feed
    from tidewire.model import Draft, Message, Page, Receipt, Since

T = TypeVar("T")

_starts = itertools.count(1)


class _Waiting(selectors.DefaultSelector):
    """Waits for nothing: the time until the next timer passes at once."""

    loop: TimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing will ever happen again")
        self.loop.now += max(timeout, 0)
        return super().select(0)


class TimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer when nothing else is to be done."""

    def __init__(self) -> None:
        self.now = 1_000.0
        selector = _Waiting()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class SharedLog(MemoryEngine):
    """A log in memory that many nodes open, each through an ``Access`` of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(Namespaces(Retention(1_000, 3_600_000_000)), clock=clock)
        self.feeds: list[Callable[[list[Message]], None]] = []
        self.appends = 0

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        self.appends += len(drafts)
        return super().append(drafts)

    def tell(self, messages: list[Message]) -> None:
        for feed in list(self.feeds):
            feed(messages)


class Access:
    """One node's way to the log. While it is ``away`` nothing gets there, or comes from there."""

    def __init__(self, log: SharedLog) -> None:
        self.log = log
        self.epoch = log.epoch
        self.namespaces = log.namespaces
        self.drops = log.drops
        self.wanted: Any = None
        self.away = False
        self.mute = False  # nothing can be appended
        self.held: asyncio.Event | None = None  # a read of leases waits for it
        self._missed: list[Message] = []

    async def open(self, feed: Feed, broken: Broken | None = None) -> int:
        self._feed = feed
        if not self.log.feeds:
            await self.log.open(self.log.tell)
        self.log.feeds.append(self._fed)
        return await self.log.head()

    async def close(self) -> None:
        self.log.feeds.remove(self._fed)
        if not self.log.feeds:
            await self.log.close()

    def _fed(self, messages: list[Message]) -> None:
        if self.away:
            self._missed += messages
        else:
            self._feed(messages)

    def come_back(self) -> None:
        """The log is there again, with what was missed."""
        self.away = False
        missed, self._missed = self._missed, []
        if missed:
            self._feed(missed)

    def _check(self) -> None:
        if self.away:
            raise EngineUnavailable("the log is away")

    def _failed(self) -> Future[Any]:
        future: Future[Any] = asyncio.get_running_loop().create_future()
        future.set_exception(EngineUnavailable("the log is away"))
        return future

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        return self._failed() if self.away or self.mute else self.log.append(drafts)

    def change(self, table: str, key: str, change: Change, ttl: float) -> Future[bytes | None]:
        return self._failed() if self.away else self.log.change(table, key, change, ttl)

    async def get(self, table: str, key: str) -> bytes | None:
        self._check()
        return await self.log.get(table, key)

    async def scan(
        self, table: str, prefix: str, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        self._check()
        found = await self.log.scan(table, prefix, after, limit)
        if self.held is not None:
            await self.held.wait()
        return found

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        self._check()
        return await self.log.read(after, upto, limit, max_bytes)

    async def starts(self, channels: Any, since: Since) -> dict[str, int]:
        self._check()
        return await self.log.starts(channels, since)

    async def newest(self, channels: Any, upto: int) -> dict[str, tuple[int, int]]:
        self._check()
        return await self.log.newest(channels, upto)

    async def head(self) -> int:
        self._check()
        return await self.log.head()

    def purge(self, channel: str, *, forget: bool) -> Future[Receipt]:
        return self.log.purge(channel, forget=forget)


class Node:
    """One node; ``gone`` are those that it was told of, ``lapses`` counts its own."""

    def __init__(self, log: SharedLog, name: str) -> None:
        self.access = Access(log)
        self.hub = Hub(self.access)
        self.name = name
        self.connections = 0
        self._started = next(_starts)
        self.fleet = Fleet(self.hub, self._describe)
        self.gone: list[str] = []
        self.lapses = 0
        self.fleet.on_gone(self.gone.append)
        self.fleet.on_lapse(self._lapsed)

    def _describe(self, id: str) -> NodeInfo:
        return NodeInfo(id, host=self.name, started=self._started, connections=self.connections)

    def _lapsed(self) -> None:
        self.lapses += 1

    @property
    def id(self) -> str:
        return self.fleet.id

    async def start(self) -> None:
        await self.hub.start()
        await self.fleet.start()

    async def stop(self) -> None:
        """An orderly end."""
        await self.fleet.stop()
        await self.hub.stop()

    def die(self) -> None:
        """An end without a word: nothing of it is done any more."""
        beating = self.fleet._beating
        assert beating is not None
        beating.cancel()
        self.access.away = True

    def sees(self, *others: Node) -> bool:
        """Whether these, and no others, are those that it sees."""
        return {node.id for node in self.fleet.others} == {node.id for node in others}


class FleetWorld:
    """Makes nodes. ``offset`` is by how much the engine's clock is ahead of the loop's."""

    def __init__(self, loop: TimeLoop) -> None:
        self.loop = loop
        self.offset = 1_700_000_000.0
        self.log = SharedLog(lambda: loop.time() + self.offset)
        self.nodes: list[Node] = []

    async def node(self, name: str = "") -> Node:
        """One more node, started."""
        node = Node(self.log, name)
        await node.start()
        self.nodes.append(node)
        await asyncio.sleep(0.01)  # the others have heard of it
        return node

    async def three(self) -> tuple[Node, Node, Node]:
        """Three nodes."""
        return await self.node("a"), await self.node("b"), await self.node("c")


def run(story: Callable[[FleetWorld], Coroutine[Any, Any, T]]) -> T:
    """Tell *story* in a new world."""
    with asyncio.Runner(loop_factory=TimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, TimeLoop)
        return runner.run(story(FleetWorld(loop)))
