"""WebSocket on the wire: subprotocols, compression, fragments, heartbeats, the two handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.acceptance.checker import (
    Envelope,
    check_agreement,
    check_received,
    from_answer,
    from_envelope,
)
from tests.acceptance.raw_websocket import BINARY, PING, PONG, TEXT, RawWebSocket, frame
from tests.acceptance.waiting import wait_until
from tests.acceptance.websocket_client import client, fill

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

names = (f"socket-{n}" for n in itertools.count())


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return next(names)


@pytest.mark.parametrize("deflate", [False, True])
async def test_batches(server: ServerProcess, channel: str, deflate: bool) -> None:
    published = await fill(server, channel, 20)
    url = f"{server.url.replace('http', 'ws')}/ws?channels={channel}&since=start"
    async with connect(
        url,
        proxy=None,
        subprotocols=["tidewire.v1.json.batch"],  # type: ignore[list-item]
        compression="deflate" if deflate else None,
    ) as socket:
        assert socket.subprotocol == "tidewire.v1.json.batch"
        frames: list[list[Envelope]] = []

        async def receive(total: int) -> None:
            async with asyncio.timeout(10):
                while sum(e["type"] == "message" for f in frames for e in f) < total:
                    frames.append(json.loads(await socket.recv()))
                    assert isinstance(frames[-1], list)
                    assert frames[-1]

        await receive(20)
        assert frames[0][0]["type"] == "ready"
        published += await fill(server, channel, 50)
        before = len(frames)
        await receive(70)
        assert len(frames) - before < 50, "fifty messages published together, and no batch"
        await socket.send('{"type":"ping","ref":7}')
        frames.append(json.loads(await socket.recv()))
        assert frames[-1] == [{"type": "ok", "ref": 7}]
    envelopes = [e for f in frames for e in f if e["type"] == "message"]
    check_received(published, [from_envelope(e) for e in envelopes])


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["tidewire.v1.json"], "tidewire.v1.json"),
        (["unknown", "tidewire.v1.json"], "tidewire.v1.json"),
        (["tidewire.v1.json.batch", "tidewire.v1.json"], "tidewire.v1.json.batch"),
        (["tidewire.v1.json", "tidewire.v1.json.batch"], "tidewire.v1.json"),
    ],
)
async def test_subprotocols(server: ServerProcess, offered: list[str], chosen: str | None) -> None:
    with RawWebSocket(server.address) as socket:
        answer = socket.handshake("/ws", {"Sec-WebSocket-Protocol": ", ".join(offered) or None})
        assert answer.status == 101
        assert answer.headers.get("sec-websocket-protocol") == chosen


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12",
        "x-unknown, permessage-deflate",
        "permessage-deflate; nonsense=1, permessage-deflate",
    ],
)
def test_deflate_is_accepted_without_context_takeover(server: ServerProcess, offer: str) -> None:
    with RawWebSocket(server.address) as socket:
        answer = socket.handshake("/ws", {"Sec-WebSocket-Extensions": offer})
        assert answer.status == 101
        agreed = answer.headers["sec-websocket-extensions"]
        assert agreed.startswith("permessage-deflate")
        assert "server_no_context_takeover" in agreed
        assert "nonsense" not in agreed


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; nonsense",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "x-webkit-deflate-frame",
    ],
)
def test_a_malformed_offer_is_declined(server: ServerProcess, offer: str) -> None:
    with RawWebSocket(server.address) as socket:
        answer = socket.handshake("/ws", {"Sec-WebSocket-Extensions": offer})
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers


@pytest.mark.parametrize("bits", [9, 12, 15])
async def test_compressed_messages_are_the_same(
    server: ServerProcess, channel: str, bits: int
) -> None:
    factory = ClientPerMessageDeflateFactory(server_max_window_bits=bits)
    options: dict[str, Any] = {"compression": None, "extensions": [factory]}
    async with (
        client(server, f"?channels={channel}", **options) as one,
        client(server, f"?channels={channel}", compression=None) as plain,
    ):
        text = "repeated, " * 2_000
        command = {"channel": channel, "data": {"text": text, "é": "\u2028"}}
        published = [from_answer(command, await one.ok("publish", **command))]
        published += await fill(server, channel, 50)
        for who in (one, plain):
            await who.receive_messages(51)
        check_received(published, one.messages)
        check_agreement({"deflated": one.messages, "plain": plain.messages})


def test_a_repetitive_message_is_really_compressed(server: ServerProcess, channel: str) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open(f"/ws?channels={channel}", {"Sec-WebSocket-Extensions": "permessage-deflate"})
        socket.read_frame()
        with RawWebSocket(server.address) as publisher:
            publisher.open("/ws")
            data = "repeated, " * 2_000
            assert publisher.command(type="publish", ref=1, channel=channel, data=data)
        received = socket.read_frame()
        assert (received.opcode, received.rsv) == (TEXT, 4)
        assert len(received.payload) < 1_000


def test_fragments_with_a_ping_between(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        assert socket.read_envelope()["type"] == "ready"
        socket.send(
            frame(TEXT, b'{"type":"pi', fin=False)
            + frame(PING, b"inside")
            + frame(0, b'ng","ref', fin=False)
            + frame(0, b"", fin=False)
            + frame(0, b'":5}')
        )
        pong = socket.read_frame()
        assert (pong.opcode, pong.payload) == (PONG, b"inside")
        assert socket.read_envelope() == {"type": "ok", "ref": 5}


def test_bytes_one_by_one(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        assert socket.read_envelope()["type"] == "ready"
        for byte in frame(TEXT, b'{"type":"ping","ref":"slow"}'):
            socket.send(bytes([byte]))
        assert socket.read_envelope() == {"type": "ok", "ref": "slow"}


def test_frames_right_behind_the_handshake(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        head = (
            f"GET /ws HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        socket.send(head.encode() + frame(TEXT, b'{"type":"ping","ref":1}'))
        status, headers = socket.head()
        assert status == 101
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert socket.read_envelope()["type"] == "ready"
        assert socket.read_envelope() == {"type": "ok", "ref": 1}


@pytest.mark.parametrize(
    "connection", ["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade, keep-alive"]
)
@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket"])
def test_handshakes_of_every_browser(server: ServerProcess, connection: str, upgrade: str) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws", {"Connection": connection, "Upgrade": upgrade})
        assert socket.read_envelope()["type"] == "ready"


@pytest.mark.parametrize("code", [None, 1000, 1001, 3000, 4999])
def test_the_closing_handshake(server: ServerProcess, code: int | None) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        payload = b"" if code is None else code.to_bytes(2) + "bye é".encode()
        socket.send(frame(8, payload))
        close = socket.read_close()
        assert close.payload[:2] == payload[:2] or close.close_code == 1000
        assert socket.ended


async def test_binary_frames_are_refused_by_a_json_subprotocol(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        socket.send(frame(BINARY, b'{"type":"ping","ref":1}'))
        assert socket.read_close().close_code == 1003


async def test_raw_format(server: ServerProcess, channel: str) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open(f"/ws?channels={channel}&format=raw&since=start")
        with RawWebSocket(server.address) as publisher:
            publisher.open("/ws")
            for n, data in enumerate(["text é", {"a": 1}, 5, None]):
                publisher.command(type="publish", ref=n, channel=channel, data=data)
        texts: list[str] = []
        while len(texts) < 4:
            text = socket.read_frame().payload.decode()
            if '"ready"' not in text:  # whether raw streams begin with it is not said
                texts.append(text)
    assert texts[0] == "text é"
    assert [json.loads(text) for text in texts[1:]] == [{"a": 1}, 5, None]


def opcodes_to_the_end(socket: RawWebSocket) -> list[int]:
    """What comes until the server ends the connection, with no pong in answer."""
    opcodes = []
    with contextlib.suppress(ConnectionError):
        while True:
            opcodes.append(socket.read_frame().opcode)
    return opcodes


async def test_the_server_pings_and_drops_a_silent_client(start: StartServer) -> None:
    # So long that one that stands still for a moment, as the test may, is not taken for silent.
    server = start(ping_interval=0.3, pong_timeout=3)
    with RawWebSocket(server.address) as silent, RawWebSocket(server.address) as alive:
        silent.open("/ws")
        alive.open("/ws")
        ready = alive.read_envelope()
        assert (ready["type"], ready["heartbeat"], ready["timeout"]) == ("ready", 300, 3000)
        dropping = asyncio.create_task(asyncio.to_thread(opcodes_to_the_end, silent))
        while not dropping.done():
            ping = await asyncio.to_thread(alive.read_frame)
            assert ping.opcode == PING
            alive.send(frame(PONG, ping.payload))
        assert PING in await dropping
        assert alive.command(type="ping", ref=1)["type"] == "ok"


def test_a_server_that_stood_still_reads_the_pongs_that_have_come(start: StartServer) -> None:
    server = start(ping_interval=1, pong_timeout=4)
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        assert socket.read_envelope()["type"] == "ready"
        ping = socket.read_frame()
        server.process.send_signal(signal.SIGSTOP)
        socket.send(frame(PONG, ping.payload))
        time.sleep(5.5)  # longer than it waits for a pong
        server.process.send_signal(signal.SIGCONT)
        assert socket.command(type="ping", ref=1)["type"] == "ok"


async def test_the_heartbeat_that_ready_tells(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws?channels=news")
        ready = socket.read_envelope()
    assert (ready["heartbeat"], ready["timeout"]) == (25_000, 10_000)


async def test_a_vanished_client_is_noticed(start: StartServer) -> None:
    server = start()  # whose connections are those of this test only
    sockets = [RawWebSocket(server.address) for _ in range(20)]
    for socket in sockets:
        socket.open("/ws?channels=vanish")
    wait_until(lambda: server.connections() == 20)
    for socket in sockets:
        socket.socket.close()
    wait_until(lambda: server.connections() == 0)
