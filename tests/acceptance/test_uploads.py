"""Files sent in chunks: whole, cut off and gone on with, wrong, refused, many, and large."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import BINARY, RawWebSocket, frame
from tests.acceptance.uploader import CHUNK, Uploader, chunk
from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

MIB = 1 << 20

CALLBACKS = """
from tidewire.uploads import Refused, Upload

def look(upload: Upload) -> object:
    text = upload.path.read_text()
    if upload.name == "virus":
        raise Refused("this one is ill")
    if upload.name == "broken":
        raise ZeroDivisionError
    return {"name": upload.name, "type": upload.content_type, "first": text[:5]}

async def look_async(upload: Upload) -> object:
    return look(upload)
"""


def content_of(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def files(folder: Path) -> list[bytes]:
    """What is in the folder of whole files."""
    return [path.read_bytes() for path in folder.iterdir() if path.is_file()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


def test_a_file_arrives_whole_and_is_told(start: StartServer, engine: str, folder: Path) -> None:
    server = start(engine=engine, upload_dir=folder)
    content = content_of(300_000)
    with Uploader(server) as client:
        number, offset = client.begin(content)
        assert offset == 0
        client.send_chunks(number, content, 0)
        message, ok = client.finished()
    path = message["data"].pop("path")
    assert (folder / path).read_bytes() == content
    assert message["event"] == "upload"
    assert message["data"] == {
        "upload": "u1",
        "name": "tide table.txt",
        "size": len(content),
        "sha256": sha256(content).hexdigest(),
        "content_type": "text/plain",
    }
    assert ok == {
        "type": "ok",
        "ref": "u1",
        "id": message["id"],
        "channel": "files",
        "seq": message["seq"],
        "upload": "u1",
    }


def test_an_empty_file(start: StartServer, folder: Path) -> None:
    with Uploader(start(upload_dir=folder)) as client:
        client.begin(b"")
        message, _ = client.finished()
    assert message["data"]["size"] == 0
    assert files(folder) == [b""]


def test_a_cut_upload_goes_on_over_a_new_connection(start: StartServer, folder: Path) -> None:
    server = start(upload_dir=folder)
    content = content_of(2 * MIB)
    with Uploader(server) as client:
        number, _ = client.begin(content)
        client.send_chunks(number, content, 0, MIB)
        client.kept(MIB // 2)
    with Uploader(server) as client:
        number, offset = client.begin(content)
        assert MIB // 2 <= offset <= MIB
        client.send_chunks(number, content, offset)
        client.finished()
    assert files(folder) == [content]


def test_a_connection_whose_end_was_not_noticed_is_no_obstacle(
    start: StartServer, folder: Path
) -> None:
    server = start(upload_dir=folder)
    content = content_of(MIB)
    with Uploader(server) as older, Uploader(server) as newer:
        number, _ = older.begin(content)
        older.send_chunks(number, content, 0, CHUNK)
        older.kept(CHUNK)
        second, offset = newer.begin(content)
        assert offset == CHUNK
        assert older.until("error")["code"] == "taken_over"
        older.send(chunk(number, CHUNK, b"too late"))
        newer.send_chunks(second, content, offset)
        newer.finished()
        assert older.command(type="ping", ref=1)["type"] == "ok"
    assert files(folder) == [content]


@pytest.mark.crash
def test_a_killed_server_has_all_that_it_said_it_kept(
    start: StartServer, engine: str, folder: Path
) -> None:
    content = content_of(4 * MIB)
    server = start(engine=engine, upload_dir=folder)
    sent = 0
    for part in (1, 2, 3):
        with Uploader(server) as client:
            number, offset = client.begin(content)
            assert offset >= sent
            client.send_chunks(number, content, offset, part * MIB + 777)
            client.kept(sent := part * MIB)
            server.kill()
        server = start(engine=engine, upload_dir=folder)
    with Uploader(server) as client:
        number, offset = client.begin(content)
        assert offset >= sent
        client.send_chunks(number, content, offset)
        client.finished()
    assert files(folder) == [content]


def test_who_lost_the_answer_is_told_again(start: StartServer, engine: str, folder: Path) -> None:
    server = start(engine=engine, upload_dir=folder)
    content = content_of(1000)
    with Uploader(server) as client:
        number, _ = client.begin(content)
        client.send_chunks(number, content, 0)
        _, first = client.finished()
    with Uploader(server) as client:
        _, offset = client.begin(content)
        assert offset == len(content)
        assert client.until("ok") == first
    with RawConnection(server.address) as connection:
        history = connection.get("/history?channel=files").json()
    assert len(history["messages"]) == 1


def test_a_wrong_checksum(start: StartServer, folder: Path) -> None:
    with Uploader(start(upload_dir=folder)) as client:
        number, _ = client.begin(b"wrong", sha256=sha256(b"right").hexdigest())
        client.send(chunk(number, 0, b"wrong"))
        error = client.until("error")
        assert (error["code"], error["ref"], error["upload"]) == ("checksum_mismatch", "u1", "u1")
        assert client.begin(b"right")[1] == 0  # nothing is left of it
    assert files(folder) == []


def test_a_wrong_offset(start: StartServer, folder: Path) -> None:
    with Uploader(start(upload_dir=folder)) as client:
        number, _ = client.begin(b"0123456789")
        client.send(chunk(number, 0, b"0123"))
        for offset in (5, 6, 7):
            client.send(chunk(number, offset, b"x"))
        error = client.until("error")
        assert (error["code"], error["offset"], error["ref"]) == ("wrong_offset", 4, "u1")
        client.send(chunk(number, 4, b"456789"))
        client.finished()  # and no further error: those were on their way already
    assert files(folder) == [b"0123456789"]


@pytest.mark.parametrize("function", ["look", "look_async"])
def test_the_callback_says_what_is_published(
    start: StartServer, folder: Path, tmp_path: Path, function: str
) -> None:
    (tmp_path / "callbacks.py").write_text(CALLBACKS)
    server = start(upload_dir=folder, upload_callback=f"callbacks:{function}")
    with Uploader(server) as client:
        number, _ = client.begin(b"hello, sea")
        client.send(chunk(number, 0, b"hello, sea"))
        message, _ = client.finished()
        assert message["data"] == {
            "name": "tide table.txt",
            "type": "text/plain",
            "first": "hello",
        }
        number, _ = client.begin(b"cough", "u2", name="virus")
        client.send(chunk(number, 0, b"cough"))
        error = client.until("error")
        assert (error["code"], error["message"]) == ("upload_refused", "this one is ill")
        assert client.command(type="history", channel="files", ref=3)["messages"] == [message]
    assert files(folder) == [b"hello, sea"]


def test_two_uploads_at_the_same_time(start: StartServer, folder: Path) -> None:
    one, two = content_of(3 * MIB, 1), content_of(2 * MIB, 2)
    with Uploader(start(upload_dir=folder)) as client:
        numbers = client.begin(one, "one")[0], client.begin(two, "two")[0]
        for offset in range(0, len(one), CHUNK):
            for number, content in zip(numbers, (one, two), strict=True):
                if part := content[offset : offset + CHUNK]:
                    client.send(chunk(number, offset, part))
        done = {client.until("ok")["upload"] for _ in numbers}
    assert done == {"one", "two"}
    assert sorted(files(folder)) == sorted([one, two])


def test_a_large_file_takes_little_memory(start: StartServer, folder: Path) -> None:
    server = start(upload_dir=folder)
    content = content_of(50 * MIB)
    with Uploader(server, timeout=60) as client:
        number, _ = client.begin(content)
        before = most = server.resident_memory()
        for begin in range(0, len(content), MIB):
            client.send_chunks(number, content, begin, begin + MIB)
            most = max(most, server.resident_memory())
        message, _ = client.finished()
    assert (folder / message["data"]["path"]).read_bytes() == content
    assert most - before < 16 * MIB


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "a\\b", "..", "", "x" * 300])
def test_a_name_is_no_path(start: StartServer, folder: Path, name: str) -> None:
    with Uploader(start(upload_dir=folder)) as client:
        assert client.announce(b"", name=name)["code"] == "invalid_upload"


def test_nothing_that_the_client_says_is_a_path(start: StartServer, folder: Path) -> None:
    with Uploader(start(upload_dir=folder)) as client:
        number, _ = client.begin(b"x", "../../../escape", name="..hidden")
        client.send(chunk(number, 0, b"x"))
        message, _ = client.finished()
    assert message["data"]["name"] == "..hidden"
    assert message["data"]["path"].isalnum()
    assert files(folder) == [b"x"]


def test_without_a_folder_there_are_no_uploads(server: ServerProcess) -> None:
    with Uploader(server) as client:
        assert client.announce(b"x")["code"] == "uploads_off"
        client.send(frame(BINARY, b"12345678901234567890"))
        assert client.read_close().close_code == 1003


def test_limits(start: StartServer, folder: Path) -> None:
    with Uploader(start(upload_dir=folder, max_upload_size=1000)) as client:
        assert client.announce(b"x" * 1001)["code"] == "too_large"
        for index in range(16):
            client.begin(b"x" * 1000, f"u{index}")
        assert client.announce(b"x", "one-more")["code"] == "too_many_uploads"
        client.send(chunk(1, 0, b"x" * 1001))
        assert client.until("error")["code"] == "too_large"
        client.send(chunk(99, 0, b"x"))
        assert client.until("error")["code"] == "unknown_upload"
        client.send(frame(BINARY, b"short"))
        assert client.until("error")["code"] == "malformed"


def test_another_file_under_the_same_id(start: StartServer, folder: Path) -> None:
    server = start(upload_dir=folder)
    with Uploader(server) as client:
        client.begin(b"one")
    with Uploader(server) as client:
        assert client.announce(b"two")["code"] == "upload_differs"


def test_what_nobody_goes_on_with_is_deleted(start: StartServer, folder: Path) -> None:
    server = start(upload_dir=folder, upload_ttl=0.5)
    with Uploader(server) as client:
        number, _ = client.begin(b"0123456789")
        client.send(chunk(number, 0, b"0123"))
        client.kept(4)
        assert list((folder / ".unfinished").iterdir())
    wait_until(lambda: not list((folder / ".unfinished").iterdir()))
    with Uploader(server) as client:
        assert client.begin(b"0123456789")[1] == 0


def test_two_servers_share_a_folder(start: StartServer, folder: Path) -> None:
    one, two = start(upload_dir=folder), start(upload_dir=folder)
    content = content_of(MIB)
    with Uploader(one) as first, Uploader(two) as second:
        number, _ = first.begin(content)
        first.send_chunks(number, content, 0, CHUNK)
        first.kept(CHUNK)
        assert second.announce(content)["code"] == "upload_busy"
        first.socket.close()
        wait_until(lambda: second.announce(content).get("offset") == CHUNK)


def test_a_plain_socket_may_still_not_send_binary(start: StartServer, folder: Path) -> None:
    server = start(upload_dir=folder)
    with RawWebSocket(server.address) as socket:
        socket.open("/ws")
        socket.send(frame(BINARY, b"12345678901234567890"))
        assert socket.read_close().close_code == 1003
