"""MessagePack and Protocol Buffers over a WebSocket, with libraries that are not the server's."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from base64 import b64encode
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from tests.acceptance.subscribers import http_client

if TYPE_CHECKING:
    from types import ModuleType

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

PROTOCOL = Path(__file__).parent.parent.parent / "protocol"
BYTES = bytes(range(256)) * 8
names = (f"binary-{n}" for n in itertools.count())


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return next(names)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The Python module that protoc makes of the published .proto file."""
    directory = tmp_path_factory.mktemp("generated")
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOCOL}"),
            *(f"--python_out={directory}", "tidewire.proto"),
        ],
        check=True,
    )
    spec = spec_from_file_location("tidewire_pb2", directory / "tidewire_pb2.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(server: ServerProcess, subprotocol: str, query: str = "", **options: Any) -> connect:
    """A connection that speaks *subprotocol*."""
    return connect(
        f"{server.url.replace('http', 'ws')}/ws?{query}",
        subprotocols=[subprotocol],  # type: ignore[list-item]
        proxy=None,
        **options,
    )


async def received(socket: ClientConnection) -> bytes:
    """The next message, which must be binary."""
    async with asyncio.timeout(10):
        message = await socket.recv()
    assert isinstance(message, bytes)
    return message


async def publish(server: ServerProcess, channel: str, *data: object) -> None:
    """Publish JSON values by HTTP, in one batch."""
    messages = [{"channel": channel, "data": one} for one in data]
    async with http_client(server.url) as client:
        assert (await client.post("/publish", json={"messages": messages})).status_code == 200


async def history(server: ServerProcess, channel: str) -> list[dict[str, Any]]:
    """The messages of a channel as JSON clients see them."""
    async with http_client(server.url) as client:
        messages: list[dict[str, Any]] = (
            await client.get("/history", params={"channel": channel})
        ).json()["messages"]
    return messages


# MessagePack


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_msgpack_both_ways(
    server: ServerProcess, channel: str, compression: str | None
) -> None:
    query = f"channels={channel}"
    async with opened(server, "tidewire.v1.msgpack", query, compression=compression) as socket:
        assert socket.subprotocol == "tidewire.v1.msgpack"
        ready = msgpack.unpackb(await received(socket))
        assert (ready["type"], ready["channels"]) == ("ready", [channel])
        command = {"type": "publish", "channel": channel, "data": BYTES, "ref": 7}
        await socket.send(msgpack.packb(command))
        answers = [msgpack.unpackb(await received(socket)) for _ in range(2)]
        (ok,) = [answer for answer in answers if answer["type"] == "ok"]
        (message,) = [answer for answer in answers if answer["type"] == "message"]
        assert (ok["ref"], ok["seq"]) == (7, 1)
        assert (message["id"], message["data"]) == (ok["id"], BYTES)
        await publish(server, channel, {"any": ["JSON", None, 1.5]})
        assert msgpack.unpackb(await received(socket))["data"] == {"any": ["JSON", None, 1.5]}
    seen, _ = await history(server, channel)
    assert seen == message | {"data": b64encode(BYTES).decode(), "encoding": "base64"}


async def test_msgpack_in_batches(server: ServerProcess, channel: str) -> None:
    async with opened(server, "tidewire.v1.msgpack.batch", f"channels={channel}") as socket:
        (ready,) = msgpack.unpackb(await received(socket))
        assert ready["type"] == "ready"
        await publish(server, channel, *range(50))
        found: list[Any] = []
        batches = 0
        while len(found) < 50:
            found += msgpack.unpackb(await received(socket))
            batches += 1
        assert [item["data"] for item in found] == list(range(50))
        assert batches < 50


async def test_msgpack_errors_and_resuming(server: ServerProcess, channel: str) -> None:
    await publish(server, channel, 1, 2, 3)
    cursor = (await history(server, channel))[0]["id"]
    query = f"channels={channel}&cursor={cursor}"
    async with opened(server, "tidewire.v1.msgpack", query) as socket:
        got = [msgpack.unpackb(await received(socket)) for _ in range(3)]
        assert got[0]["recovered"] is True
        assert [one["data"] for one in got[1:]] == [2, 3]
        await socket.send(b"\xc1")
        error = msgpack.unpackb(await received(socket))
        assert (error["type"], error["code"]) == ("error", "malformed")
        await socket.send(msgpack.packb({"type": "history", "channel": channel, "ref": "h"}))
        answer = msgpack.unpackb(await received(socket))
        assert [one["data"] for one in answer["messages"]] == [1, 2, 3]


# Protocol Buffers


async def test_protobuf_both_ways(
    server: ServerProcess, channel: str, generated: ModuleType
) -> None:
    async with opened(server, "tidewire.v1.protobuf", f"channels={channel}") as socket:
        assert socket.subprotocol == "tidewire.v1.protobuf"

        async def envelope() -> Any:
            return generated.Envelope.FromString(await received(socket))

        assert (await envelope()).ready.channels == [channel]
        publication = generated.Publish(channel=channel, binary=BYTES, event="photo")
        command = generated.Command(ref="r", publish=publication)
        await socket.send(command.SerializeToString())
        answers = {one.WhichOneof("envelope"): one for one in (await envelope(), await envelope())}
        assert answers["ok"].ok.ref == "r"
        message = answers["message"].message
        assert (message.id, message.binary, message.event) == (answers["ok"].ok.id, BYTES, "photo")
        await publish(server, channel, {"n": 1.5})
        assert json.loads((await envelope()).message.json) == {"n": 1.5}
        history_of = generated.Command(history=generated.History(channel=channel, limit=1))
        await socket.send(history_of.SerializeToString())
        page = (await envelope()).ok
        assert (page.more, page.messages[0].message.binary) == (True, BYTES)
        await socket.send(b"\xff")
        assert (await envelope()).error.code == "malformed"


async def test_protobuf_in_batches(
    server: ServerProcess, channel: str, generated: ModuleType
) -> None:
    async with opened(server, "tidewire.v1.protobuf.batch", f"channels={channel}") as socket:
        (ready,) = generated.Batch.FromString(await received(socket)).envelopes
        assert ready.WhichOneof("envelope") == "ready"
        await publish(server, channel, *range(50))
        found: list[Any] = []
        while len(found) < 50:
            found += generated.Batch.FromString(await received(socket)).envelopes
        assert [int(item.message.json) for item in found] == list(range(50))


# All


@pytest.mark.parametrize("subprotocol", ["tidewire.v1.msgpack", "tidewire.v1.protobuf.batch"])
async def test_text_is_refused(server: ServerProcess, subprotocol: str) -> None:
    async with opened(server, subprotocol) as socket:
        await received(socket)
        await socket.send('{"type":"ping"}')
        with pytest.raises(ConnectionClosedError) as caught:
            await received(socket)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1003


async def test_twenty_megabytes_of_bytes(
    start: StartServer, channel: str, generated: ModuleType
) -> None:
    """The limit counts bytes, not their Base64."""
    server = start(max_message_size=20_000_000)
    data = BYTES * (20_000_000 // len(BYTES))
    query = f"channels={channel}"
    options = {"max_size": None, "compression": None}
    async with (
        opened(server, "tidewire.v1.msgpack", query, **options) as packed,
        opened(server, "tidewire.v1.protobuf", query, **options) as buffers,
    ):
        await received(packed)
        await received(buffers)
        await packed.send(msgpack.packb({"type": "publish", "channel": channel, "data": data}))
        got = [msgpack.unpackb(await received(packed)) for _ in range(2)]
        (message,) = [one for one in got if one["type"] == "message"]
        assert message["data"] == data
        assert generated.Envelope.FromString(await received(buffers)).message.binary == data
