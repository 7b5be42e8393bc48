"""``tidewire upload`` against a real server: to its end, cut off in the middle, and refused."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import LOOK_EVERY
from tests.cli.commands import COMMAND, PATIENCE, Running, environment, run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess

CONTENT = bytes(range(256)) * 4096 * 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    engine = f"sqlite:///{tmp_path}/log.db"
    server = serve(tmp_path, "--upload-dir", str(tmp_path / "uploads"), engine=engine)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sunset.jpg"
    path.write_bytes(CONTENT)
    return path


def test_a_file_arrives_and_its_channel_is_told(
    server: ServerProcess, file: Path, tmp_path: Path
) -> None:
    result = run("upload", "pictures", str(file), TIDEWIRE_URL=server.url)
    assert (result.code, result.err) == (0, "")
    [receipt] = result.lines
    [message] = run("history", "pictures", TIDEWIRE_URL=server.url).lines
    assert receipt == {"channel": "pictures", "id": message["id"], "seq": 1}
    assert message["event"] == "upload"
    told = message["data"]
    assert (told["name"], told["size"], told["content_type"]) == (
        "sunset.jpg",
        len(CONTENT),
        "image/jpeg",
    )
    assert told["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "uploads" / told["path"]).read_bytes() == CONTENT


def test_the_same_again_is_told_once(server: ServerProcess, file: Path) -> None:
    first = run("upload", "pictures", str(file), TIDEWIRE_URL=server.url)
    again = run("upload", "pictures", str(file), "-q", TIDEWIRE_URL=server.url)
    assert (again.code, again.out) == (0, first.out)
    named = run("upload", "pictures", str(file), "--name", "b.png", TIDEWIRE_URL=server.url)
    assert named.lines[0]["seq"] == 2


def test_it_goes_on_when_the_server_was_killed(tmp_path: Path) -> None:
    engine = f"sqlite:///{tmp_path}/log.db"
    flags = ["--upload-dir", str(tmp_path / "uploads")]
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(1 << 20) * 64)
    # At this pace it takes half a minute, in which it is killed at leisure.
    server = serve(tmp_path, *flags, "--max-byte-rate", "2000000", engine=engine)
    port = server.port
    try:
        with Running("upload", "files", str(path), TIDEWIRE_URL=server.url) as upload:
            parts = tmp_path / "uploads"
            while not any(one.stat().st_size for one in parts.rglob("*.part")):
                assert upload.process.poll() is None
                time.sleep(LOOK_EVERY)
            server.kill()
            upload.told("next attempt in ")
            server = serve(tmp_path, *flags, engine=engine, port=port)
            result = upload.end()
        assert result.code == 0
        [receipt] = result.lines
        [message] = run("history", "files", TIDEWIRE_URL=server.url).lines
        assert message["id"] == receipt["id"]
        kept = tmp_path / "uploads" / message["data"]["path"]
        assert kept.read_bytes() == path.read_bytes()
    finally:
        server.kill()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_shows_how_far_it_is_on_one_line(
    columns: int, server: ServerProcess, tmp_path: Path
) -> None:
    path = tmp_path / f"{'a rather long name ' * 4}.bin"
    path.write_bytes(CONTENT)
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "upload", "files", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=other_end,
        env=environment(TIDEWIRE_URL=server.url, COLUMNS=str(columns), TERM="xterm"),
    )
    os.close(other_end)
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(terminal)
    assert process.wait(PATIENCE) == 0
    assert process.stdout is not None
    process.stdout.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert lines
    assert all(len(line) <= columns for line in lines)
    assert any(line.startswith("a rather") and "MB" in line for line in lines)


def test_what_cannot_be_uploaded(
    live: ServerProcess, server: ServerProcess, file: Path, tmp_path: Path
) -> None:
    missing = run("upload", "files", str(tmp_path / "none"), TIDEWIRE_URL=server.url)
    assert missing.code == 2
    assert missing.err.endswith("/none cannot be read: no such file or directory\n")
    off = run("upload", "files", str(file), TIDEWIRE_URL=live.url)
    assert off.code == 1
    assert "upload_dir" in off.err
    nowhere = run("upload", "no such name", str(file), TIDEWIRE_URL=server.url)
    assert nowhere.code == 1
    assert "is not a channel name" in nowhere.err
