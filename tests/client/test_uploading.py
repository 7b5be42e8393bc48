"""Uploads: cut anywhere, gone on with, refused; the server here keeps what has reached it."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.scripted_server import Step, Then, close_frame, scripted, text_frame, web_socket
from tidewire.client import (
    Backoff,
    Client,
    File,
    Receipt,
    Refused,
    ServerAddress,
    Unanswered,
    upload,
)
from tidewire.client.uploading import CHUNK

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = bytes(range(256)) * (CHUNK // 256) * 3 + b"the end"


class Keeper:
    """One upload's server: keeps each chunk, and answers as the protocol says."""

    def __init__(self, kept: bytes = b"") -> None:
        self.kept = kept
        self.commands: list[dict[str, Any]] = []
        self.breaks_after: int | None = None

    def step(self) -> Step:
        return web_socket(
            text_frame({"type": "ready", "id": "e-1", "session": "s"}), talk=self, then=Then.HOLD
        )

    def __call__(self, frame: bytes) -> bytes:
        if frame.startswith(b"{"):
            command = json.loads(frame)
            self.commands.append(command)
            begun = {"type": "ok", "ref": command["ref"], "upload": command["upload"],
                     "number": 7, "offset": len(self.kept)}  # fmt: skip
            return text_frame(begun) + self.finished()
        number, offset = struct.unpack("!IQ", frame[:12])
        assert number == 7
        if offset != len(self.kept):
            return text_frame({"type": "error", "code": "wrong_offset", "message": "not there"})
        if self.breaks_after is not None and len(self.kept) >= self.breaks_after:
            self.breaks_after = None
            raise EOFError
        self.kept += frame[12:]
        progress = {"type": "progress", "upload": "x", "offset": len(self.kept)}
        return text_frame(progress) + self.finished()

    def finished(self) -> bytes:
        if len(self.kept) < self.commands[-1]["size"]:
            return b""
        if hashlib.sha256(self.kept).hexdigest() != self.commands[-1]["sha256"]:
            error = {"type": "error", "ref": 1, "code": "checksum_mismatch", "message": "broken"}
            return text_frame(error)
        return text_frame({"type": "ok", "ref": 1, "id": "e-9", "channel": "files", "seq": 3})


async def at_once(_: float) -> None:
    """In place of a wait."""


@pytest.fixture
async def file(tmp_path: Path) -> File:
    path = tmp_path / "picture.png"
    path.write_bytes(CONTENT)
    return await File.of(path, "files")


async def run(file: File, *steps: Step) -> tuple[Receipt, list[int]]:
    told: list[int] = []
    async with scripted(*steps) as server:
        address = ServerAddress.parse(server.url)
        receipt = await upload(
            address, file, on_progress=told.append, backoff=Backoff(draw=lambda: 0.0), sleep=at_once
        )
    return receipt, told


async def test_a_file_is_described_and_sent_in_chunks(file: File) -> None:
    keeper = Keeper()
    receipt, told = await run(file, keeper.step())
    assert receipt == Receipt("files", "e-9", 3)
    assert keeper.kept == CONTENT
    assert keeper.commands == [
        {
            "type": "upload",
            "ref": 1,
            "upload": file.id,
            "channel": "files",
            "name": "picture.png",
            "size": len(CONTENT),
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "content_type": "image/png",
        }
    ]
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)


async def test_a_client_uploads(file: File) -> None:
    keeper = Keeper()
    told: list[int] = []
    async with scripted(keeper.step()) as server, Client(server.url) as client:
        receipt = await client.upload("files", file.path, name="b.txt", on_progress=told.append)
    assert receipt.id == "e-9"
    assert (keeper.commands[0]["name"], keeper.commands[0]["content_type"]) == (
        "b.txt",
        "text/plain",
    )
    assert told[-1] == len(CONTENT)


@pytest.mark.parametrize("chunks", [0, 1, 2, 3])
async def test_it_goes_on_where_it_was_cut(file: File, chunks: int) -> None:
    keeper = Keeper()
    keeper.breaks_after = chunks * CHUNK
    receipt, told = await run(file, keeper.step(), keeper.step())
    assert receipt.id == "e-9"
    assert keeper.kept == CONTENT
    assert len({command["upload"] for command in keeper.commands}) == 1
    assert chunks * CHUNK in told


async def test_what_the_server_has_is_not_sent_again(file: File) -> None:
    keeper = Keeper(CONTENT)
    receipt, told = await run(file, keeper.step())
    assert receipt.id == "e-9"
    assert set(told) == {len(CONTENT)}


async def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    keeper = Keeper()
    receipt, _ = await run(await File.of(path, "files"), keeper.step())
    assert receipt.id == "e-9"
    assert keeper.commands[0]["content_type"] == "application/octet-stream"


async def test_at_a_wrong_offset_the_right_one_is_asked_for(file: File) -> None:
    keeper = Keeper()
    behind = web_socket(
        text_frame({"type": "ok", "ref": 1, "upload": file.id, "number": 7, "offset": CHUNK}),
        talk=lambda frame: b"" if frame.startswith(b"{") else keeper(frame),
        then=Then.HOLD,
    )
    receipt, _ = await run(file, behind, keeper.step())
    assert receipt.id == "e-9"
    assert keeper.kept == CONTENT


async def test_the_same_file_has_the_same_id_and_another_has_not(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"1")
    first = await File.of(path, "files")
    assert (await File.of(path, "files")).id == first.id
    assert (await File.of(path, "elsewhere")).id != first.id
    assert (await File.of(path, "files", id="mine")).id == "mine"
    path.write_bytes(b"2")
    assert (await File.of(path, "files")).id != first.id


@pytest.mark.parametrize("code", ["uploads_off", "upload_refused", "checksum_mismatch"])
async def test_a_refusal_is_final(file: File, code: str) -> None:
    error = {"type": "error", "ref": 1, "code": code, "message": "the server says why"}
    step = web_socket(talk=lambda _: text_frame(error), then=Then.HOLD)
    with pytest.raises(Refused, match="the server says why") as raised:
        await run(file, step)
    assert raised.value.code == code


async def test_a_file_that_became_shorter_is_not_sent(file: File) -> None:
    file.path.write_bytes(b"short")
    keeper = Keeper()
    with pytest.raises(Refused, match=r"picture\.png is shorter than it was"):
        await run(file, keeper.step())


async def test_a_file_that_went_away_is_not_sent(file: File) -> None:
    file.path.unlink()
    with pytest.raises(Refused, match="cannot be read: No such file"):
        await run(file, Keeper().step())


async def test_it_is_given_up_after_a_minute_without_progress(file: File) -> None:
    now = 0.0
    reasons: list[str] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    going = web_socket(close_frame(1012, "restart"), then=Then.CLOSE)
    async with scripted(*[going] * 20) as server:
        with pytest.raises(Unanswered, match="1012 restart"):
            await upload(
                ServerAddress.parse(server.url),
                file,
                on_wait=lambda delay, reason: reasons.append(reason),
                backoff=Backoff(draw=lambda: 0.9),
                clock=lambda: now,
                sleep=sleep,
            )
    assert 30 < now < 60
    assert set(reasons) == {"the server closed the connection: 1012 restart"}
