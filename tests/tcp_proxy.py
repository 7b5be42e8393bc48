"""A TCP proxy on the loopback interface; what happens to the bytes is up to its subclasses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

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
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients reach the proxy."""
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and drop all connections."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def dial(self) -> Peer:
        """A new connection to the target."""
        connection = socket.socket()
        if self._receive_buffer is not None:  # before connecting: it decides the window offered
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, self.target)
        except OSError:
            connection.close()
            raise
        limit = self._receive_buffer or CHUNK
        return Peer(*await asyncio.open_connection(sock=connection, limit=limit))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server = None
        try:
            # Cancelled when the proxy stops; asyncio's streams would log that as an error.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                server = await self.dial()
                await self.serve(Peer(reader, writer), server)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            if server is not None:
                server.writer.transport.abort()

    async def serve(self, client: Peer, server: Peer) -> None:
        """Carry one connection; both sides are dropped when this returns."""
        raise NotImplementedError
