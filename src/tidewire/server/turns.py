"""A part of each turn of the loop for those who have sent very many requests at once.

A read can hold thousands of requests. Who sends them gets its answers as fast as there is time for
them; but everybody else's messages get between.
"""

from __future__ import annotations

import asyncio
import logging
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

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Waiting, None] = {}
        self._is_due = False

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
        until = perf_counter() + SECONDS
        while self.run_one() and perf_counter() < until:
            pass
        self._is_due = bool(self._waiting)
        if self._is_due:
            self._loop.call_soon(self._turn)
