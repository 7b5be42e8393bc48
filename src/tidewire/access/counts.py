"""How many somebody has of a thing: connections of an address, streams of a user."""

from __future__ import annotations

from collections.abc import Hashable


class Counts:
    """Counts by key, of which none passes *most*. A key that has nothing takes no memory."""

    __slots__ = ("_counts", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._counts: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, key: Hashable) -> int:
        return self._counts.get(key, 0)

    def enter(self, key: Hashable, most: int | None = None) -> bool:
        """Count one more of *key* if it may have it. *most* holds instead of that of all."""
        count = self._counts.get(key, 0)
        if count >= (self.most if most is None else most):
            return False
        self._counts[key] = count + 1
        return True

    def leave(self, key: Hashable) -> None:
        """One of *key* that was counted is gone."""
        count = self._counts[key] - 1
        if count:
            self._counts[key] = count
        else:
            del self._counts[key]
