"""From a whole file to its message, on a real disk and a log in memory."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from tidewire.log import MemoryEngine
from tidewire.model import BadRequest, Message, Namespaces, Retention, Unavailable
from tidewire.uploads import Callback, Intake, Refused, Store, Upload, Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tidewire.uploads import Partial

    MakeIntake = Callable[..., Intake]

CONTENT = b"0123456789"
WANTED = Wanted("u1", "files", "name", 10, sha256(CONTENT).hexdigest(), "text/plain")


class World:
    """A log, what it was told, and the folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = MemoryEngine(Namespaces(Retention(100, 10**12)))
        self.messages: list[Message] = []
        self.intakes: list[Intake] = []

    def intake(self, callback: Callback | None = None) -> Intake:
        intake = Intake(
            self.log,
            Store(self.directory),
            max_size=1000,
            ttl=60,
            message_size=100,
            callback=callback,
        )
        self.intakes.append(intake)
        intake.start()
        return intake

    def files(self) -> list[bytes]:
        return [path.read_bytes() for path in self.directory.iterdir() if path.is_file()]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.log.open(world.messages.extend)
    yield world
    for intake in world.intakes:
        intake.close()
    await world.log.close()


def nothing() -> None:
    """For an upload that nobody takes over."""


async def whole(intake: Intake, content: bytes = CONTENT) -> Partial:
    partial = await intake.open(WANTED, nothing)
    assert await intake.write(partial, [content]) == len(content)
    return partial


async def test_a_whole_file_is_published(world: World) -> None:
    intake = world.intake()
    partial = await whole(intake)
    published = await intake.settle(partial)
    (message,) = world.messages
    assert (message.channel, message.event) == ("files", "upload")
    data = json.loads(message.data)
    assert (world.directory / data["path"]).read_bytes() == CONTENT
    assert published.id == message.cursor.decode()
    assert published.seq == message.seq
    intake.release(partial)


async def test_it_is_published_once(world: World) -> None:
    intake = world.intake()
    partial = await whole(intake)
    first = await intake.settle(partial)
    intake.release(partial)
    again = await intake.open(WANTED, nothing)
    assert await intake.settle(again) == first
    assert len(world.messages) == 1
    intake.release(again)


async def test_a_wrong_file_is_deleted(world: World) -> None:
    intake = world.intake()
    partial = await whole(intake, b"012345678x")
    with pytest.raises(BadRequest) as caught:
        await intake.settle(partial)
    assert caught.value.code == "checksum_mismatch"
    intake.release(partial)
    again = await intake.open(WANTED, nothing)
    assert again.kept == 0
    intake.release(again)
    assert world.messages == []


async def test_what_the_callback_returns_is_the_data(world: World) -> None:
    seen: list[Upload] = []

    def look(upload: Upload) -> object:
        seen.append(upload)
        return {"id": 7}

    intake = world.intake(look)
    partial = await whole(intake)
    await intake.settle(partial)
    assert json.loads(world.messages[0].data) == {"id": 7}
    assert seen[0].path.read_bytes() == CONTENT
    intake.release(partial)


async def test_a_callback_may_return_nothing(world: World) -> None:
    intake = world.intake(lambda upload: None)
    partial = await whole(intake)
    await intake.settle(partial)
    assert json.loads(world.messages[0].data)["upload"] == "u1"
    intake.release(partial)


def unwanted(upload: Upload) -> object:
    raise Refused("not this one")


def broken(upload: Upload) -> object:
    raise ZeroDivisionError("the password is 1234")


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        (unwanted, "not this one"),
        (broken, "the upload was refused"),
        (lambda upload: object(), "the upload was refused"),
        (lambda upload: "x" * 100, "the upload was refused"),
    ],
)
async def test_a_refused_upload_is_deleted(world: World, callback: Any, told: str) -> None:
    intake = world.intake(callback)
    partial = await whole(intake)
    with pytest.raises(BadRequest) as caught:
        await intake.settle(partial)
    assert (caught.value.code, caught.value.detail) == ("upload_refused", told)
    intake.release(partial)
    assert world.messages == []
    assert world.files() == []


async def test_a_newer_connection_takes_over(world: World) -> None:
    intake = world.intake()
    asked = asyncio.Event()
    older = await intake.open(WANTED, asked.set)
    newer = asyncio.create_task(intake.open(WANTED, nothing))
    await asked.wait()
    assert not newer.done()
    await intake.write(older, [b"0123"])  # what was under way comes to its end
    intake.release(older)
    partial = await newer
    assert partial.kept == 4
    intake.release(partial)


async def test_an_upload_that_cannot_be_opened_is_no_obstacle(world: World) -> None:
    intake, other = world.intake(), world.intake()
    partial = await other.open(WANTED, nothing)
    with pytest.raises(BadRequest, match="another connection"):
        await intake.open(WANTED, nothing)
    other.release(partial)
    intake.release(await intake.open(WANTED, nothing))


async def test_a_disk_that_fails(world: World) -> None:
    intake = world.intake()
    partial = await intake.open(WANTED, nothing)
    partial.close()
    with pytest.raises(Unavailable) as caught:
        await intake.write(partial, [b"x"])
    assert caught.value.code == "storage_unavailable"
    intake.release(partial)


async def test_closed_it_does_no_more(world: World) -> None:
    intake = world.intake()
    partial = await intake.open(WANTED, nothing)
    intake.close()
    with pytest.raises(Unavailable):
        await intake.write(partial, [b"x"])
    intake.release(partial)
