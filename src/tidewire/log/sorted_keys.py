"""The keys of a table in memory, in order when somebody asks for them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator

_FEW = 64


class SortedKeys:
    """The keys of *table*, which tells what is there still.

    A key that comes costs nothing until somebody asks; then those that have come since are sorted
    in. Keys that have gone stay for a while, and are passed over.
    """

    __slots__ = ("_keys", "_new", "_table")

    def __init__(self, table: Collection[str]) -> None:
        self._table = table
        self._keys: list[str] = []
        self._new: list[str] = []

    def add(self, key: str) -> None:
        """*key* is in the table, and was not before."""
        self._new.append(key)
        if len(self._new) > 2 * len(self._table) + _FEW:
            self._rebuild()

    def above(self, after: str, prefix: str) -> Iterator[str]:
        """The keys above *after* that begin with *prefix*; the table must not change meanwhile."""
        if self._new:
            self._keys += self._new
            self._new = []
            self._keys.sort()
        if len(self._keys) > 2 * len(self._table) + _FEW:
            self._rebuild()
        keys = self._keys
        last = None
        for index in range(max(bisect_left(keys, prefix), bisect_right(keys, after)), len(keys)):
            key = keys[index]
            if not key.startswith(prefix):
                return
            if key != last and key in self._table:
                yield key
            last = key

    def _rebuild(self) -> None:
        self._keys = sorted(self._table)
        self._new = []
