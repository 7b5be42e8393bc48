"""One timer for all connections: a wheel of ticks.

A connection has at most one entry. Setting it again moves it, at the cost of two dictionary
operations; nothing is allocated on the loop's own heap of timers.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

logger = logging.getLogger("tidewire.server")

TICK = 0.1  # seconds
STANDSTILL = 1.0
"""Seconds: a turn that is late by more comes after the process stood still, on a halted machine."""


class Timed(Protocol):
    """What can be put on the wheel. ``tick`` belongs to the wheel and starts as 0."""

    tick: int

    def on_timer(self, now: float) -> None:
        """Called once when the entry is due, never early, late by a tick or so.

        After a standstill of the process, only once what came meanwhile could be read.
        """
        ...


class Wheel:
    """Calls ``on_timer`` of its entries when they are due, in seconds of the loop's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, dict[Timed, None]] = {}
        self._tick = int(loop.time() / TICK)
        self._handle: asyncio.TimerHandle | None = None
        self._stood_still = False

    def set(self, item: Timed, delay: float) -> None:
        """Call *item* in *delay* seconds, instead of when it was set to before."""
        tick = max(int((self._loop.time() + delay) / TICK) + 1, self._tick + 1)
        if item.tick:
            if item.tick == tick:
                return
            self.clear(item)
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
        slot[item] = None
        item.tick = tick
        if self._handle is None:
            self._tick = int(self._loop.time() / TICK)
            self._handle = self._loop.call_later(TICK, self._turn)

    def clear(self, item: Timed) -> None:
        """Take *item* off the wheel."""
        if item.tick:
            slot = self._slots.get(item.tick)
            if slot is not None:
                slot.pop(item, None)
            item.tick = 0

    def stop(self) -> None:
        """Forget every entry."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._slots.clear()

    def _turn(self) -> None:
        now = self._loop.time()
        current = int(now / TICK)
        # The loop calls timers before it reads: answers that have been there for long would count
        # as missing, and everybody would be dropped at once.
        late = now - (self._tick + 1) * TICK > STANDSTILL
        self._stood_still = late and not self._stood_still
        if self._stood_still:
            self._handle = self._loop.call_later(TICK, self._turn)
            return
        for tick in range(self._tick + 1, current + 1):
            for item in self._slots.pop(tick, ()):
                if item.tick != tick:  # moved or cleared by one before it
                    continue
                item.tick = 0
                try:
                    item.on_timer(now)
                except Exception:  # one failure must not stop everybody's time
                    facts = {"connection": getattr(item, "number", None)}
                    logger.exception("a timer failed", extra={"facts": facts})
        self._tick = current
        self._handle = self._loop.call_later(TICK, self._turn) if self._slots else None
