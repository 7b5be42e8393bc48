"""What a connection has held is free again when it ends, and does not wait for the collector.

The collector counts objects, not their bytes, and comes the more rarely the longer they live: who
connects again and again could fill the memory with what only it would find.
"""

from __future__ import annotations

import gc
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_websocket import TEXT, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.conftest import Server

HOST = b" HTTP/1.1\r\nHost: localhost:8480\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SUBSCRIBE = frame(TEXT, b'{"type":"subscribe","ref":1,"channels":["b"]}')
VISITS = {
    "nothing": b"",
    "a part of a head": b"GET /poll" + HOST,
    "a part of a body": b"POST /publish" + HOST + b"Content-Length: 9\r\n\r\n123",
    "a short poll": b"GET /poll?channels=a" + HOST + b"\r\n",
    "a pipeline": (b"GET /healthz" + HOST + b"\r\n") * 40,
    "a held poll": b"GET /longpoll?channels=a" + HOST + b"\r\n",
    "a held poll, and more behind": b"GET /longpoll?channels=a" + HOST + b"\r\n" * 20,
    "an event stream": b"GET /sse?channels=a" + HOST + b"\r\n",
    "a WebSocket": b"GET /ws?channels=a" + HOST + UPGRADE + b"\r\n",
    "commands": b"GET /ws?channels=a" + HOST + UPGRADE + b"\r\n" + SUBSCRIBE * 3,
    "a wrong frame": b"GET /ws?channels=a" + HOST + UPGRADE + b"\r\n" + b"\xff\xff\xff",
    "a consumer": b"GET /ws?channels=a&consumer=c" + HOST + UPGRADE + b"\r\n",
    "history": b"GET /history?channel=a" + HOST + b"\r\n",
    "a publish": b"POST /publish" + HOST + b'Content-Length: 24\r\n\r\n{"channel":"x","data":1}',
    "no HTTP": b"\x16\x03\x01\x02\x00",
    "an upgrade that is refused": b"GET /healthz"
    + HOST
    + b"Upgrade: x\r\nConnection: upgrade\r\n\r\n",
}


@pytest.fixture
def _without_collector() -> Iterator[None]:
    """Nothing is collected but what has no references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def visit(server: Server, data: bytes) -> None:
    """Connect, send this, and be gone."""
    client = server.client()
    if data:
        client.connection.data_received(data)
    server.turn()
    client.leave()
    server.turn()
    del client.transport.protocol  # as the event loops do


def alive() -> Counter[str]:
    """How many objects of our own there are, by type."""
    kinds = (type(one) for one in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__name__}"
        for kind in kinds
        if str(kind.__module__).startswith(("tidewire", "httptools"))
    )


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize("data", VISITS.values(), ids=VISITS)
def test_nothing_is_left_of_a_connection(app_server: Server, data: bytes) -> None:
    app_server.publish("a")
    for _ in range(3):  # what is remembered for all of them
        visit(app_server, data)
    before = alive()
    for _ in range(5):
        visit(app_server, data)
    assert alive() - before == Counter()
