"""Wrong WebSocket handshakes and frames: the right status or close code, and no harm to others."""

from __future__ import annotations

import contextlib
import json
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    frame,
    mask_payload,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

MIB = 1 << 20
COMMAND = b'{"type":"ping","ref":1}'


@pytest.fixture
def socket(server: ServerProcess) -> Iterator[RawWebSocket]:
    """An open WebSocket; afterwards the server must still serve another."""
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        assert socket.read_envelope()["type"] == "ready"
        yield socket
    with RawWebSocket(server.address) as witness:
        witness.open("/ws")
        assert witness.command(type="ping", ref=1)["type"] == "ok"


# Handshakes

BAD_HANDSHAKES: dict[str, tuple[dict[str, str | None], int]] = {
    "no key": ({"Sec-WebSocket-Key": None}, 400),
    "empty key": ({"Sec-WebSocket-Key": ""}, 400),
    "short key": ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
    "long key": ({"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, 400),
    "key that is no Base64": ({"Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!=="}, 400),
    "version 12": ({"Sec-WebSocket-Version": "12"}, 426),
    "version 14": ({"Sec-WebSocket-Version": "14"}, 426),
    "version x": ({"Sec-WebSocket-Version": "x"}, 426),
}


@pytest.mark.parametrize("path", ["/ws", "/subscribe"])
@pytest.mark.parametrize(("changes", "status"), BAD_HANDSHAKES.values(), ids=BAD_HANDSHAKES)
def test_bad_handshakes(
    server: ServerProcess, path: str, changes: dict[str, str | None], status: int
) -> None:
    with RawWebSocket(server.address) as socket:
        answer = socket.handshake(f"{path}?channels=a", changes)
        assert answer.status == status
        assert answer.problem["code"]
        if status == 426:
            assert "13" in answer.headers["sec-websocket-version"]


@pytest.mark.parametrize(
    "changes",
    [
        {"Sec-WebSocket-Version": None},
        {"Upgrade": None},
        {"Connection": None},
        {"Connection": "keep-alive"},
        {"Upgrade": "h2c"},
    ],
    ids=str,
)
def test_what_is_no_handshake(server: ServerProcess, changes: dict[str, str | None]) -> None:
    with RawWebSocket(server.address) as socket:
        answer = socket.handshake("/ws", changes)
        assert answer.status in (400, 426)
        assert answer.problem["code"]


def test_a_handshake_of_http_1_0_is_refused(server: ServerProcess) -> None:
    with RawConnection(server.address) as connection:
        connection.send(
            b"GET /ws HTTP/1.0\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert connection.head()[0] in (400, 426)


def test_a_handshake_by_post_is_refused(server: ServerProcess) -> None:
    with RawConnection(server.address) as connection:
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        connection.request("POST", "/ws", headers, b"")
        assert connection.head()[0] in (400, 405)


# Frames


def compressed(data: bytes) -> bytes:
    """A payload as permessage-deflate has it."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


WRONG_FRAMES: dict[str, tuple[bytes, int]] = {
    "not masked": (frame(TEXT, COMMAND, masked=False), 1002),
    "ping not masked": (frame(PING, b"", masked=False), 1002),
    "RSV1 without an extension": (frame(TEXT, COMMAND, rsv=4), 1002),
    "RSV2": (frame(TEXT, COMMAND, rsv=2), 1002),
    "RSV3": (frame(TEXT, COMMAND, rsv=1), 1002),
    "RSV on a ping": (frame(PING, b"", rsv=4), 1002),
    **{f"opcode {n:#x}": (frame(n, b""), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragmented ping": (frame(PING, b"", fin=False), 1002),
    "fragmented close": (frame(CLOSE, b"", fin=False), 1002),
    "ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a text inside a text": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "a binary inside a text": (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), 1002),
    "invalid UTF-8": (frame(TEXT, b"\xff"), 1007),
    "UTF-8 cut off": (frame(TEXT, "é".encode()[:1]), 1007),
    "a surrogate in UTF-8": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "overlong UTF-8": (frame(TEXT, b"\xc0\xaf"), 1007),
    "beyond Unicode": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "invalid UTF-8 in the first fragment": (frame(TEXT, b"\xff", fin=False), 1007),
    "invalid UTF-8 across fragments": (
        frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"),
        1007,
    ),
    "too large": (frame(TEXT, b"", declared=2 * MIB), 1009),
    "far too large": (frame(TEXT, b"", declared=1 << 62), 1009),
    "the 64th bit of the length": (frame(TEXT, b"", declared=1 << 63), 1002),
    "length of 8 bytes for 5": (b"\x81\xff" + (5).to_bytes(8) + b"\0\0\0\0hello", 1002),
    "length of 2 bytes for 5": (b"\x81\xfe" + (5).to_bytes(2) + b"\0\0\0\0hello", 1002),
    "one byte of a close code": (frame(CLOSE, b"\x03"), 1002),
    **{
        f"close code {code}": (frame(CLOSE, code.to_bytes(2)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close reason that is no UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize(("data", "code"), WRONG_FRAMES.values(), ids=WRONG_FRAMES)
def test_wrong_frames(socket: RawWebSocket, data: bytes, code: int) -> None:
    socket.send(data)
    assert socket.read_close().close_code == code
    assert socket.ended


def test_utf_8_across_fragments_is_right(socket: RawWebSocket) -> None:
    text = json.dumps({"type": "ping", "ref": "é🌊"}, ensure_ascii=False).encode()
    for index in range(len(text)):
        final = index == len(text) - 1
        kind = CONTINUATION if index else TEXT
        socket.send(frame(kind, text[index : index + 1], fin=final))
    assert socket.read_envelope()["ref"] == "é🌊"


def test_a_message_over_the_limit_in_fragments(socket: RawWebSocket) -> None:
    with contextlib.suppress(ConnectionError):
        socket.send(frame(TEXT, b"x" * 65_536, fin=False))
        for _ in range(40):
            socket.send(frame(CONTINUATION, b"x" * 65_536, fin=False))
    assert socket.read_close().close_code == 1009


def test_a_declared_size_takes_no_memory(server: ServerProcess) -> None:
    before = server.resident_memory()
    sockets = [RawWebSocket(server.address) for _ in range(50)]
    for socket in sockets:
        socket.open("/ws")
        socket.send(frame(TEXT, b"x" * 100, declared=MIB))
    with RawConnection(server.address) as witness:
        assert witness.get("/healthz").status == 200
    assert server.resident_memory() - before < 10 * MIB
    for socket in sockets:
        socket.socket.close()


@pytest.mark.parametrize("payload", [b"", b" "])
def test_4096_fragments_are_taken_and_4097_are_not(socket: RawWebSocket, payload: bytes) -> None:
    fragments = [frame(TEXT, payload, fin=False)] + [frame(CONTINUATION, payload, fin=False)] * 4094
    socket.send(b"".join(fragments) + frame(CONTINUATION, COMMAND))
    assert socket.read_envelope() == {"type": "ok", "ref": 1}
    with contextlib.suppress(ConnectionError):
        socket.send(b"".join(fragments) + frame(CONTINUATION, payload, fin=False) * 2)
    assert socket.read_close().close_code == 1009


def test_a_publish_at_the_limit_and_over_it(socket: RawWebSocket) -> None:
    data = "x" * (MIB - 2)
    assert socket.command(type="publish", ref=1, channel="big", data=data)["type"] == "ok"
    answer = socket.command(type="publish", ref=2, channel="big", data=data + "x")
    assert (answer["type"], answer["code"]) == ("error", "too_large")


def deflated_socket(server: ServerProcess) -> RawWebSocket:
    """A WebSocket with permessage-deflate."""
    socket = RawWebSocket(server.address)
    answer = socket.handshake("/ws", {"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert "permessage-deflate" in answer.headers["sec-websocket-extensions"]
    return socket


def test_a_compressed_command(server: ServerProcess) -> None:
    with deflated_socket(server) as socket:
        socket.read_frame()
        payload = compressed(COMMAND)
        socket.send(frame(TEXT, payload, rsv=4))
        assert socket.read_envelope() == {"type": "ok", "ref": 1}
        socket.send(frame(TEXT, payload[:5], rsv=4, fin=False) + frame(CONTINUATION, payload[5:]))
        assert socket.read_envelope() == {"type": "ok", "ref": 1}
        socket.send(frame(TEXT, COMMAND))  # need not be compressed
        assert socket.read_envelope() == {"type": "ok", "ref": 1}


def test_a_deflate_bomb(server: ServerProcess) -> None:
    bomb = compressed(b" " * (64 * MIB))
    assert len(bomb) < 100_000
    before = server.resident_memory()
    for _ in range(5):
        with deflated_socket(server) as socket:
            socket.send(frame(TEXT, bomb, rsv=4))
            assert socket.read_close().close_code == 1009
    assert server.resident_memory() - before < 16 * MIB


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff" * 20, rsv=4), 1007),
        (frame(TEXT, compressed(b"\xff\xfe"), rsv=4), 1007),
        (frame(TEXT, compressed(COMMAND), rsv=6), 1002),
        (frame(PING, compressed(COMMAND), rsv=4), 1002),
        (frame(TEXT, b"", rsv=4, fin=False) + frame(CONTINUATION, b"", rsv=4), 1002),
    ],
    ids=["broken", "no UTF-8", "RSV2", "ping", "continuation"],
)
def test_wrong_compressed_frames(server: ServerProcess, data: bytes, code: int) -> None:
    with deflated_socket(server) as socket:
        socket.send(data)
        assert socket.read_close().close_code == code


def test_nothing_counts_after_a_close(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        publish = b'{"type":"publish","channel":"afterwards","data":1}'
        socket.send(frame(CLOSE, b"\x03\xe8") + frame(TEXT, publish))
        assert socket.read_close().close_code == 1000
        assert socket.ended
    with RawConnection(server.address) as connection:
        assert connection.get("/history?channel=afterwards").json()["messages"] == []


def test_an_unmasked_publish_is_not_carried_out(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        publish = b'{"type":"publish","channel":"unmasked","data":1}'
        socket.send(frame(TEXT, publish, masked=False))
        assert socket.read_close().close_code == 1002
    with RawConnection(server.address) as connection:
        assert connection.get("/history?channel=unmasked").json()["messages"] == []


def test_a_flood_of_pings_is_survived(server: ServerProcess) -> None:
    before = server.resident_memory()
    with RawWebSocket(server.address, receive_buffer=4096) as socket:
        socket.open("/ws")
        socket.socket.settimeout(0.5)
        flood = frame(PING, b"x" * 125) * 1_000
        with contextlib.suppress(OSError):  # it may stop reading, or end the connection
            for _ in range(300):
                socket.send(flood)
        with RawConnection(server.address) as witness:
            assert witness.get("/healthz").status == 200
        assert server.resident_memory() - before < 24 * MIB, "pongs queue without a bound"


def test_pings_are_answered_with_their_payload(socket: RawWebSocket) -> None:
    for payload in (b"", b"x", bytes(range(125))):
        socket.send(frame(PING, payload))
        answer = socket.read_frame()
        assert (answer.opcode, answer.payload) == (PONG, payload)
    socket.send(frame(PONG, b"unasked"))
    assert socket.command(type="ping", ref=1)["type"] == "ok"


def test_echo_returns_what_it_gets(start: StartServer) -> None:
    server = start(echo=True, max_message_size=16 * MIB)
    with RawWebSocket(server.address) as socket:
        socket.open("/echo")
        for kind, payload in [
            (TEXT, "é\u2028".encode()),
            (BINARY, bytes(range(256))),
            (TEXT, b""),
            (BINARY, b"\xff" * (8 * MIB)),
        ]:
            socket.send(frame(kind, payload))
            echoed = socket.read_frame()
            assert (echoed.opcode, echoed.payload) == (kind, payload)
        socket.send(frame(TEXT, b"\xff"))
        assert socket.read_close().close_code == 1007


def test_there_is_no_echo_unless_it_is_wanted(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        assert socket.handshake("/echo").status == 404


def test_masking_is_its_own_inverse() -> None:
    payload, mask = bytes(range(251)), b"\x01\x02\x03\xff"
    assert mask_payload(mask_payload(payload, mask), mask) == payload
    assert mask_payload(b"\0" * 5, mask) == mask + mask[:1]
