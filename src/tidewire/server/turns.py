"""A part of each turn of the loop for those who ask for very much at once.

A read can hold thousands of requests, and a thousand clients can come in one moment. They get their
answers as fast as there is time for them; but everybody else's messages get between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

logger = logging.getLogger("tidewire.server")

SECONDS = 0.001
"""Of a turn; what is begun is finished."""


class Waiting(Protocol):
    """Who has more to do."""

    def read_more(self) -> None:
        """Do some of it, and ask for another turn if that was not all."""
        ...


class Turns:
    """Those who wait have their turns one after the other."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._waiting: dict[Waiting, None] = {}
        self._is_due = False
        self._newcomers_until = 0.0
        self._counting = False

    def are_full(self) -> bool:
        """Whether who comes anew, or with much, has to wait: others had the time for that."""
        now = self._clock()
        if self._counting:
            return now >= self._newcomers_until
        self._counting = True
        self._newcomers_until = now + SECONDS
        self._loop.call_soon(self._stop_counting)
        return False

    def _stop_counting(self) -> None:
        self._counting = False

    def add(self, who: Waiting) -> None:
        """Let *who* read more in its turn."""
        self._waiting[who] = None
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def run_one(self) -> bool:
        """Let the one read that has waited longest; whether there was any."""
        who = next(iter(self._waiting), None)
        if who is None:
            return False
        del self._waiting[who]
        try:
            who.read_more()
        except Exception:  # one failure must not stop everybody's turn
            logger.exception("a turn failed")
        return True

    def _turn(self) -> None:
        until = self._clock() + SECONDS
        while self.run_one() and self._clock() < until:
            pass
        self._is_due = bool(self._waiting)
        if self._is_due:
            self._loop.call_soon(self._turn)
