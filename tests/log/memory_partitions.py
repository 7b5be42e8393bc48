"""Partitions in memory that several nodes share, and whose news the test delivers one by one."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from tidewire.log import MemoryEngine
from tidewire.model import EngineUnavailable, Namespaces, Retention

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Container, Mapping, Sequence

    from tidewire.log import Broken, Feed
    from tidewire.model import Draft, Message, Page, Receipt

KEEP_ALL = Namespaces(Retention(1_000_000, 10**15))


class SharedPartition(MemoryEngine):
    """What the nodes share: it gives the ids that leave *number* when divided by *count*."""

    def __init__(
        self, number: int, count: int, clock: Callable[[], float], namespaces: Namespaces = KEEP_ALL
    ) -> None:
        super().__init__(namespaces, clock=clock)
        self.number = number
        self.count = count
        self.views: list[MemoryPartition] = []

    def _accept(self, channel: Any, draft: Draft, now_us: int, now_ms: int) -> Message:
        least = max(now_us, self._last_id + 1)
        self._last_id = least + (self.number - least) % self.count - 1
        return super()._accept(channel, draft, 0, now_ms)

    def spread(self, messages: list[Message]) -> None:
        """The news of all nodes."""
        for view in self.views:
            view.news.append(lambda view=view: view.feed([m.bare() for m in messages]))  # type: ignore[misc]

    def mark_now(self, id: int) -> None:
        self._last_id = max(self._last_id, id)
        for view in self.views:
            view.news.append(lambda view=view: view.marked(id))  # type: ignore[misc]


class MemoryPartition:
    """A partition as one node sees it. ``news`` and ``replies`` arrive when they are called."""

    marked: Callable[[int], None]

    def __init__(self, shared: SharedPartition) -> None:
        self.shared = shared
        self.epoch = shared.epoch
        self.namespaces = shared.namespaces
        self.drops: Counter[str] = Counter()
        self.wanted: Container[str] | None = None
        self.news: deque[Callable[[], None]] = deque()
        self.replies: deque[Callable[[], None]] = deque()
        self.away = False
        self.marks = 0
        self.starts = shared.starts
        self.newest = shared.newest
        self.change = shared.change
        self.get = shared.get
        self.scan = shared.scan
        self.head = shared.head

    async def open(self, feed: Feed, broken: Broken | None = None) -> int:
        assert broken is not None
        self.feed, self.broken = feed, broken
        if not self.shared.views:
            await self.shared.open(self.shared.spread)
        self.shared.views.append(self)
        return await self.shared.head()

    async def close(self) -> None:
        self.shared.views.remove(self)
        if not self.shared.views:
            await self.shared.close()

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        return self._later(lambda: self.shared.append(drafts).result())

    def purge(self, channel: str, *, forget: bool) -> Future[Receipt]:
        return self._later(lambda: self.shared.purge(channel, forget=forget).result())

    def mark(self, id: int) -> Future[None]:
        self.marks += 1
        return self._later(lambda: self.shared.mark_now(id))

    def _later(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = asyncio.get_running_loop().create_future()
        if self.away:
            future.set_exception(EngineUnavailable("the partition is away"))
            return future
        answer = work()

        def arrive() -> None:
            if not future.done():
                future.set_result(answer)

        self.replies.append(arrive)
        return future

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        return await self.shared.read(after, upto, limit, max_bytes)

    def deliver(self) -> None:
        """All that is on its way."""
        for queue in (self.news, self.replies):
            while queue:
                queue.popleft()()
