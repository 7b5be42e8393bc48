"""What a server says of itself to the others: who it is, and how busy."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from tidewire import __version__
from tidewire.access.breaker import ThisProcess
from tidewire.hub import NodeInfo
from tidewire.server.metrics import by_transport

if TYPE_CHECKING:
    from tidewire.server.app import App

LOOK_SECONDS = 2.0
"""What takes a walk over all connections, or a time to measure, is found again after so long."""


class Load:
    """Describes the server of *app*. ``address`` is where it listens, once that is known."""

    def __init__(self, app: App) -> None:
        self.address = ""
        self._app = app
        self._host = socket.gethostname()
        self._started = int(time.time() * 1000)
        self._process = ThisProcess()
        self._looked_at = float("-inf")
        self._messages = 0
        self._cpu_seconds = 0.0
        self._rate = self._cpu = 0.0
        self._transports: dict[str, int] = {}

    def describe(self, id: str) -> NodeInfo:
        """What there is to say now, of the node *id* that this server is."""
        app = self._app
        self._look()
        return NodeInfo(
            id,
            host=self._host,
            pid=os.getpid(),
            version=__version__,
            started=self._started,
            address=self.address,
            draining=app.draining,
            connections=len(app.connections),
            capacity=app.settings.max_connections,
            transports=self._transports,
            messages=round(self._rate, 1),
            cpu=round(self._cpu, 3),
            memory=self._process.resident(),
        )

    def _look(self) -> None:
        now, messages, cpu_seconds = time.monotonic(), self._app.hub.messages, time.process_time()
        passed = now - self._looked_at
        if passed < LOOK_SECONDS:
            return
        if passed < float("inf"):
            self._rate = (messages - self._messages) / passed
            self._cpu = (cpu_seconds - self._cpu_seconds) / passed
        self._looked_at, self._messages, self._cpu_seconds = now, messages, cpu_seconds
        self._transports = dict(by_transport(self._app))
