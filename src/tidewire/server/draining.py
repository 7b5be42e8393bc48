"""The end of a server: its clients are sent away over a while, and told when to come back.

From the beginning the server takes nothing new, and ``/readyz`` answers 503, so that who chooses
among servers chooses another. A few connections end at once. Many end evenly over a window, in an
order that says nothing of when they came; held polls first, for they come back soon in any case.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

logger = logging.getLogger("tidewire.server")

AT_ONCE = 100
"""Connections that are no crowd."""

PER_SECOND = 200
"""A crowd is sent away at this pace, or faster, for the window to be enough."""

STEP_SECONDS = 0.05

LAST_SECONDS = 3.0
"""Of the time to drain, for those who were sent away last to close, if half of it is less."""


def drain_seconds(count: int, window: float, timeout: float) -> float:
    """Over how long to send *count* connections away, when all is to end within *timeout*."""
    if count <= AT_ONCE:
        return 0.0
    return min(window, max(timeout / 2, timeout - LAST_SECONDS), count / PER_SECOND)


class Drain:
    """Sends away all who are connected to *app*."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._left: deque[Connection] = deque()
        self._count = 0
        self._seconds = 0.0
        self._began = 0.0

    def begin(self) -> None:
        """Close what is idle now, and send away all others, now or one after the other."""
        app = self._app
        polls: list[Connection] = []
        streams: list[Connection] = []
        for connection in list(app.connections):
            if connection.drain():
                (polls if connection.pending is not None else streams).append(connection)
        random.shuffle(polls)
        random.shuffle(streams)
        self._left.extend(polls)
        self._left.extend(streams)
        self._count = len(self._left)
        settings = app.settings
        self._seconds = drain_seconds(self._count, settings.drain_window, settings.drain_timeout)
        self._began = app.loop.time()
        if self._seconds:
            logger.info("ending %d connections over %.1f s", self._count, self._seconds)
        self._step()

    def _step(self) -> None:
        """Send away those whose time has come."""
        loop = self._app.loop
        passed = loop.time() - self._began
        share = min(passed / self._seconds, 1.0) if self._seconds else 1.0
        left = self._count - int(self._count * share)
        while len(self._left) > left:
            self._send_away(self._left.popleft())
        if self._left:
            pause = STEP_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311  # spreads load
            loop.call_later(pause, self._step)

    def _send_away(self, connection: Connection) -> None:
        if connection.transport.is_closing():
            return
        try:
            connection.send_away(self._app.stream_retry())
        except Exception:  # the others are to be told all the same
            logger.exception("a connection was not sent away")
