"""What every source of keys has in common, and how a token's key is looked up.

A token's key is looked for by ``kid`` and by algorithm. A key without an id, such as a secret or
one from a PEM file, may be that of any token; what decides is the signature.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tidewire.access.token_key import Key


class Elsewhere(enum.IntEnum):
    """Where a key could be that is not here."""

    NOWHERE = 0
    #: A fetch would be needed, and the issuer cannot be reached.
    OUT_OF_REACH = 1
    #: :meth:`KeySource.fetch` may bring it.
    TO_FETCH = 2


class KeySet:
    """Keys to be found by what a token says of its own; never changed."""

    __slots__ = ("_all", "_by_id")

    def __init__(self, keys: Iterable[Key]) -> None:
        self._all = tuple(keys)
        by_id = defaultdict[str | None, list[Key]](list)
        for key in self._all:
            by_id[key.id].append(key)
        self._by_id = dict(by_id)

    def __len__(self) -> int:
        return len(self._all)

    def has(self, id: str) -> bool:
        """Whether a key has this id."""
        return id in self._by_id

    def find(self, id: str | None, algorithm: str) -> list[Key]:
        """The keys that a token with this ``kid`` (``None``: without) and ``alg`` may be by."""
        if id is None:
            named: Sequence[Key] = self._all
        else:
            named = [*self._by_id.get(id, ()), *self._by_id.get(None, ())]
        return [key for key in named if key.fits(algorithm)]


class KeySource:
    """Keys that are there from the beginning and do not change; others override what differs."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = KeySet(keys)

    def version(self) -> int:
        """Another number once any key has come or gone. To be asked before each use of a key."""
        return 0

    def find(self, id: str | None, algorithm: str) -> list[Key]:
        """The keys known here that a token with this ``kid`` and ``alg`` may be by."""
        return self._keys.find(id, algorithm)

    def elsewhere(self, id: str | None, algorithm: str) -> Elsewhere:
        """Where else a key for such a token could be, if none of those known here fits."""
        return Elsewhere.NOWHERE

    async def fetch(self) -> None:
        """Fetch the keys now. It ends when they are there, or when it did not work."""

    async def close(self) -> None:
        """Fetch nothing any more."""
