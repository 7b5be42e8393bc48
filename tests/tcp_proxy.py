"""A TCP proxy on the loopback interface; what happens to the bytes is up to its subclasses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.listening import HOST, Listener

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Write = Callable[[bytes], Awaitable[None]]
    Gate = Callable[[bytes, Write], Awaitable[None]]

CHUNK = 65_536


class Peer(NamedTuple):
    """One of the two ends that a connection through the proxy has."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, data: bytes) -> None:
        """Send bytes, and wait while the other end takes none."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def pass_to(self, other: Peer, gate: Gate) -> None:
        """Read until the end of this side; ``gate`` hands on, or not, what goes to ``other``."""
        while chunk := await self.reader.read(CHUNK):
            await gate(chunk, other.write)


class TcpProxy:
    """Listens on a free port, and opens a connection to ``target`` for each that it accepts."""

    def __init__(self, target: tuple[str, int], *, receive_buffer: int | None = None) -> None:
        self.target = target
        self._receive_buffer = receive_buffer
        self._listener = Listener(self._accepted)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    @property
    def url(self) -> str:
        """Where clients reach the proxy."""
        return f"http://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        await self._listener.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and drop all connections."""
        await self._listener.close()

    async def dial(self) -> Peer:
        """A new connection to the target."""
        connection = socket.socket()
        if self._receive_buffer is not None:  # before connecting: it decides the window offered
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, self.target)
        except BaseException:  # it may be cancelled: the proxy stops
            connection.close()
            raise
        limit = self._receive_buffer or CHUNK
        return Peer(*await asyncio.open_connection(sock=connection, limit=limit))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            server = await self.dial()
            try:
                await self.serve(Peer(reader, writer), server)
            finally:
                server.writer.transport.abort()
        writer.transport.abort()

    async def serve(self, client: Peer, server: Peer) -> None:
        """Carry one connection; both sides are dropped when this returns."""
        raise NotImplementedError
