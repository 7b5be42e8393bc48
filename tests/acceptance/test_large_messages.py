"""Messages of 20 MB: on every transport, both ways, in parts, to slow clients, in little memory."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from tests.acceptance.raw_websocket import (
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawWebSocket,
    frame,
)
from tests.acceptance.subscribers import http_client, server_sent_events, websocket

if TYPE_CHECKING:
    from tests.acceptance.checker import Envelope
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

SIZE = 20_000_000
LARGE = b64encode(Random(20).randbytes(SIZE * 3 // 4)).decode()
"""Text that does not compress to little, as photographs would not."""

channels = (f"large-{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    """A server that takes large messages, and keeps them on the disk."""
    return start_shared(engine="sqlite:///large.db", max_message_size=24 << 20)


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return next(channels)


async def publish(server: ServerProcess, channel: str) -> str:
    """Publish the large text; return its cursor."""
    async with http_client(server.url) as client:
        answer = await client.post(
            f"/publish?channel={channel}", content=LARGE, headers={"Content-Type": "text/plain"}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])


async def publish_json(server: ServerProcess, channel: str) -> None:
    async with http_client(server.url) as client:
        answer = await client.post("/publish", json={"channel": channel, "data": LARGE})
        assert answer.status_code == 200, answer.text


async def publish_in_frames(server: ServerProcess, channel: str) -> None:
    """By WebSocket, as a message of many frames."""
    command = json.dumps({"type": "publish", "channel": channel, "data": LARGE, "ref": 1})
    url = f"{server.url.replace('http', 'ws')}/ws"
    async with connect(url, proxy=None, compression=None, max_size=None) as socket:
        await socket.recv()
        pieces = (command[begin : begin + 16_384] for begin in range(0, len(command), 16_384))
        await socket.send(pieces)
        assert json.loads(await socket.recv())["type"] == "ok"


async def message_of(stream: Any) -> Envelope:
    """The first message of a stream."""
    async with aclosing(stream):
        async for envelope in stream:
            if envelope["type"] == "message":
                found: Envelope = envelope
                return found
    raise AssertionError("no message came")


async def polled(server: ServerProcess, target: str) -> list[Envelope]:
    """What a poll's answer has under ``messages``."""
    async with http_client(server.url) as client:
        answer = await client.get(target)
        assert answer.status_code == 200
        messages: list[Envelope] = answer.json()["messages"]
        return messages


@pytest.mark.parametrize("way_in", [publish, publish_json, publish_in_frames])
async def test_every_way_in_and_out(server: ServerProcess, channel: str, way_in: Any) -> None:
    await way_in(server, channel)
    query = f"channels={channel}&since=start"
    found = [
        await message_of(websocket(server.url, [channel], since="start", compression=None)),
        await message_of(websocket(server.url, [channel], since="start", compression="deflate")),
        await message_of(server_sent_events(server.url, [channel], since="start")),
        *await polled(server, f"/longpoll?{query}"),
        *await polled(server, f"/poll?{query}"),
    ]
    assert len(found) == 5
    assert all(envelope == found[0] for envelope in found)
    assert found[0]["data"] == LARGE


async def test_live_on_every_transport(server: ServerProcess, channel: str) -> None:
    streams = [
        websocket(server.url, [channel], compression=None),
        server_sent_events(server.url, [channel]),
    ]
    ready = [await anext(stream) for stream in streams]
    held = asyncio.create_task(
        polled(server, f"/longpoll?channels={channel}&cursor={ready[0]['id']}")
    )
    await publish(server, channel)
    found = [await message_of(stream) for stream in streams] + await held
    assert [envelope["data"] == LARGE for envelope in found] == [True] * 3


def whole_of(parts: list[Envelope], most: int) -> Envelope:
    """The envelope that came as these parts."""
    assert len(parts) > SIZE // most
    assert [part["index"] for part in parts] == list(range(len(parts)))
    assert all(part["type"] == "fragment" and part["count"] == len(parts) for part in parts)
    assert max(len(part["data"]) for part in parts) <= most
    assert ["id" in part for part in parts] == [False] * (len(parts) - 1) + [True]
    whole: Envelope = json.loads("".join(part["data"] for part in parts))
    assert {part["of"] for part in parts} == {whole["id"]} == {parts[-1]["id"]}
    return whole


