"""A loop's clock and timers, moved by the test."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Timer:
    """What ``call_later`` gives."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Never call it."""
        self.cancelled = True

    def run(self) -> None:
        """Call it, unless it was cancelled."""
        if not self.cancelled:
            self._callback()


class FakeLoop:
    """Only time passes here, and only when ``advance`` is called."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0

    @property
    def as_loop(self) -> asyncio.AbstractEventLoop:
        """This, for those who want a whole loop and use its clock and timers only."""
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        """The time, in seconds."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* in *delay* seconds."""
        self._count += 1
        timer = Timer(callback)
        heapq.heappush(self._timers, (self.now + delay, self._count, timer))
        return timer

    def call_soon(self, callback: Callable[[], object]) -> Timer:
        """Call *callback* as soon as time passes."""
        return self.call_later(0, callback)

    def idle(self) -> bool:
        """Whether nothing is to be called later."""
        return all(timer.cancelled for _, _, timer in self._timers)

    def advance(self, seconds: float, *, late: float = 0.0) -> None:
        """Let *seconds* pass; every timer is called *late* by so much."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] + late <= end:
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due + late)
            timer.run()
        self.now = end
