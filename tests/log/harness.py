"""What the tests of the engines share: a clock to move, storage to open again, a recorded feed."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Protocol

from tidewire.model import Draft, Gap, Message, Namespaces, Page, Receipt, Retention, Since

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tidewire.log import Engine

EVERYTHING = 2**40
"""A bound, in messages or bytes, that no test reaches."""

HOUR = 3600.0


class Clock:
    """Unix time in seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    @property
    def us(self) -> int:
        """The time in µs, as engines turn it into ids."""
        return int(self.now * 1_000_000)

    def move(self, seconds: float) -> None:
        """Go forward, or back if ``seconds`` is negative."""
        self.now += seconds


class Storage(Protocol):
    """Where one log is kept, and the kind of engine that keeps it there."""

    def engine(
        self, namespaces: Namespaces, *, idempotency_window: float, clock: Callable[[], float]
    ) -> Engine:
        """Make an engine on this storage, not yet open."""
        ...

    async def clean(self, engine: Engine, clock: Clock) -> None:
        """Do at once all that the background cleaning of ``engine`` would do in time."""
        ...


_numbers = itertools.count()


def draft(
    channel: str = "a",
    data: bytes | None = None,
    *,
    key: str | None = None,
    ttl: float | None = None,
    version: int | None = None,
) -> Draft:
    """A message to publish; its data is a number of its own, unless given. ``ttl`` in seconds."""
    data = b"%d" % next(_numbers) if data is None else data
    ttl_ms = None if ttl is None else int(ttl * 1000)
    return Draft(channel, data, key=key, ttl_ms=ttl_ms, version=version)


def drafts(count: int, channel: str = "a") -> list[Draft]:
    """So many messages to publish to one channel."""
    return [draft(channel) for _ in range(count)]


def retention(size: int, ttl: float) -> Retention:
    """Keep ``size`` messages for ``ttl`` seconds."""
    return Retention(size, int(ttl * 1_000_000))


Facts = tuple[str, int, str, int, int, bytes, str | None, bytes | None, bool, int, str | None]


def facts(message: Message) -> Facts:
    """All that a message is, to be compared: messages themselves are equal only to themselves."""
    return (
        message.epoch, message.id, message.channel, message.seq, message.time,
        message.data, message.event, message.headers, message.binary, message.expires, message.gap,
    )  # fmt: skip


def ids(page: Page) -> list[int]:
    """The ids of a page's messages."""
    return [message.id for message in page.messages]


class Log:
    """An open engine, and what its feed got."""

    def __init__(self, engine: Engine, storage: Storage, clock: Clock) -> None:
        self.engine = engine
        self.clock = clock
        self.head_at_open = 0
        self.fed: list[Message] = []
        self._storage = storage
        self._grown = asyncio.Event()

    async def open(self) -> None:
        """Open the engine."""
        self.head_at_open = await self.engine.open(self._feed)

    def _feed(self, messages: list[Message]) -> None:
        assert messages, "the feed is called for messages only"
        self.fed += messages
        self._grown.set()

    async def fed_up_to(self, id: int, *, within: float = 20) -> None:
        """Wait until the feed got the message ``id``, or a later one."""
        async with asyncio.timeout(within):
            while not self.fed or self.fed[-1].id < id:
                self._grown.clear()
                await self._grown.wait()

    async def append(self, *drafts: Draft) -> list[Receipt]:
        """Append, and check what holds for every answer: the feed had the messages before."""
        receipts = await self.engine.append(drafts)
        assert [receipt.channel for receipt in receipts] == [d.channel for d in drafts]
        if receipts:
            newest = max(receipt.id for receipt in receipts)
            assert newest <= self.head_at_open or newest <= self.fed[-1].id
        return receipts

    async def read(
        self,
        after: Mapping[str, int],
        upto: int | None = None,
        *,
        limit: int = EVERYTHING,
        max_bytes: int = EVERYTHING,
    ) -> Page:
        """Read, up to the head unless told."""
        if upto is None:
            upto = await self.engine.head()
        return await self.engine.read(after, upto, limit, max_bytes)

    async def read_all(
        self, after: Mapping[str, int], *, limit: int, max_bytes: int = EVERYTHING
    ) -> tuple[list[Message], list[Gap]]:
        """Read page after page up to the head, as a subscriber does that catches up."""
        upto = await self.engine.head()
        positions = dict(after)
        messages: list[Message] = []
        gaps: list[Gap] = []
        while True:
            page = await self.engine.read(positions, upto, limit, max_bytes)
            messages += page.messages
            gaps += page.gaps
            for gap in page.gaps:
                positions[gap.channel] = gap.id
            for channel, position in positions.items():
                positions[channel] = max(position, page.position)
            if not page.more:
                assert page.position == upto
                return messages, gaps
            assert page.messages or page.gaps, "a page with more to come moves on"

    async def newest(self, channel: str, upto: int | None = None) -> tuple[int, int]:
        """Id and time of a channel's newest message, up to the head unless told."""
        if upto is None:
            upto = await self.engine.head()
        return (await self.engine.newest([channel], upto))[channel]

    async def start(self, channel: str, kind: str, number: int = 0) -> int:
        """Where a subscriber of a channel starts."""
        return (await self.engine.starts([channel], Since(kind, number)))[channel]

    async def clean(self) -> None:
        """Let the background cleaning come to its end; messages of this moment may stay."""
        await self._storage.clean(self.engine, self.clock)


class Logs:
    """Opens engines on one storage, each with a feed of its own, and closes them."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.clock = Clock()
        self._open: list[Log] = []

    async def open(
        self,
        *,
        size: int = 1_000_000,
        ttl: float = 24 * HOUR,
        by_name: Mapping[str, Retention] | None = None,
        window: float = 120,
    ) -> Log:
        """Open one more engine. Times are in seconds."""
        namespaces = Namespaces(retention(size, ttl), by_name)
        engine = self.storage.engine(namespaces, idempotency_window=window, clock=self.clock)
        log = Log(engine, self.storage, self.clock)
        await log.open()
        self._open.append(log)
        return log

    async def close(self, log: Log) -> None:
        """Close an engine, and check what holds for every feed: once each, in id order."""
        self._open.remove(log)
        await log.engine.close()
        fed = [log.head_at_open, *(message.id for message in log.fed)]
        assert all(one < other for one, other in itertools.pairwise(fed))
        last_seq: dict[str, int] = {}
        for message in log.fed:
            if message.gap is not None:
                if message.gap == "reset":
                    last_seq[message.channel] = 0
                continue
            assert message.seq == last_seq.get(message.channel, message.seq - 1) + 1
            last_seq[message.channel] = message.seq

    async def close_all(self) -> None:
        """Close every engine that is open."""
        while self._open:
            await self.close(self._open[-1])
