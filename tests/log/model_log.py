"""The contract once more, as plain lists: slow, obvious, and never cleaned."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tidewire.model import Draft, Gap, Receipt, Since

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.log.harness import Clock


class Entry(NamedTuple):
    """A message as the model keeps it; ``time`` in Unix ms."""

    id: int
    channel: str
    seq: int
    time: int
    data: bytes


class ModelLog:
    """One log; ``ttl_us`` in µs, ``window`` in seconds."""

    def __init__(self, clock: Clock, size: int, ttl_us: int, window: float) -> None:
        self.entries: list[Entry] = []
        self._clock = clock
        self._size = size
        self._ttl_us = ttl_us
        self._window = window
        self._keys: dict[tuple[str, str], tuple[float, Receipt]] = {}

    @property
    def head(self) -> int:
        """The newest id."""
        return self.entries[-1].id if self.entries else 0

    def of(self, channel: str) -> list[Entry]:
        """All messages of a channel, discarded or not."""
        return [entry for entry in self.entries if entry.channel == channel]

    def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """As the engine's ``append``."""
        receipts = []
        for draft in drafts:
            expires, receipt = self._keys.get(
                (draft.channel, draft.key or ""), (0.0, Receipt("", 0, 0))
            )
            if draft.key is None or expires <= self._clock():
                id = max(self.head + 1, self._clock.us)
                receipt = Receipt(draft.channel, id, len(self.of(draft.channel)) + 1)
                self.entries.append(
                    Entry(id, draft.channel, receipt.seq, self._clock.us // 1000, draft.data)
                )
                if draft.key is not None:
                    self._keys[draft.channel, draft.key] = (
                        self._clock() + self._window,
                        receipt,
                    )
            receipts.append(receipt)
        return receipts

    def floor(self, channel: str) -> int:
        """The newest id that is discarded; 0: none is."""
        entries = self.of(channel)
        discarded = entries[: max(0, len(entries) - self._size)]
        discarded += [e for e in entries if e.id < self._clock.us - self._ttl_us]
        return max((entry.id for entry in discarded), default=0)

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
        count = min(len(there), limit)
        while count > 1 and sum(len(entry.data) for entry in there[:count]) > max_bytes:
            count -= 1
        gaps = [
            Gap(channel, self.floor(channel), "expired")
            for channel, position in after.items()
            if position < self.floor(channel)
        ]
        more = count < len(there)
        return there[:count], gaps, there[count - 1].id if more else upto, more

    def first(self, channel: str, since: Since) -> list[Entry]:
        """What a reader finds that starts at *since*, if the clock never went back."""
        kept = [entry for entry in self.of(channel) if entry.id > self.floor(channel)]
        if since.kind == "last":
            return kept[-since.number :]
        if since.kind == "time":
            return [entry for entry in kept if entry.id >= since.number * 1000]
        return kept

    def newest(self, channel: str, upto: int) -> tuple[int, int]:
        """As the engine's ``newest``."""
        return max(((e.id, e.time) for e in self.of(channel) if e.id <= upto), default=(0, 0))
