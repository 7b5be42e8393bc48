"""Many light subscribers in one process: they count what they get, and note when."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.server_process import ServerProcess


class Listener(asyncio.Protocol):
    """One event stream: the number of its messages, and when the last one came."""

    def __init__(self, request: bytes) -> None:
        self.events = 0
        self.open = asyncio.get_running_loop().create_future()
        self.last_at = 0.0
        self._request = request
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.last_at = time.monotonic()
        data = self._tail + data
        self.events += data.count(b'"type":"message"') - self._tail.count(b'"type":"message"')
        self._tail = data[-64:]
        if not self.open.done() and b"tidewire.ready" in data:
            self.open.set_result(None)


@asynccontextmanager
async def crowd(server: ServerProcess, size: int, channel: str) -> AsyncGenerator[list[Listener]]:
    """``size`` subscribers of a channel, all of them ready."""
    head = f"GET /sse?channels={channel} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n\r\n"
    loop = asyncio.get_running_loop()
    make = partial(Listener, head.encode())
    members = []
    try:
        for _ in range(size):
            _, member = await loop.create_connection(make, *server.address)
            members.append(member)
        await asyncio.gather(*(member.open for member in members))
        yield members
    finally:
        for member in members:
            member.transport.abort()


def everyone_has(members: list[Listener], count: int) -> bool:
    """Whether all have got exactly ``count`` messages."""
    return all(member.events == count for member in members)
