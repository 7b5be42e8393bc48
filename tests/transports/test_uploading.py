"""Uploads of one connection: numbers, offsets, back-pressure and endings; without any file."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.transports.client import Client
from tests.transports.frames import BINARY, client_frame
from tidewire.model import BadRequest, Unavailable
from tidewire.transports.codecs import MSGPACK
from tidewire.transports.uploading import MOST_UPLOADS, MOST_WAITING
from tidewire.uploads import Intake, Partial, Published, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.transports.world import World

PART = 16_000  # as much as the frames of these clients may have


class FakePartial(Partial):
    """An upload in memory."""

    def __init__(self, wanted: Wanted, content: bytes) -> None:
        self.wanted = wanted
        self.content = content
        self.kept = len(content)


class FakeIntake(Intake):
    """Keeps uploads in memory. While ``held``, its answers wait for ``release_one``."""

    def __init__(self) -> None:
        self.max_size = 10 << 20
        self.contents: dict[str, bytes] = {}
        self.open_now: dict[str, Callable[[], None]] = {}
        self.writes: list[int] = []
        self.held = False
        self.waiting: list[asyncio.Future[None]] = []
        self.failure: Exception | None = None

    async def _wait(self) -> None:
        if self.held:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate
        if self.failure is not None:
            raise self.failure

    async def open(self, wanted: Wanted, give_up: Callable[[], None]) -> Partial:
        await self._wait()
        assert wanted.upload not in self.open_now
        self.open_now[wanted.upload] = give_up
        return FakePartial(wanted, self.contents.get(wanted.upload, b""))

    async def write(self, one: Partial, parts: Sequence[memoryview | bytes]) -> int:
        assert isinstance(one, FakePartial)
        await self._wait()
        one.content += b"".join(parts)
        self.contents[one.wanted.upload] = one.content
        self.writes.append(len(parts))
        return len(one.content)

    async def settle(self, one: Partial) -> Published:
        await self._wait()
        return Published("epoch1-5", 3)

    def release(self, one: Partial) -> None:
        del self.open_now[one.wanted.upload]


@pytest.fixture
def intake() -> FakeIntake:
    return FakeIntake()


@pytest.fixture
def client(world: World, intake: FakeIntake) -> Client:
    client = Client(world, uploads=intake)
    client.take()
    return client


def command(size: int, upload: str = "u1", ref: object = 1) -> dict[str, object]:
    return {
        "type": "upload",
        "ref": ref,
        "upload": upload,
        "channel": "files",
        "name": "a file",
        "size": size,
        "sha256": "0" * 64,
    }


def chunk(number: int, offset: int, data: bytes) -> bytes:
    return client_frame(BINARY, struct.pack("!IQ", number, offset) + data)


def send(client: Client, *chunks: bytes) -> list[Any]:
    """Send chunks; return what is answered when all has come to rest."""
    client.feed(*chunks)
    client.world.turn()
    return client.take()


def go_on(client: Client, intake: FakeIntake) -> list[Any]:
    """Let what waits at the disk happen; return what is answered."""
    waiting, intake.waiting = intake.waiting, []
    for gate in waiting:
        gate.set_result(None)
    client.world.turn()
    return client.take()


def test_from_the_command_to_the_message(client: Client, intake: FakeIntake) -> None:
    assert client.ask(command(6)) == [
        {"type": "ok", "ref": 1, "upload": "u1", "number": 1, "offset": 0}
    ]
    assert send(client, chunk(1, 0, b"abc")) == [{"type": "progress", "upload": "u1", "offset": 3}]
    assert send(client, chunk(1, 3, b"def")) == [
        {"type": "progress", "upload": "u1", "offset": 6},
        {
            "type": "ok",
            "ref": 1,
            "id": "epoch1-5",
            "channel": "files",
            "seq": 3,
            "upload": "u1",
        },
    ]
    assert intake.contents == {"u1": b"abcdef"}
    assert intake.open_now == {}


def test_chunks_of_one_read_are_written_together(client: Client, intake: FakeIntake) -> None:
    client.ask(command(9))
    answers = send(client, *(chunk(1, offset, b"x") for offset in range(5)))
    assert answers == [{"type": "progress", "upload": "u1", "offset": 5}]
    assert intake.writes == [5]


def test_it_goes_on_from_what_is_kept(client: Client, intake: FakeIntake) -> None:
    intake.contents["u1"] = b"abc"
    (answer,) = client.ask(command(6))
    assert answer["offset"] == 3
    assert [item["type"] for item in send(client, chunk(1, 3, b"def"))] == ["progress", "ok"]


def test_what_is_whole_already_is_settled_at_once(client: Client, intake: FakeIntake) -> None:
    intake.contents["u1"] = b"abc"
    begun, done = client.ask(command(3))
    assert (begun["offset"], done["id"]) == (3, "epoch1-5")
    assert intake.open_now == {}


def test_a_wrong_offset(client: Client) -> None:
    client.ask(command(9))
    first, second = send(client, chunk(1, 0, b"ab"), chunk(1, 5, b"x"), chunk(1, 6, b"x"))
    assert first == {
        "type": "error",
        "code": "wrong_offset",
        "message": "the next chunk begins at 2",
        "ref": 1,
        "upload": "u1",
        "offset": 2,
    }
    assert second == {"type": "progress", "upload": "u1", "offset": 2}


def test_the_connection_is_read_no_further_than_the_disk_follows(
    client: Client, intake: FakeIntake
) -> None:
    client.ask(command(4 * MOST_WAITING))
    intake.held = True
    sent = 0
    while client.reads():
        send(client, chunk(1, sent, bytes(PART)))
        sent += PART
        assert sent < MOST_WAITING + PART
    assert sent >= MOST_WAITING
    while intake.waiting:
        go_on(client, intake)
    assert client.reads()
    assert len(intake.contents["u1"]) == sent


def test_two_uploads_share_a_connection(client: Client, intake: FakeIntake) -> None:
    numbers = [answer["number"] for answer in client.ask(command(2, "a"), command(2, "b", 2))]
    assert numbers == [1, 2]
    send(client, chunk(2, 0, b"B"), chunk(1, 0, b"A"), chunk(2, 1, b"b"), chunk(1, 1, b"a"))
    assert intake.contents == {"a": b"Aa", "b": b"Bb"}


def test_too_many(client: Client) -> None:
    client.ask(*(command(9, f"u{index}") for index in range(MOST_UPLOADS)))
    (error,) = client.ask(command(9, "one-more"))
    assert (error["code"], error["ref"]) == ("too_many_uploads", 1)


def test_a_number_that_was_never_given(client: Client) -> None:
    client.ask(command(9))
    assert [error["code"] for error in send(client, chunk(2, 0, b"x"), chunk(0, 0, b"x"))] == [
        "unknown_upload"
    ] * 2


def test_chunks_on_their_way_after_the_end_are_no_error(client: Client) -> None:
    client.ask(command(1))
    send(client, chunk(1, 0, b"x"))
    assert send(client, chunk(1, 1, b"x")) == []


def test_a_frame_that_is_no_chunk(client: Client) -> None:
    client.ask(command(9))
    (error,) = send(client, client_frame(BINARY, b"short"))
    assert error["code"] == "malformed"


def test_binary_frames_before_any_upload(client: Client) -> None:
    assert send(client, chunk(1, 0, b"x")) == [["close", 1003]]


def test_a_chunk_as_a_command(client: Client, intake: FakeIntake) -> None:
    client.ask(command(9))
    assert client.ask({"type": "chunk", "upload": 1, "offset": 0, "data": "YWI="}) == [
        {"type": "progress", "upload": "u1", "offset": 2}
    ]
    assert intake.contents == {"u1": b"ab"}


def test_a_chunk_as_a_command_before_any_upload(client: Client) -> None:
    (error,) = client.ask({"type": "chunk", "ref": 5, "upload": 1, "offset": 0, "data": ""})
    assert (error["code"], error["ref"]) == ("unknown_upload", 5)


def test_a_server_without_uploads(world: World) -> None:
    (error,) = Client(world).ask(command(1))[-1:]
    assert (error["code"], error["ref"]) == ("uploads_off", 1)


@pytest.mark.parametrize("when", ["open", "write", "settle"])
def test_what_fails_is_told(client: Client, intake: FakeIntake, when: str) -> None:
    if when != "open":
        client.ask(command(2))
    if when == "settle":
        intake.held = True
        send(client, chunk(1, 0, b"ab"))
        go_on(client, intake)
    intake.failure = Unavailable("the disk is full") if when != "settle" else BadRequest("no")
    if when == "open":
        (error,) = client.ask(command(2))
    elif when == "write":
        (error,) = send(client, chunk(1, 0, b"ab"))
    else:
        (error,) = go_on(client, intake)
    assert (error["type"], error["ref"], error["upload"]) == ("error", 1, "u1")
    assert intake.open_now == {}


@pytest.mark.parametrize("busy", [False, True])
def test_taken_over(client: Client, intake: FakeIntake, busy: bool) -> None:
    client.ask(command(9))
    if busy:
        intake.held = True
        send(client, chunk(1, 0, b"ab"))
        send(client, chunk(1, 2, b"cd"))
    intake.open_now["u1"]()
    (error,) = client.take()
    assert (error["code"], error["upload"]) == ("taken_over", "u1")
    assert bool(intake.open_now) == busy  # what is under way comes to its end first
    go_on(client, intake)
    assert intake.open_now == {}
    assert intake.contents == ({"u1": b"ab"} if busy else {})


@pytest.mark.parametrize("busy", [False, True])
def test_a_cut_connection(client: Client, intake: FakeIntake, busy: bool) -> None:
    client.ask(command(4))
    if busy:
        intake.held = True
        send(client, chunk(1, 0, b"ab"))
        send(client, chunk(1, 2, b"cd"))
    client.stream.lost()
    while intake.waiting:
        assert go_on(client, intake) == []
    assert intake.open_now == {}
    assert intake.contents == ({"u1": b"abcd"} if busy else {})


def test_cut_while_it_is_opened(client: Client, intake: FakeIntake) -> None:
    intake.held = True
    client.ask(command(4))
    client.stream.lost()
    assert go_on(client, intake) == []
    assert intake.open_now == {}


def test_a_chunk_over_msgpack(world: World, intake: FakeIntake) -> None:
    client = Client(world, codec=MSGPACK, uploads=intake)
    packed = msgspec.msgpack.encode(command(2))
    client.feed(client_frame(BINARY, packed))
    world.turn()
    client.wire.take()
    packed = msgspec.msgpack.encode({"type": "chunk", "upload": 1, "offset": 0, "data": b"ab"})
    client.feed(client_frame(BINARY, packed))
    world.turn()
    progress, done = [msgspec.msgpack.decode(frame.payload) for frame in client.frames()]
    assert progress == {"type": "progress", "upload": "u1", "offset": 2}
    assert done["id"] == "epoch1-5"
    assert intake.contents == {"u1": b"ab"}
