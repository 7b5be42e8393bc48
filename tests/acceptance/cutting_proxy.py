"""A TCP proxy that breaks connections at a chosen byte, as a bad network does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class CuttingProxy:
    """Passes bytes on to ``target``, and cuts the connection after ``budget`` bytes of answers.

    The budget spans connections, so that a client which keeps opening new ones is cut as well. A
    cut resets both sides at once (RST): no one is told why.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.budget = 0
        self.cuts = 0
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients reach the proxy."""
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        requests = asyncio.create_task(self._pass_requests(reader, up_writer))
        try:
            while chunk := await up_reader.read(65536):
                allowed = chunk[: self.budget]
                self.budget -= len(allowed)
                writer.write(allowed)
                await writer.drain()
                if len(allowed) < len(chunk):
                    self.cuts += 1
                    _reset(writer)
                    _reset(up_writer)
                    return
            writer.close()
            await writer.wait_closed()
        finally:
            requests.cancel()
            up_writer.transport.abort()

    @staticmethod
    async def _pass_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def cutting_proxy(target: tuple[str, int]) -> AsyncGenerator[CuttingProxy]:
    """A running proxy in front of ``target``."""
    proxy = CuttingProxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
