"""TLS between the socket and its connection.

To the event loop a ``TlsLayer`` is a protocol, to the connection above it is a transport: it keeps
what asyncio promises of one. The event loops have such layers too. This one is ours because a slow
client must cost no more than without TLS: of what waits, the clear bytes that all receivers share
are kept, and encrypted only as fast as the kernel takes them. It also lets each handshake have the
newest certificate, sends the answer to a client that has closed its side, and says goodbye
(``close_notify``), so that nobody can pass a cut connection off as a finished one.

How bytes get to the kernel is told in ``server/connection.py``; the same holds here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any

from tidewire.model import BadRequest
from tidewire.server.backlog import in_kernel
from tidewire.server.connection import PIECES_A_TURN, Connection
from tidewire.server.journal import about
from tidewire.server.response import answer, problem

if TYPE_CHECKING:
    from tidewire.server.certificate import Certificate

logger = logging.getLogger("tidewire.server")

RECORD = 16 << 10
"""Bytes of the largest record. OpenSSL's buffers keep the size of what once was in them, for as
long as the connection lives: so nothing larger is put in."""
PIECE = 128 << 10
"""Bytes that are encrypted for one write to the kernel."""

_os_write = os.write
_NOBODY = asyncio.Protocol()  # stands for the connection once the socket is gone


class SecureConnection(Connection):
    """A connection above a ``TlsLayer``: there is no short way to the kernel, all is encrypted."""

    __slots__ = ()

    def write(self, data: bytes) -> bool:
        """See ``Connection.write``."""
        return self._write_rest(data, 0)


class TlsLayer(asyncio.Transport, asyncio.Protocol):
    """The transport of one *connection*, over TLS.

    The handshake has no time limit of its own: the connection closes who has not sent a whole
    request in time, and an unfinished handshake is not even the beginning of one.
    """

    __slots__ = (
        "_app",
        "_certificate",
        "_closing",
        "_connection",
        "_fd",
        "_heard_last",
        "_incoming",
        "_open",
        "_outgoing",
        "_paused",
        "_said_last",
        "_size",
        "_socket",
        "_socket_fd",
        "_stuck",
        "_tls",
        "_waiting",
    )

    def __init__(self, certificate: Certificate, connection: Connection) -> None:
        self._app = connection.app
        self._certificate = certificate
        self._connection: asyncio.Protocol = connection
        self._socket: asyncio.Transport = None  # type: ignore[assignment]
        self._fd = self._socket_fd = -1
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject = None  # type: ignore[assignment]
        self._waiting: deque[memoryview] = deque()  # clear bytes
        self._size = 0  # of them
        self._open = False  # the handshake is done
        self._stuck = False  # the socket has bytes that the kernel did not take
        self._paused = False  # the connection was told to write no more
        self._heard_last = False  # the client will send no more
        self._said_last = False  # nor will this side
        self._closing = False

    # The socket's protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._socket = transport
        transport.set_write_buffer_limits(high=0)
        self._fd = self._socket_fd = transport.get_extra_info("socket").fileno()
        context = self._certificate.context
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._connection.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fd = self._socket_fd = -1
        self._closing = True
        self._waiting.clear()
        connection, self._connection = self._connection, _NOBODY
        connection.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._closing or self._heard_last:
            return
        try:
            received = self._take_in(data)
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()  # tickets to resume with, and answers to new keys
        if received:
            self._connection.data_received(received)
        self._see_to_end()

    def eof_received(self) -> bool:
        if not self._heard_last:  # TCP's word will do: requests and frames know their lengths
            self._heard_last = True
            self._see_to_end()
        return True  # the socket stays open until all is sent

    def pause_writing(self) -> None:
        self._stuck = True
        self._fd = -1
        self._pause()

    def resume_writing(self) -> None:
        self._stuck = False
        if not self._socket.is_closing():
            self._fd = self._socket_fd
        self._go_on()

    # Bytes in

    def _take_in(self, data: bytes) -> bytes:
        """The clear bytes of all records that are whole now."""
        received: list[bytes] = []
        view = memoryview(data)
        for start in range(0, len(data), RECORD):
            self._incoming.write(view[start : start + RECORD])
            if self._open or self._shake_hands():
                self._decrypt(received)
        return received[0] if len(received) == 1 else b"".join(received)

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        self._open = True
        return True

    def _decrypt(self, received: list[bytes]) -> None:
        """Add to *received* what is there in whole records."""
        try:
            while self._incoming.pending or self._tls.pending():
                data = self._tls.read(RECORD)
                if not data:
                    self._heard_last = True
                    return
                received.append(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # this side had ended before
            self._heard_last = True

    def _see_to_end(self) -> None:
        """Tell the connection if the client has said its last."""
        if not self._heard_last or self._closing:
            return
        if not self._open or not self._connection.eof_received():
            self.close()

    def _fail(self, error: ssl.SSLError) -> None:
        """End a connection that does not speak TLS, or not so that it can be accepted."""
        connection = self._connection
        facts = about(connection) if isinstance(connection, Connection) else {}
        logger.debug("no TLS: %s", error.reason or error, extra={"facts": facts})
        self._app.count_bad_tls()
        self._closing = True
        self._flush()  # the alert
        if error.reason == "HTTP_REQUEST":
            wrong = BadRequest("this address speaks TLS: use https", code="tls_required")
            self._send(answer(*problem(wrong), keep_alive=False))
        self._socket.close()

    # Bytes out

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._said_last:
            return
        if self._open and not self._paused and len(data) <= RECORD:
            self._tls.write(data)
            self._send(self._outgoing.read())
            return
        self._waiting.append(memoryview(data))
        self._size += len(data)
        if self._open and not self._paused:
            self._go_on()
        else:
            self._pause()

    def _go_on(self) -> None:
        """Encrypt what waits, as long as the kernel takes it and others need not wait for long."""
        pieces = PIECES_A_TURN
        while self._waiting and not self._stuck and pieces:
            self._send(self._next_piece())
            pieces -= 1
        if self._waiting:
            self._pause()
            if not self._stuck:
                self._app.loop.call_soon(self._go_on)
            return
        if self._paused and not self._stuck:
            self._paused = False
            self._connection.resume_writing()
        self._finish()

    def _next_piece(self) -> bytes:
        records = []
        left = PIECE
        while self._waiting and left > 0:
            first = self._waiting[0]
            self._tls.write(first[:RECORD])
            records.append(self._outgoing.read())
            if len(first) <= RECORD:
                self._waiting.popleft()
            else:
                self._waiting[0] = first[RECORD:]
            taken = min(len(first), RECORD)
            self._size -= taken
            left -= taken
        return b"".join(records)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._connection.pause_writing()

    def _flush(self) -> None:
        """Send what TLS itself has to say."""
        if self._outgoing.pending:
            self._send(self._outgoing.read())

    def _send(self, data: bytes) -> None:
        try:
            sent = _os_write(self._fd, data)
        except OSError:
            sent = 0
        if sent < len(data) and not self._socket.is_closing():
            self._socket.write(memoryview(data)[sent:])

    # The end

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say goodbye once all is written, and go on reading."""
        if not self._closing and not self._said_last:
            self._said_last = True
            self._finish()

    def close(self) -> None:
        """Read no more, send what was written, say goodbye, and close."""
        if self._closing:
            return
        self._closing = True
        if not self._open:
            self._socket.abort()
        elif not self._socket.is_closing():
            self._socket.pause_reading()
            self._finish()

    def _finish(self) -> None:
        """End this side or all, if that is due and nothing waits to be said before."""
        ending = self._closing or self._said_last
        if not ending or self._waiting or self._socket.is_closing():
            return
        with contextlib.suppress(ssl.SSLError):  # it would wait for the client's goodbye
            self._tls.unwrap()
        self._flush()
        if self._closing:
            self._socket.close()
        else:
            self._socket.write_eof()

    def abort(self) -> None:
        self._closing = True
        self._socket.abort()

    # What else a transport has

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        self._socket.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are what a ``Connection`` wants them to be: pause at the first byte left."""

    def get_write_buffer_size(self) -> int:
        """Bytes on their way, what the client's machine has not acknowledged included."""
        return self._size + self._socket.get_write_buffer_size() + in_kernel(self._socket_fd)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return self._tls.context
        return self._socket.get_extra_info(name, default)
