"""What a consumer has been given, has finished with, and has still to tell the server."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

MOST_SINGLES = 100
"""Ids in one request: they stand in a URL."""
MOST_HELD = 100_000
MOST_SETTLED = 10_000


class Due(NamedTuple):
    """What the server has to be told: all ``upto`` this id is finished, and these ``singles``."""

    upto: str | None
    singles: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.upto is not None or bool(self.singles)


class TooMuchHeld(Exception):
    """More messages were given than can be remembered, and none of them was finished with."""


class Ledger:
    """The messages of one consumer in the order in which they came.

    What is finished with nothing unfinished before it is told by one id for all. What was finished
    out of order is told singly: an id for all would acknowledge the one that still is at work, or
    that is to come again.

    The newest that are settled are remembered, because copies of them may still be on their way:
    sent again while they waited here to be worked on.
    """

    def __init__(self) -> None:
        # Unlike plain ones these give their oldest entry in no time after many were removed.
        self._finished: OrderedDict[str, bool] = OrderedDict()
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._upto: str | None = None

    def give(self, id: str) -> bool:
        """A message comes; whether it is to be dealt with, or was finished before it came again.

        Raises:
            TooMuchHeld: if :data:`MOST_HELD` messages wait to be finished with.
        """
        if id in self._settled:
            return False
        if id in self._finished:
            return not self._finished[id]
        if len(self._finished) >= MOST_HELD:
            raise TooMuchHeld
        self._finished[id] = False
        return True

    def finish(self, id: str) -> None:
        """The message needs not come again. Of one that was not given, nothing is to be told."""
        if id in self._finished:
            self._finished[id] = True

    def drop(self, id: str) -> None:
        """The server was told of this message otherwise: it does not come again."""
        self._settle(id)

    def due(self) -> Due:
        """What to tell the server now; the same again, and more, until it was :meth:`told`."""
        while self._finished:
            oldest = next(iter(self._finished))
            if not self._finished[oldest]:
                break
            self._upto = oldest
            self._settle(oldest)
        singles: list[str] = []
        for id, finished in self._finished.items():
            if finished:
                singles.append(id)
                if len(singles) == MOST_SINGLES:
                    break
        return Due(self._upto, tuple(singles))

    def told(self, due: Due) -> None:
        """The server has kept this."""
        if self._upto == due.upto:
            self._upto = None
        for id in due.singles:
            self._settle(id)

    def _settle(self, id: str) -> None:
        if self._finished.pop(id, None) is not None:
            self._settled[id] = None
            if len(self._settled) > MOST_SETTLED:
                self._settled.popitem(last=False)
