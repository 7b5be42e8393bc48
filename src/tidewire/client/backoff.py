"""When to try again: exponential back-off with full jitter, and what the server asks for.

No clock, randomness or sleep of its own: all are handed in, so that tests run without waiting.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, TypeVar

from tidewire.client.errors import Interrupted, Unanswered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

BASE = 1.0
CAP = 30.0
STABLE_AFTER = 10.0


class Backoff:
    """Delays between attempts, in seconds.

    The n-th failure in a row is followed by a delay drawn evenly from 0 to ``base * 2**(n-1)``,
    at most ``cap``. All of the span is used ("full jitter"), because clients that lost the same
    server at the same moment should come back spread out.
    """

    def __init__(
        self,
        base: float = BASE,
        cap: float = CAP,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``draw`` gives numbers from 0 to below 1."""
        self._base = base
        self._cap = cap
        self._draw = draw
        self._ceiling = base

    def reset(self) -> None:
        """Start over, after a connection that was of use."""
        self._ceiling = self._base

    def delay(self, asked: float | None = None) -> float:
        """How long to wait now; ``asked`` is what the server wants.

        Never shorter than the server wants, and up to a base longer: many clients may have been
        told the same number.
        """
        drawn = self._draw()
        wait = drawn * self._ceiling
        self._ceiling = min(self._ceiling * 2, self._cap)
        if asked is not None:
            wait = max(wait, asked + drawn * min(self._base, asked))
        return wait


async def retry(
    operation: Callable[[], Awaitable[T]],
    *,
    within: float,
    backoff: Backoff,
    on_wait: Callable[[float, str], None] = lambda delay, reason: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Run ``operation`` until it is not interrupted, for at most ``within`` seconds.

    ``on_wait`` is told the delay and the reason before each wait. The last attempt is at the end
    of the time, unless the server wants none so soon.

    Raises:
        Unanswered: when the time is over, or the server wants the next attempt after that.
    """
    end = clock() + within
    while True:
        try:
            return await operation()
        except Interrupted as error:
            left = end - clock()
            if left <= (error.retry_after or 0):
                raise Unanswered(error.reason) from error
            # A delay that is drawn doubles: without this most of the time would not be used.
            delay = min(backoff.delay(error.retry_after), left)
            on_wait(delay, error.reason)
            await sleep(delay)
