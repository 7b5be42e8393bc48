"""One log out of several: each keeps a share of the channels, and all have one order.

Theory of operation
===================

A channel belongs to one *partition*, by its name. Partition k of n gives the ids that leave the
remainder k when divided by n, so no two give the same one, and like every log each gives them in
the order of time. What is missing is that a partition may still give an id below one that another
has given already. A *mark* settles that: a partition that is told to mark an id gives only greater
ones from then on, and says so in its feed, behind everything below it.

A message is handed on when all partitions are known to have nothing more to say below it:

    partition 0:   3    9         mark 20            each partition is known up to its newest
    partition 1:      7    mark 20                   message or mark; all together up to the
    partition 2:            14                       least of these: here 14
                   3  7  9  14 ──▶ the feed

So the feed, cursors and gaps are those of one log, on every node alike, and a cursor stays one
short number. The node that has appended asks the other partitions for their marks; that costs them
one small step for each group of appends, whatever their number, and the answer one more round trip.
Others ask only if that does not happen for a moment. Whatever is still not in order is asked for
again and again, for a mark may be lost on the way, or with the server that gave it.

What it costs: a partition that is away holds up the order, so nothing is handed on until it is back
(reading the past of channels in other partitions goes on). What the others feed meanwhile waits, up
to ``MOST_HELD`` bytes; then the feed is broken instead, and the log is read later. And what one
call appends to several partitions is whole or not at all in each of them, not over all.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import logging
import zlib
from asyncio import Future
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast

from tidewire.log.engine import Broken, Change, Engine, Feed
from tidewire.model import Draft, EngineUnavailable, Gap, Message, Page, Receipt, Since

logger = logging.getLogger("tidewire.log")

GRACE_SECONDS = 0.01
"""So long the node that has appended has time to ask for the marks itself."""
AGAIN_SECONDS = 0.5
MOST_HELD = 64 << 20
"""Bytes of messages that wait until they are in order, with what keeping one takes."""
KEEPING = 500
ANSWER_SECONDS = 5.0
"""An append that is not in order by then fails, though its partition holds it."""


class Partition(Engine, Protocol):
    """A log that shares the order of ids with others."""

    #: Called with an id when the feed has brought everything up to it, and nothing more can
    #: come there; set before ``open``. Every message of the feed says so, too, by itself.
    marked: Callable[[int], None]

    def mark(self, id: int) -> Future[None]:
        """Give no id up to *id* from now on; ``marked`` is called on all nodes.

        On this one before the future is done, unless the feed was cut off meanwhile. It fails with
        ``EngineUnavailable`` when the storage cannot be reached.
        """
        ...


class _Lane:
    """A partition, what it has fed that is not handed on yet, and up to where it is known."""

    __slots__ = ("asked", "engine", "known", "waiting")

    def __init__(self, engine: Partition) -> None:
        self.engine = engine
        self.waiting: deque[Message] = deque()
        self.known = 0
        self.asked = 0  # for a mark up to here, which is not answered yet


class Partitioned:
    """An ``Engine`` over *partitions*, of which there are at least two, in their order."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self.epoch = ""
        self.namespaces = partitions[0].namespaces
        self.drops: Counter[str] = Counter()
        self._lanes = [_Lane(partition) for partition in partitions]
        self._wanted: Container[str] | None = None
        self._feed: Feed | None = None
        self._broken: Broken | None = None
        self._broken_upto = 0  # 0: the feed is whole
        self._emitted = 0  # everything up to here was handed on
        self._held = 0  # bytes of what waits in all lanes
        # By the id that must have been handed on, with when they came: what waits to be answered.
        self._answers: list[tuple[int, int, float, Future[Any], object]] = []
        self._number = 0
        self._to_mark = 0  # at the end of this turn of the loop
        self._needed = 0  # the highest id that anybody has asked to have marked
        self._nudge: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None

    @property
    def wanted(self) -> Container[str] | None:
        """As of an engine."""
        return self._wanted

    @wanted.setter
    def wanted(self, wanted: Container[str] | None) -> None:
        self._wanted = wanted
        for lane in self._lanes:
            lane.engine.wanted = wanted

    async def open(self, feed: Feed, broken: Broken | None = None) -> int:
        self._loop = asyncio.get_running_loop()
        self._broken = broken
        for lane in self._lanes:
            lane.engine.drops = self.drops
            lane.engine.marked = partial(self._marked, lane)
        try:
            self._emitted = head = await self._open_all()
            if head:
                await self._settle(head)
        except BaseException:
            for lane in self._lanes:
                await lane.engine.close()
            raise
        self.epoch = _epoch_of([lane.engine.epoch for lane in self._lanes])
        self._feed = feed
        self._hand_on()
        return head

    async def _open_all(self) -> int:
        """Open all partitions, and return the newest id; if one cannot be, none is being opened."""
        found = await asyncio.gather(
            *(
                lane.engine.open(partial(self._fed, lane), partial(self._broke, lane))
                for lane in self._lanes
            ),
            return_exceptions=True,
        )
        heads: list[int] = []
        for head in found:
            if isinstance(head, BaseException):
                raise head
            heads.append(head)
        return max(heads)

    async def close(self) -> None:
        self._feed = None
        for timer in (self._nudge, self._watch):
            if timer is not None:
                timer.cancel()
        await asyncio.gather(*(lane.engine.close() for lane in self._lanes))
        for *_, future, _ in self._answers:
            if not future.done():
                future.set_exception(EngineUnavailable("the log is closed"))
        self._answers.clear()

    # The order

    def _fed(self, lane: _Lane, messages: list[Message]) -> None:
        lane.waiting.extend(messages)
        self._held += sum(message.size + KEEPING for message in messages)
        if self._held > MOST_HELD:
            logger.warning("the feed waits for a partition that is away: the log is read instead")
            upto = max(messages[-1].id, *(lane.known for lane in self._lanes))
            self._broken_upto = max(self._broken_upto, upto)
            for each in self._lanes:
                self._take(each, upto)
        self._marked(lane, messages[-1].id)

    def _take(self, lane: _Lane, upto: int) -> list[Message]:
        """What waits in a lane up to an id; it does not wait any more."""
        waiting = lane.waiting
        taken: list[Message] = []
        while waiting and waiting[0].id <= upto:
            taken.append(waiting.popleft())
        self._held -= sum(message.size + KEEPING for message in taken)
        return taken

    def _marked(self, lane: _Lane, id: int) -> None:
        if id > lane.known:
            lane.known = id
            self._hand_on()

    def _broke(self, lane: _Lane, after: int, upto: int) -> None:
        """The feed of one goes on behind *upto*: so does that of the whole, once all are so far.

        From where the whole has come to, the log is to be read, and not from *after*, which is
        before that if the partition has lost messages: of the others nothing is to come twice.
        What it gives since then has ids above all that it has lost.
        """
        if lane.waiting:
            self._take(lane, lane.waiting[-1].id)
        lane.known = upto  # which is lower than it was if another log begins there
        self._broken_upto = max(self._broken_upto, upto, self._emitted)
        self._hand_on()

    def _go_over(self, low: int) -> bool:
        """Go on behind what is broken; ``False``: not all partitions are so far."""
        upto = self._broken_upto
        if low < upto:
            self._ask_for_marks(upto)
            self._nudge_in(GRACE_SECONDS)
            return False
        for lane in self._lanes:
            self._take(lane, upto)
        epoch, self.epoch = self.epoch, _epoch_of([lane.engine.epoch for lane in self._lanes])
        after = self._emitted if epoch == self.epoch else 0
        self._broken_upto = 0
        self._emitted = upto
        if self._broken is not None:
            self._broken(after, upto)
        return True

    def _hand_on(self) -> None:
        """Hand on what is in order by now."""
        if self._feed is None:
            return
        low = min(lane.known for lane in self._lanes)
        if self._broken_upto and not self._go_over(low):
            return
        if low > self._emitted:
            ready: list[Message] = []
            for lane in self._lanes:
                ready += (m for m in self._take(lane, low) if m.id > self._emitted)
            self._emitted = low
            if ready:
                ready.sort(key=_by_id)
                self._feed(self._own(ready))
        while self._answers and self._answers[0][0] <= self._emitted:
            _, _, _, future, answer = heapq.heappop(self._answers)
            if not future.done():
                future.set_result(answer)
        if any(lane.waiting for lane in self._lanes):
            self._nudge_in(GRACE_SECONDS)

    def _nudge_in(self, seconds: float) -> None:
        if self._nudge is None:
            self._nudge = self._loop.call_later(seconds, self._nudged)

    def _nudged(self) -> None:
        """Something is not in order yet: whoever appended it may be gone, or a mark may be lost."""
        self._nudge = None
        if self._feed is None:
            return
        waiting = [lane.waiting[-1].id for lane in self._lanes if lane.waiting]
        if waiting or self._answers or self._broken_upto:
            self._ask_for_marks(max([self._needed, *waiting]))
            self._nudge_in(AGAIN_SECONDS)

    def _ask_for_marks(self, id: int) -> None:
        """Have all partitions that may still give ids up to *id* say that they do not.

        They are asked at the end of this turn of the loop: answers come in groups.
        """
        if not self._to_mark:
            self._loop.call_soon(self._send_marks)
        self._to_mark = max(self._to_mark, id)
        self._needed = max(self._needed, id)

    def _send_marks(self) -> None:
        id, self._to_mark = self._to_mark, 0
        for lane in self._lanes:
            if max(lane.known, lane.asked) < id:
                lane.asked = id
                lane.engine.mark(id).add_done_callback(partial(self._asked, lane, id))

    def _asked(self, lane: _Lane, id: int, mark: Future[None]) -> None:
        """There is an answer. If it is not yet known up to *id*, the next nudge asks again."""
        if not mark.cancelled():
            mark.exception()  # what became of it is seen in the feed
        if lane.asked == id:
            lane.asked = 0

    async def _settle(self, id: int) -> None:
        """Wait until no partition gives ids up to *id* any more.

        Raises:
            EngineUnavailable: if one cannot be reached.
        """
        await asyncio.gather(*(lane.engine.mark(id) for lane in self._lanes if lane.known < id))

    # Writing

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        shares: dict[int, list[Draft]] = {}
        for draft in drafts:
            shares.setdefault(self._number_of(draft.channel), []).append(draft)
        future: Future[list[Receipt]] = self._loop.create_future()
        if not shares:
            future.set_result([])
            return future
        appends = {
            number: self._lanes[number].engine.append(share) for number, share in shares.items()
        }
        if len(appends) == 1:
            [append] = appends.values()
            append.add_done_callback(partial(self._appended, future))
        else:
            numbers = [self._number_of(draft.channel) for draft in drafts]
            gathered = asyncio.gather(*appends.values(), return_exceptions=True)
            gathered.add_done_callback(partial(self._all_appended, future, numbers, list(appends)))
        return future

    def _appended(self, future: Future[list[Receipt]], append: Future[list[Receipt]]) -> None:
        if future.done():
            return
        error = append.exception()
        if error is not None:
            future.set_exception(error)
            return
        receipts = append.result()
        self._answer(future, max(receipt.id for receipt in receipts), receipts)

    def _all_appended(
        self,
        future: Future[list[Receipt]],
        numbers: list[int],
        asked: list[int],
        gathered: Future[list[list[Receipt] | BaseException]],
    ) -> None:
        if future.done():
            return
        answers: dict[int, Iterable[Receipt]] = {}
        for number, answer in zip(asked, gathered.result(), strict=True):
            if isinstance(answer, BaseException):
                future.set_exception(answer)
                return
            answers[number] = iter(answer)
        receipts = [next(cast("Any", answers[number])) for number in numbers]
        self._answer(future, max(receipt.id for receipt in receipts), receipts)

    def purge(self, channel: str, *, forget: bool) -> Future[Receipt]:
        future: Future[Receipt] = self._loop.create_future()

        def purged(inner: Future[Receipt]) -> None:
            if future.done():
                return
            error = inner.exception()
            if error is not None:
                future.set_exception(error)
            else:
                self._answer(future, inner.result().id, inner.result())

        self._engine_of(channel).purge(channel, forget=forget).add_done_callback(purged)
        return future

    def _answer(self, future: Future[Any], id: int, answer: object) -> None:
        """Answer *future* once everything up to *id* was handed on."""
        if id <= self._emitted:
            future.set_result(answer)
            return
        self._number += 1
        entry = (id, self._number, self._loop.time() + ANSWER_SECONDS, future, answer)
        heapq.heappush(self._answers, entry)
        self._ask_for_marks(id)
        self._nudge_in(GRACE_SECONDS)
        if self._watch is None:
            self._watch = self._loop.call_later(ANSWER_SECONDS, self._look_at_answers)

    def _look_at_answers(self) -> None:
        """Fail those that have waited too long."""
        now = self._loop.time()
        late = [entry for entry in self._answers if entry[2] <= now]
        if late:
            self._answers = [entry for entry in self._answers if entry[2] > now]
            heapq.heapify(self._answers)
            for *_, future, _ in late:
                if not future.done():
                    future.set_exception(EngineUnavailable("a partition of the log is away"))
        self._watch = None
        if self._answers:
            wait = min(entry[2] for entry in self._answers) - now
            self._watch = self._loop.call_later(wait, self._look_at_answers)

    # Reading

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        shares: dict[int, dict[str, int]] = {}
        for channel, position in after.items():
            shares.setdefault(self._number_of(channel), {})[channel] = position
        pages = await asyncio.gather(
            *(
                self._lanes[number].engine.read(share, upto, limit, max_bytes)
                for number, share in shares.items()
            )
        )
        page = pages[0] if len(pages) == 1 else _one_page(pages, upto, limit, max_bytes)
        self._own(page.messages)
        return page

    async def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        found = await asyncio.gather(
            *(
                self._lanes[number].engine.starts(share, since)
                for number, share in self._shares(channels).items()
            )
        )
        return {channel: start for starts in found for channel, start in starts.items()}

    async def newest(self, channels: Iterable[str], upto: int) -> dict[str, tuple[int, int]]:
        found = await asyncio.gather(
            *(
                self._lanes[number].engine.newest(share, upto)
                for number, share in self._shares(channels).items()
            )
        )
        return {channel: known for newest in found for channel, known in newest.items()}

    async def head(self) -> int:
        heads = await asyncio.gather(*(lane.engine.head() for lane in self._lanes))
        head = max(heads)
        if head > self._emitted:
            await self._settle(head)  # else another might still give an id below it
        return head

    # Records

    def change(self, table: str, key: str, change: Change, ttl: float) -> Future[bytes | None]:
        return self._engine_of(f"{table}\0{key}").change(table, key, change, ttl)

    async def get(self, table: str, key: str) -> bytes | None:
        return await self._engine_of(f"{table}\0{key}").get(table, key)

    async def scan(
        self, table: str, prefix: str, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        found = await asyncio.gather(
            *(lane.engine.scan(table, prefix, after, limit) for lane in self._lanes)
        )
        return list(heapq.merge(*found))[:limit]

    # Whose

    def _own(self, messages: list[Message]) -> list[Message]:
        """*messages* under the epoch of the whole, for a partition has put its own there."""
        for message in messages:
            message.epoch = self.epoch
        return messages

    def _number_of(self, name: str) -> int:
        return zlib.crc32(name.encode()) % len(self._lanes)

    def _engine_of(self, name: str) -> Partition:
        return self._lanes[self._number_of(name)].engine

    def _shares(self, channels: Iterable[str]) -> dict[int, list[str]]:
        shares: dict[int, list[str]] = {}
        for channel in channels:
            shares.setdefault(self._number_of(channel), []).append(channel)
        return shares


def _one_page(pages: Sequence[Page], upto: int, limit: int, max_bytes: int) -> Page:
    """One page of the *pages* of several partitions: as far as all of them go, and the bounds."""
    end = min((page.position for page in pages if page.more), default=upto)
    messages = sorted((m for page in pages for m in page.messages if m.id <= end), key=_by_id)
    more = any(page.more for page in pages)
    size = 0
    for index, message in enumerate(messages):
        size += message.size
        if index == limit or (size > max_bytes and index):
            messages = messages[:index]
            end, more = messages[-1].id, True
            break
    gaps = [gap for page in pages for gap in page.gaps if _belongs(gap, end)]
    return Page(messages, gaps, end, more)


def _belongs(gap: Gap, end: int) -> bool:
    """Whether *gap* is of a page up to *end*.

    Behind it there may be no gap of withdrawn messages: others of its channel may lie between.
    Before the floor of a channel there is nothing left.
    """
    return gap.id <= end or not gap.skipped


def _epoch_of(epochs: Sequence[str]) -> str:
    """One name for all: another one as soon as a single partition has begun a new life."""
    return hashlib.sha256(" ".join(epochs).encode()).hexdigest()[:12]


def _by_id(message: Message) -> int:
    return message.id
