"""Waiting for facts outside the test: they are looked at again and again until a deadline."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_EVERY = 0.01
"""Seconds between two looks."""


def wait_until(holds: Callable[[], object], *, within: float = 20) -> None:
    """Return as soon as ``holds()`` is true; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s: {holds}"
        time.sleep(LOOK_EVERY)


async def until(holds: Callable[[], object], *, within: float = 20) -> None:
    """As :func:`wait_until`, while other tasks go on."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s: {holds}"
        await asyncio.sleep(LOOK_EVERY)
