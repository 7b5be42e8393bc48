"""The log in memory: the fastest engine; a restart starts a new epoch."""

from __future__ import annotations

import asyncio
import time
from asyncio import Future
from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from tidewire.log.engine import Broken, Change, Feed, Floor, page_of
from tidewire.log.sorted_keys import SortedKeys
from tidewire.log.window import Window
from tidewire.model import Draft, Message, Namespaces, Page, Receipt, Since
from tidewire.model.cursor import new_epoch

_SWEEP_SECONDS = 1.0
_SWEEP_CHANNELS = 2_000
_SWEEP_MESSAGES = 20_000
_SWEEP_ENTRIES = 5_000
MOST_KEYS = 1_000_000


class _Channel:
    """One channel's messages, and what must outlive them."""

    __slots__ = (
        "discarded",
        "forgotten",
        "last_id",
        "last_time",
        "newest_version",
        "next_withdrawal",
        "seq",
        "size",
        "version",
        "window",
    )

    def __init__(self, size: int) -> None:
        self.window = Window()
        self.size = size  # messages that are kept
        self.seq = 0
        self.last_id = 0
        self.last_time = 0
        self.discarded = 0
        self.forgotten = 0
        self.next_withdrawal = 0  # Unix ms; 0: none to come
        self.version = 0
        self.newest_version: Receipt | None = None


