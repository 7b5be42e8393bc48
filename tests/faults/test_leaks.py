"""Ten thousand connections come and go in every way: nothing of them is left."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import wait_until
from tests.faults.lanes import footprint

if TYPE_CHECKING:
    from tests.server_process import ServerProcess

pytestmark = pytest.mark.faults

CYCLES = 10_000
WARM_UP = 1_000
ALLOWED_GROWTH = 12 << 20
"""Bytes by which memory may differ afterwards, for what allocators keep."""

HOST = "Host: 127.0.0.1\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
REQUESTS = {
    "WebSocket": f"GET /ws?channels=a HTTP/1.1\r\n{HOST}{UPGRADE}\r\n",
    "SSE": f"GET /sse?channels=a HTTP/1.1\r\n{HOST}\r\n",
    "long poll": f"GET /longpoll?channels=a HTTP/1.1\r\n{HOST}\r\n",
    "short poll": f"GET /poll?channels=a HTTP/1.1\r\n{HOST}\r\n",
    "publish": f"POST /publish?channel=b HTTP/1.1\r\n{HOST}Content-Length: 1\r\n\r\n1",
    "half a request": f"GET /poll?channels=a HTTP/1.1\r\n{HOST}",
    "nothing": "",
}
ANSWERED = {"WebSocket", "SSE", "short poll", "publish"}
"""What is answered at once; the others are left while the server waits."""


def come_and_go(address: tuple[str, int], kind: str, *, reset: bool) -> None:
    """Open a connection, send a request, see that it is answered if it should be, and leave."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(REQUESTS[kind].encode())
        if kind in ANSWERED:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 ")
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_connections_come_and_go(server: ServerProcess) -> None:
    def cycles(count: int) -> None:
        kinds = list(REQUESTS)
        for number in range(count):
            kind = kinds[number % len(kinds)]
            come_and_go(server.address, kind, reset=bool(number // len(kinds) % 2))
        wait_until(lambda: not server.connections())

    before = footprint(server)
    cycles(WARM_UP)
    warm = footprint(server)
    cycles(CYCLES)
    after = footprint(server)
    assert after.descriptors == before.descriptors
    assert after.memory - warm.memory < ALLOWED_GROWTH
