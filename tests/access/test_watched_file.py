"""A file that is read again when it changes, and only then."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from tidewire.access.watched_file import UnusableFile, WatchedFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "numbers"
    path.write_text("1")
    return path


def number(data: bytes) -> int:
    if not data.isdigit():
        raise ValueError("it has no number in it")
    return int(data)


def test_a_change_is_seen_a_second_later(path: Path, clock: Clock) -> None:
    file = WatchedFile(path, number, clock=clock)
    path.write_text("22")
    clock.now = 0.9
    assert (file.version, file.value) == (0, 1)
    clock.now = 1.0
    assert (file.version, file.value) == (1, 22)


def test_a_file_that_is_put_in_its_place_is_another(path: Path, clock: Clock) -> None:
    file = WatchedFile(path, number, clock=clock)
    found = path.stat()
    other = path.with_name("other")
    other.write_text("2")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(path)
    clock.now = 1
    assert file.value == 2


def test_a_file_that_has_not_changed_is_not_read(path: Path, clock: Clock) -> None:
    read: list[bytes] = []
    file = WatchedFile(path, read.append, clock=clock)
    for second in range(10):
        clock.now = second
        assert file.version == 0
    assert read == [b"1"]


def test_what_cannot_be_used_changes_nothing(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = WatchedFile(path, number, clock=clock)
    changes: list[Callable[[], object]] = [
        lambda: path.write_text("no"),
        path.unlink,
        path.mkdir,
        path.rmdir,
    ]
    for second, change in enumerate(changes, 1):
        change()
        clock.now = second
        assert (file.version, file.value) == (0, 1)
        clock.now += 0.5
        assert file.value == 1
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"{path}: it has no number in it; what it said before holds on",
        f"{path} cannot be read: no such file or directory; what it said before holds on",
        f"{path} cannot be read: is a directory; what it said before holds on",
        f"{path} cannot be read: no such file or directory; what it said before holds on",
    ]
    path.write_text("333")
    clock.now = 10
    assert (file.version, file.value) == (1, 333)


def test_trouble_is_told_once(path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    file = WatchedFile(path, number, clock=clock)
    path.write_text("no")
    for second in range(1, 10):
        clock.now = second
        assert file.value == 1
    assert len(caplog.records) == 1


def test_a_change_is_told(path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = WatchedFile(path, number, clock=clock)
    path.write_text("22")
    clock.now = 1
    assert file.value == 22
    assert caplog.messages == [f"{path} has changed and was read again"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: no such file or directory"),
        (b"no", "it has no number in it"),
        (b"1" * ((1 << 20) + 1), "has more than 1,048,576 bytes"),
    ],
)
def test_it_has_to_be_right_at_first(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnusableFile, match=problem) as raised:
        WatchedFile(path, number)
    assert str(path) in str(raised.value)
