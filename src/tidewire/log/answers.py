"""Answers of an engine, seen to by the transaction instead of one by one.

A future makes one call of the loop for each of its callbacks, which takes longer than the engine
needs for the message. But those of one transaction are done together, in the order of the calls.
"""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Given = TypeVarTuple("Given")


class Answers:
    """Calls back for futures that are done in the order in which they were put here."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Future[Any], Callable[..., None], tuple[Any, ...]]] = deque()
        self._listens = False  # to the first of them

    def is_next(self, future: Future[Any]) -> bool:
        """Whether *future* is done and all before it: what ``when_done`` would call back at once.

        Who asks first need not make a callback for it.
        """
        return future.done() and not self._waiting

    def when_done(
        self, future: Future[T], callback: Callable[[*Given, Future[T]], None], *given: *Given
    ) -> None:
        """Call *callback* when *future* is done, and all before it: at once if they are.

        It gets what was *given*, and the future.
        """
        if self.is_next(future):
            callback(*given, future)
            return
        self._waiting.append((future, callback, given))
        if not self._listens:
            self._listens = True
            future.add_done_callback(self._first_is_done)

    def _first_is_done(self, _: Future[Any]) -> None:
        waiting = self._waiting
        try:
            while waiting and waiting[0][0].done():
                future, callback, given = waiting.popleft()
                callback(*given, future)
        finally:  # also when a callback has failed, which is reported as that of a future
            self._listens = bool(waiting)
            if waiting:
                waiting[0][0].add_done_callback(self._first_is_done)
