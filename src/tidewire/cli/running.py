"""Running a command's coroutine so that Ctrl-C and SIGTERM end it in good order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

Main = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


class Ended(NamedTuple):
    """How a command ended: by itself, or because it was ``stopped``."""

    stopped: bool


def run(main: Main) -> Ended:
    """Run *main* to its end, or until a signal cancels it; its ``finally`` blocks run either way.

    *main* is given a function that stops it like a signal does.
    """

    async def guarded() -> Ended:
        loop = asyncio.get_running_loop()
        stopped = False
        task: asyncio.Task[None]

        def stop() -> None:
            nonlocal stopped
            # Once: a second Ctrl-C must not cut the closing handshake that the first began.
            if not stopped:
                stopped = True
                task.cancel()

        task = loop.create_task(main(stop))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            await task
        except asyncio.CancelledError:
            if not stopped:
                raise
        return Ended(stopped)

    return asyncio.run(guarded())
