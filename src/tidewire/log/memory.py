"""The log in memory: the fastest engine; a restart starts a new epoch."""

from __future__ import annotations

import asyncio
import heapq
import time
from asyncio import Future
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tidewire.log.engine import Change, Feed, page_of
from tidewire.log.window import Window
from tidewire.model import Draft, Message, Namespaces, Page, Receipt, Since
from tidewire.model.cursor import new_epoch

_SWEEP_SECONDS = 1.0
_SWEEP_CHANNELS = 2_000
_SWEEP_ENTRIES = 5_000


class _Channel:
    """One channel's messages, and what must outlive them."""

    __slots__ = ("discarded", "last_id", "last_time", "seq", "window")

    def __init__(self) -> None:
        self.window = Window()
        self.seq = 0
        self.last_id = 0
        self.last_time = 0
        self.discarded = 0


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
        self._key_window = idempotency_window
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        # Keys in the order of their use, records in that of their last change: so what has expired
        # is at the front.
        self._records: dict[str, OrderedDict[str, tuple[float, bytes]]] = {}
        self._keys: OrderedDict[tuple[str, str], tuple[float, Receipt]] = OrderedDict()
        self._last_id = 0
        self._feed: Feed | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._unswept: list[str] = []

    async def open(self, feed: Feed) -> int:
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
            if draft.key is not None and (first := self._first_receipt(draft, now)) is not None:
                receipts.append(first)
                continue
            message = self._accept(draft, now_us, now_ms)
            accepted.append(message)
            receipt = Receipt(draft.channel, message.id, message.seq)
            receipts.append(receipt)
            if draft.key is not None:
                self._keys[draft.channel, draft.key] = (now + self._key_window, receipt)
                self._keys.move_to_end((draft.channel, draft.key))
        if accepted and self._feed is not None:
            self._feed(accepted)
        future = self._loop.create_future()
        future.set_result(receipts)
        return future

    def _accept(self, draft: Draft, now_us: int, now_ms: int) -> Message:
        name = draft.channel
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel()
        self._last_id = id = now_us if now_us > self._last_id else self._last_id + 1
        channel.seq += 1
        channel.last_id = id
        channel.last_time = now_ms
        message = Message(
            self.epoch, id, name, channel.seq, now_ms,
            draft.data, draft.event, draft.headers, draft.binary,
        )  # fmt: skip
        window = channel.window
        window.append(message)
        if len(window) > self.namespaces.retention(name).size:
            channel.discarded = window.drop_oldest().id
        return message

    def _first_receipt(self, draft: Draft, now: float) -> Receipt | None:
        known = self._keys.get((draft.channel, draft.key or ""))
        return None if known is None or known[0] <= now else known[1]

    # Reading

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        messages: list[Message] = []
        floors: dict[str, int] = {}
        for name, position in after.items():
            channel = self._channels.get(name)
            if channel is None:
                continue
            floors[name] = floor = self._floor(name, channel)
            found = channel.window.read(max(position, floor), upto, limit + 1)
            # Readers keep encodings on what they get; those must not stay with what is stored.
            messages += [message.bare() for message in found]
        if len(after) > 1:
            messages.sort(key=_by_id)
        return page_of(messages, floors, after, upto, limit, max_bytes)

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
        records = self._records.setdefault(table, OrderedDict())
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
        future.set_result(value)
        return future

    async def get(self, table: str, key: str) -> bytes | None:
        records = self._records.get(table)
        known = None if records is None else records.get(key)
        return known[1] if known is not None and known[0] > self._clock() else None

    async def scan(
        self, table: str, prefix: str, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        now = self._clock()
        return heapq.nsmallest(
            limit,
            (
                (key, value)
                for key, (expires, value) in self._records.get(table, {}).items()
                if key > after and key.startswith(prefix) and expires > now
            ),
        )

    def purge(self, channel: str, *, forget: bool) -> Future[Receipt]:
        raise NotImplementedError

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
        if not self._unswept:
            self._unswept = list(self._channels)
        for _ in range(min(_SWEEP_CHANNELS, len(self._unswept))):
            name = self._unswept.pop()
            self._floor(name, self._channels[name])
        now = self._clock()
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