async def test_in_parts_for_those_who_ask(server: ServerProcess, channel: str) -> None:
    await publish(server, channel)
    asking = {"fragments": "true"}
    for path in ("/longpoll", "/poll"):
        target = f"{path}?channels={channel}&since=start&fragments=true"
        assert whole_of(await polled(server, target), 32 << 10)["data"] == LARGE
    parts: list[Envelope] = []
    stream = server_sent_events(server.url, [channel], since="start", parameters=asking)
    async with aclosing(stream):
        async for envelope in stream:
            if envelope["type"] == "fragment":
                parts.append(envelope)
                if len(parts) == envelope["count"]:
                    break
    assert whole_of(parts, 32 << 10)["data"] == LARGE


async def test_a_stream_cut_between_the_parts_resumes_with_all(
    server: ServerProcess, channel: str
) -> None:
    last = await publish(server, channel)
    async with (
        http_client(server.url) as client,
        client.stream("GET", f"/sse?channels={channel}&since=start&fragments=true") as answer,
    ):
        lines = answer.aiter_lines()
        ids = [line async for line in _first(lines, 500) if line.startswith("id: ")]
    cursor = ids[-1].removeprefix("id: ")
    assert cursor != last
    again = await message_of(server_sent_events(server.url, [channel], cursor=cursor))
    assert (again["id"], again["data"] == LARGE) == (last, True)


async def _first(lines: Any, count: int) -> Any:
    async for line in lines:
        yield line
        count -= 1
        if not count:
            return


# Slow clients


def read_message(socket: RawWebSocket) -> tuple[bytes, list[Frame]]:
    """The next data message, and the control frames that came between its frames."""
    parts: list[bytes] = []
    between: list[Frame] = []
    while True:
        received = socket.read_frame()
        if received.opcode in (PING, PONG):
            between.append(received)
            continue
        assert received.opcode == (CONTINUATION if parts else TEXT)
        parts.append(received.payload)
        if received.fin:
            return b"".join(parts), between


def test_pings_and_pongs_come_between_the_frames_of_a_message(start: StartServer) -> None:
    """For a client that takes twice as long as a pong may: nobody takes the other for dead."""
    # Before the message comes, and after it, the client has so long for a pong, and the test with
    # it, which may stand still for a moment.
    server = start(max_message_size=24 << 20, ping_interval=0.3, pong_timeout=3)
    with (
        ThreadPoolExecutor(1) as pool,
        RawWebSocket(server.address, receive_buffer=16_384) as socket,
    ):
        socket.open("/ws?channels=slow")
        read_message(socket)
        publishing = pool.submit(asyncio.run, publish(server, "slow"))
        parts: list[bytes] = []
        between: Counter[int] = Counter()
        asked = answered = 0
        begin = last = time.monotonic()
        whole = False
        while not whole or answered < asked:
            received = socket.read_frame()
            now = time.monotonic()
            if received.opcode in (PING, PONG):
                if parts and not whole:
                    between[received.opcode] += 1
                if received.opcode == PING:
                    socket.send(frame(PONG, received.payload))
                else:
                    answered += 1
            else:
                if not parts:
                    begin = now
                parts.append(received.payload)
                whole = received.fin
                # An even pace: 20 MB take six seconds.
                while time.monotonic() - begin < len(parts) * (32 << 10) / SIZE * 6:
                    time.sleep(0.001)
            if not whole and now - last > 0.5:
                last = now
                asked += 1
                socket.send(frame(PING, b"there?"))
        publishing.result()
        assert json.loads(b"".join(parts))["data"] == LARGE
        assert between[PING] >= 2
        assert between[PONG] >= 2
        answer = socket.command(type="ping", ref=1)
        assert answer == {"type": "ok", "ref": 1}


def test_twenty_slow_readers_share_one_copy(start: StartServer) -> None:
    # They are read one after the other, and must not end meanwhile, however long that takes.
    server = start(max_message_size=24 << 20, ping_interval=600, stall_timeout=600)
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(RawWebSocket(server.address, receive_buffer=16_384))
            for _ in range(20)
        ]
        for socket in sockets:
            socket.open("/ws?channels=slow")
            read_message(socket)
        for _ in range(2):  # what such messages leave in the allocator does not count
            asyncio.run(publish(server, "other"))
        before = server.resident_memory()
        # A copy for each reader were twenty; what publishing takes for a moment is up to five.
        most = 10 * SIZE
        asyncio.run(publish(server, "slow"))
        # Its answer comes before its round: the first bytes show that it was handed out.
        for socket in sockets:
            socket.buffer = socket.socket.recv(1)
        assert server.resident_memory() - before < most
        for socket in sockets:
            data, _ = read_message(socket)
            assert json.loads(data)["data"] == LARGE
        assert server.resident_memory() - before < most