class MemoryEngine:
    """One process, nothing on disk. An append is answered at once."""

    def __init__(
        self,
        namespaces: Namespaces,
        *,
        idempotency_window: float = 120,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.epoch = new_epoch()
        self.namespaces = namespaces
        self.drops: Counter[str] = Counter()
        self.wanted: Container[str] | None = None
        self._key_window = idempotency_window
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        # Keys in the order of their use, records in that of their last change: so what has expired
        # is at the front.
        self._records: dict[str, OrderedDict[str, tuple[float, bytes]]] = {}
        self._sorted: dict[str, SortedKeys] = {}
        self._keys: OrderedDict[tuple[str, str], tuple[float, Receipt]] = OrderedDict()
        self._last_id = 0
        self._feed: Feed | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._unswept: list[str] = []

    async def open(self, feed: Feed, broken: Broken | None = None) -> int:
        self._loop = asyncio.get_running_loop()
        self._feed = feed
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        return self._last_id

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._feed = None

    # Writing

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        now = self._clock()
        now_us = int(now * 1_000_000)
        now_ms = now_us // 1000
        accepted: list[Message] = []
        receipts: list[Receipt] = []
        for draft in drafts:
            channel = self._channels.get(draft.channel)
            if channel is None:
                channel = self._new_channel(draft.channel)
            if draft.key is not None or draft.version is not None:
                earlier = self._earlier_receipt(channel, draft, now)
                if earlier is not None:
                    receipts.append(earlier)
                    continue
            message = self._accept(channel, draft, now_us, now_ms)
            accepted.append(message)
            receipt = Receipt(draft.channel, message.id, message.seq)
            receipts.append(receipt)
            if draft.version is not None:
                channel.version = draft.version
                channel.newest_version = receipt
            if draft.key is not None:
                self._remember((draft.channel, draft.key), receipt, now)
        if accepted and self._feed is not None:
            self._feed(accepted)
        future = self._loop.create_future()
        future.set_result(receipts)
        return future

    def _new_channel(self, name: str) -> _Channel:
        channel = self._channels[name] = _Channel(self.namespaces.retention(name).size)
        return channel

    def _accept(self, channel: _Channel, draft: Draft, now_us: int, now_ms: int) -> Message:
        name = draft.channel
        self._last_id = id = now_us if now_us > self._last_id else self._last_id + 1
        channel.seq += 1
        channel.last_id = id
        channel.last_time = now_ms
        message = Message(
            self.epoch, id, name, channel.seq, now_ms,
            draft.data, draft.event, draft.headers, draft.binary,
        )  # fmt: skip
        if draft.ttl_ms is not None:
            message.expires = expires = now_ms + draft.ttl_ms
            channel.next_withdrawal = min(channel.next_withdrawal or expires, expires)
        window = channel.window
        window.append(message)
        if window.count > channel.size:
            channel.discarded = window.drop_oldest().id
        return message

    def _earlier_receipt(self, channel: _Channel, draft: Draft, now: float) -> Receipt | None:
        """The receipt of the message that makes *draft* superfluous, if there is one."""
        if draft.key is not None:
            expires, receipt = self._keys.get((draft.channel, draft.key), (0.0, None))
            if receipt is not None and expires > now and receipt.id > channel.forgotten:
                return receipt
        if draft.version is not None and draft.version <= channel.version:
            return channel.newest_version
        return None

    def _remember(self, key: tuple[str, str], receipt: Receipt, now: float) -> None:
        keys = self._keys
        keys[key] = (now + self._key_window, receipt)
        keys.move_to_end(key)
        if len(keys) > MOST_KEYS:
            keys.popitem(last=False)
            self.drops["key"] += 1

    def purge(self, channel: str, *, forget: bool) -> Future[Receipt]:
        known = self._channels.get(channel) or self._new_channel(channel)
        now_us = int(self._clock() * 1_000_000)
        self._last_id = id = max(now_us, self._last_id + 1)
        known.window = Window()
        known.next_withdrawal = 0
        known.last_id = known.discarded = id
        known.last_time = now_us // 1000
        if forget:
            known.seq = known.version = 0
            known.forgotten = id
        if self._feed is not None:
            reason = "reset" if forget else "expired"
            self._feed([Message(self.epoch, id, channel, 0, now_us // 1000, b"", gap=reason)])
        future: Future[Receipt] = self._loop.create_future()
        future.set_result(Receipt(channel, id, 0))
        return future

    # Reading

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        messages: list[Message] = []
        floors: dict[str, Floor] = {}
        for name, position in after.items():
            channel = self._channels.get(name)
            if channel is None:
                continue
            floor = self._floor(name, channel)
            floors[name] = Floor(floor, channel.forgotten)
            found = channel.window.read(max(position, floor), upto, limit + 1)
            # Readers keep encodings on what they get; those must not stay with what is stored.
            messages += [message.bare() for message in found]
        if len(after) > 1:
            messages.sort(key=_by_id)
        now_ms = int(self._clock() * 1000)
        return page_of(messages, floors, after, upto, limit, max_bytes, now_ms)

    async def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        return {name: self._start(name, since) for name in channels}

    def _start(self, name: str, since: Since) -> int:
        channel = self._channels.get(name)
        if channel is None:
            return 0
        floor = self._floor(name, channel)
        if since.kind == "last":
            before = channel.window.from_end(since.number + 1)
            return floor if before is None else max(floor, before.id)
        if since.kind == "time":
            return max(floor, since.number * 1000 - 1)
        return floor

    async def newest(self, channels: Iterable[str], upto: int) -> dict[str, tuple[int, int]]:
        return {name: self._newest(name, upto) for name in channels}

    def _newest(self, name: str, upto: int) -> tuple[int, int]:
        channel = self._channels.get(name)
        if channel is None:
            return 0, 0
        if channel.last_id <= upto:
            return channel.last_id, channel.last_time
        message = channel.window.newest_upto(upto)
        if message is not None:
            return message.id, message.time
        id = min(channel.discarded, upto)
        return id, id // 1000

    async def head(self) -> int:
        return self._last_id

    # Records

    def change(self, table: str, key: str, change: Change, ttl: float) -> Future[bytes | None]:
        now = self._clock()
        records = self._records.get(table)
        if records is None:
            records = self._records[table] = OrderedDict()
            self._sorted[table] = SortedKeys(records)
        known = records.get(key)
        old = known[1] if known is not None and known[0] > now else None
        future: Future[bytes | None] = self._loop.create_future()
        try:
            value = change(old)
        except Exception as error:
            future.set_exception(error)
            return future
        if value is None:
            records.pop(key, None)
        elif value is not old:
            records[key] = (now + ttl, value)
            records.move_to_end(key)
            if known is None:
                self._sorted[table].add(key)
        future.set_result(value)
        return future

    async def get(self, table: str, key: str) -> bytes | None:
        records = self._records.get(table)
        known = None if records is None else records.get(key)
        return known[1] if known is not None and known[0] > self._clock() else None

    async def scan(
        self, table: str, prefix: str, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        records = self._records.get(table)
        if records is None:
            return []
        now = self._clock()
        found = ((key, records[key]) for key in self._sorted[table].above(after, prefix))
        live = ((key, value) for key, (expires, value) in found if expires > now)
        return list(islice(live, limit))

    # Discarding

    def _floor(self, name: str, channel: _Channel) -> int:
        """The newest id that is discarded, counting what is too old but not yet swept."""
        cutoff = int(self._clock() * 1_000_000) - self.namespaces.retention(name).ttl_us
        window = channel.window
        if len(window) and window.oldest.id < cutoff:
            dropped = window.drop_upto(cutoff - 1)
            if dropped is not None:
                channel.discarded = dropped.id
        return channel.discarded

    def _sweep(self) -> None:
        """Drop what is too old, a bounded amount at a time."""
        now = self._clock()
        now_ms = int(now * 1000)
        if not self._unswept:
            self._unswept = list(self._channels)
        looked_at = 0
        for _ in range(min(_SWEEP_CHANNELS, len(self._unswept))):
            name = self._unswept.pop()
            channel = self._channels[name]
            self._floor(name, channel)
            if 0 < channel.next_withdrawal <= now_ms:
                looked_at += len(channel.window)
                channel.next_withdrawal = channel.window.withdraw(now_ms)
                if looked_at > _SWEEP_MESSAGES:
                    break
        more = _drop_expired(self._keys, now)
        for records in self._records.values():
            more |= _drop_expired(records, now)
        # While more is left it goes on at once, in turns with everything else, and so keeps up.
        self._sweeper = self._loop.call_later(0 if more else _SWEEP_SECONDS, self._sweep)


def _drop_expired(entries: OrderedDict[Any, tuple[float, Any]], now: float) -> bool:
    """Drop expired entries from the front, a bounded number; return whether more may be left."""
    for _ in range(_SWEEP_ENTRIES):
        if not entries or next(iter(entries.values()))[0] > now:
            return False
        entries.popitem(last=False)
    return True


def _by_id(message: Message) -> int:
    return message.id
