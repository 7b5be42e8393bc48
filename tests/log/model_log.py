"""The contract once more, as plain lists: slow, obvious, and never cleaned."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tidewire.model import Draft, Gap, Receipt, Since

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.log.harness import Clock


class Entry(NamedTuple):
    """A message, or the record of a purge, as the model keeps it; times in Unix ms."""

    id: int
    channel: str
    seq: int
    time: int
    data: bytes
    expires: int = 0
    gap: str | None = None


class ModelLog:
    """One log; ``ttl_us`` in µs, ``window`` (of keys, and of records) in seconds."""

    def __init__(self, clock: Clock, size: int, ttl_us: int, window: float) -> None:
        self.entries: list[Entry] = []
        self._clock = clock
        self._size = size
        self._ttl_us = ttl_us
        self._window = window
        self._keys: dict[tuple[str, str], tuple[float, Receipt]] = {}
        self._versions: dict[str, tuple[int, Receipt]] = {}
        self._records: dict[str, tuple[float, bytes]] = {}

    @property
    def head(self) -> int:
        """The newest id."""
        return self.entries[-1].id if self.entries else 0

    def of(self, channel: str) -> list[Entry]:
        """All entries of a channel, discarded or not."""
        return [entry for entry in self.entries if entry.channel == channel]

    def _purged(self, channel: str, *reasons: str) -> int:
        """The id of the last record of a purge for one of *reasons*; 0: there is none."""
        return max((entry.id for entry in self.of(channel) if entry.gap in reasons), default=0)

    def _after(self, channel: str, id: int) -> list[Entry]:
        return [entry for entry in self.of(channel) if entry.id > id and entry.gap is None]

    def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """As the engine's ``append``."""
        return [self._earlier(draft) or self._append(draft) for draft in drafts]

    def _earlier(self, draft: Draft) -> Receipt | None:
        forgotten = self._purged(draft.channel, "reset")
        if draft.key is not None:
            expires, receipt = self._keys.get((draft.channel, draft.key), (0.0, None))
            if receipt is not None and expires > self._clock() and receipt.id > forgotten:
                return receipt
        newest = self._versions.get(draft.channel)
        if draft.version is not None and newest is not None and draft.version <= newest[0]:
            return newest[1]
        return None

    def _append(self, draft: Draft) -> Receipt:
        id = max(self.head + 1, self._clock.us)
        seq = len(self._after(draft.channel, self._purged(draft.channel, "reset"))) + 1
        time = self._clock.us // 1000
        expires = 0 if draft.ttl_ms is None else time + draft.ttl_ms
        self.entries.append(Entry(id, draft.channel, seq, time, draft.data, expires))
        receipt = Receipt(draft.channel, id, seq)
        if draft.key is not None:
            self._keys[draft.channel, draft.key] = (self._clock() + self._window, receipt)
        if draft.version is not None:
            self._versions[draft.channel] = (draft.version, receipt)
        return receipt

    def purge(self, channel: str, *, forget: bool) -> Receipt:
        """As the engine's ``purge``."""
        id = max(self.head + 1, self._clock.us)
        reason = "reset" if forget else "expired"
        self.entries.append(Entry(id, channel, 0, self._clock.us // 1000, b"", 0, reason))
        if forget:
            self._versions.pop(channel, None)
        return Receipt(channel, id, 0)

    def change(self, key: str, more: bytes | None) -> bytes | None:
        """As the engine's ``change``, which adds *more* to the record or removes it."""
        self._records[key] = (
            self._clock() + self._window,
            b"" if more is None else (self.record(key) or b"") + more,
        )
        return self.record(key)

    def record(self, key: str) -> bytes | None:
        """As the engine's ``get``."""
        expires, value = self._records.get(key, (0.0, b""))
        return value if value and expires > self._clock() else None

    def floor(self, channel: str) -> int:
        """The newest id that is discarded; 0: none is."""
        purged = self._purged(channel, "expired", "reset")
        entries = self._after(channel, purged)
        discarded = entries[: max(0, len(entries) - self._size)]
        discarded += [e for e in entries if e.id < self._clock.us - self._ttl_us]
        return max((entry.id for entry in discarded), default=purged)

    def is_withdrawn(self, entry: Entry) -> bool:
        """Whether the time to live of a message is over."""
        return 0 < entry.expires <= self._clock.us // 1000

    def read(
        self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int
    ) -> tuple[list[Entry], list[Gap], int, bool]:
        """As the engine's ``read``."""
        there = [
            entry
            for entry in self.entries
            if entry.channel in after
            and max(after[entry.channel], self.floor(entry.channel)) < entry.id <= upto
        ]
        count = size = 0
        for entry in there[:limit]:
            bytes_of_it = 0 if self.is_withdrawn(entry) else len(entry.data)
            size += bytes_of_it
            if bytes_of_it and size > max_bytes and count:
                break
            count += 1
        gaps = [
            Gap(channel, self.floor(channel), reason)
            for channel, position in after.items()
            if position < self.floor(channel)
            for reason in ["reset" if position < self._purged(channel, "reset") else "expired"]
        ]
        last: dict[str, Entry] = {}
        for entry in there[:count]:
            if self.is_withdrawn(entry):
                before = last.get(entry.channel)
                if before is not None and self.is_withdrawn(before):
                    index = max(i for i, gap in enumerate(gaps) if gap.channel == entry.channel)
                    gaps[index] = gaps[index]._replace(id=entry.id, skipped=gaps[index].skipped + 1)
                else:
                    gaps.append(Gap(entry.channel, entry.id, "expired", 1))
            last[entry.channel] = entry
        more = count < len(there)
        shown = [entry for entry in there[:count] if not self.is_withdrawn(entry)]
        return shown, gaps, there[count - 1].id if more else upto, more

    def first(self, channel: str, since: Since) -> list[Entry]:
        """What a reader finds that starts at *since*, if the clock never went back."""
        kept = self._after(channel, self.floor(channel))
        if since.kind == "last":
            kept = kept[-since.number :]
        elif since.kind == "time":
            kept = [entry for entry in kept if entry.id >= since.number * 1000]
        return [entry for entry in kept if not self.is_withdrawn(entry)]

    def newest(self, channel: str, upto: int) -> tuple[int, int]:
        """As the engine's ``newest``."""
        return max(((e.id, e.time) for e in self.of(channel) if e.id <= upto), default=(0, 0))
