"""The access log: a line for each request that was answered and for each stream that has ended.

It costs nothing where it is off, because then these classes are not used at all.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from tidewire.model import TidewireError
from tidewire.server.app import App
from tidewire.server.connection import Connection
from tidewire.server.journal import about
from tidewire.server.tls import SecureConnection

if TYPE_CHECKING:
    from tidewire.server.request import Request

logger = logging.getLogger("tidewire.requests")


class Entry:
    """What is known of one request so far."""

    __slots__ = ("_began", "_connection", "_facts", "_request", "size", "status")

    def __init__(self, connection: Connection, request: Request | None) -> None:
        self._facts = about(connection, request)
        self._request = request
        self._began = time.monotonic()
        self.status = 0
        self.size = 0

    def sent(self, data: bytes) -> None:
        """*data* is on its way to the client; the first of it has the status."""
        if not self.status:
            self.status = int(data[9:12])
        self.size += len(data)

    def write(self) -> None:
        """Log the line. ``status`` is 0 if the client left before its answer."""
        request = self._request
        facts = self._facts
        if request is not None and request.caller.kind != "open":
            facts["caller"] = str(request.caller)
        facts["status"] = self.status
        facts["bytes"] = self.size
        facts["seconds"] = round(time.monotonic() - self._began, 6)
        logger.info("request", extra={"facts": facts})


class LoggedConnection(Connection):
    """A connection that tells of its requests."""

    __slots__ = ("_entry",)

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._entry: Entry | None = None

    def begin(self, request: Request | None) -> None:
        """A request is about to be handled."""
        self._end_entry()  # that of the one before, whose answer led on to this one
        self._entry = Entry(self, request)

    def _end_entry(self, entry: Entry | None = None) -> None:
        """Log the entry, or *entry* if that is still the one."""
        if self._entry is not None and (entry is None or entry is self._entry):
            found, self._entry = self._entry, None
            found.write()

    def write(self, data: bytes) -> bool:
        if self._entry is not None:
            self._entry.sent(data)
        return super().write(data)

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        entry = self._entry
        super().respond(status, headers, body)
        if self.current is None:
            self._end_entry(entry)

    def respond_whole(self, data: bytes) -> None:
        entry = self._entry
        super().respond_whole(data)
        self._end_entry(entry)

    def _fail(self, error: TidewireError) -> None:
        if self.current is None and not self._queue and not self.transport.is_closing():
            self.begin(None)
        super()._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_entry()


class SecureLoggedConnection(LoggedConnection, SecureConnection):
    """The same over TLS."""

    __slots__ = ()


class LoggingApp(App):
    """An application whose connections are of the kinds above."""

    def handle(self, request: Request, connection: Connection) -> None:
        assert isinstance(connection, LoggedConnection)
        connection.begin(request)
        super().handle(request, connection)
