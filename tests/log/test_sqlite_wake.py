"""Sockets beside the log file: who is woken, who is forgotten, and what stands in the way."""

from __future__ import annotations

import os
import select
import socket
import stat
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tidewire.log.sqlite_wake import Wake

if TYPE_CHECKING:
    from pathlib import Path

NOTE = b"note"
MANY = 1_000
"""More notes than the kernel keeps for one socket."""

LARGE = b"x" * 50_000
"""A note of which a socket that nobody reads keeps few."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The log's file."""
    path = tmp_path / "log.db"
    path.touch()
    path.chmod(0o640)
    return path


def is_woken(wake: Wake) -> bool:
    return bool(select.select([wake], [], [], 0)[0])


def wake_others(wake: Wake) -> None:
    if wake.has_others():
        wake.tell_others(NOTE)


def folder(file: Path) -> Path:
    return file.with_name("log.db-wake")


def test_all_others_are_woken(file: Path) -> None:
    with (
        closing(Wake(str(file))) as one,
        closing(Wake(str(file))) as two,
        closing(Wake(str(file))) as three,
    ):
        wake_others(one)
        assert [is_woken(wake) for wake in (one, two, three)] == [False, True, True]


def test_who_comes_later_is_found(file: Path) -> None:
    with closing(Wake(str(file))) as one:
        wake_others(one)
        with closing(Wake(str(file))) as late:
            wake_others(one)
            assert is_woken(late)


def test_who_comes_long_after_the_folder_was_read_is_found(file: Path) -> None:
    with closing(Wake(str(file))) as one:
        os.utime(folder(file), (1, 1))
        wake_others(one)
        with closing(Wake(str(file))) as late:
            wake_others(one)
            assert is_woken(late)


def test_notes_of_which_nobody_takes_notice_are_no_burden(file: Path) -> None:
    with closing(Wake(str(file))) as one, closing(Wake(str(file))) as deaf:
        for _ in range(MANY):
            wake_others(one)
        assert set(deaf.take()) == {NOTE}
        assert deaf.take() == []
        wake_others(one)
        assert deaf.take() == [NOTE]


def test_who_takes_nothing_keeps_nothing_from_the_rest(file: Path) -> None:
    with (
        closing(Wake(str(file))) as one,
        closing(Wake(str(file))) as two,
        ExitStack() as stack,
    ):
        for _ in range(8):
            stack.enter_context(closing(Wake(str(file))))
        assert one.has_others()
        for _ in range(50):
            one.tell_others(LARGE)
            assert two.take() == [LARGE]


def test_the_socket_of_a_killed_process_is_removed(file: Path) -> None:
    with closing(Wake(str(file))) as one:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as killed:
            killed.bind(str(folder(file) / "4711-killed"))
        wake_others(one)
        assert len(list(folder(file).iterdir())) == 1
        with closing(Wake(str(file))) as other:
            wake_others(one)
            assert is_woken(other)


def test_what_is_half_made_is_removed_when_it_is_old(file: Path) -> None:
    with closing(Wake(str(file))) as one:
        old, new = (folder(file) / name for name in (".old", ".new"))
        for path in (old, new):
            path.touch()
        os.utime(old, (1, 1))
        wake_others(one)
        assert not old.exists()
        assert new.exists()
        new.unlink()


def test_the_last_one_takes_the_folder_away(file: Path) -> None:
    one, two = Wake(str(file)), Wake(str(file))
    one.close()
    assert folder(file).exists()
    two.close()
    assert list(file.parent.iterdir()) == [file]


def test_it_is_noticed_that_somebody_has_cleared_the_folder(file: Path) -> None:
    with closing(Wake(str(file))) as one:
        assert one.is_reachable()
        for path in folder(file).iterdir():
            path.unlink()
        assert not one.is_reachable()
        folder(file).rmdir()
        assert not one.is_reachable()
        assert not one.has_others()


def test_a_path_that_is_too_long_for_an_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    file = deep / "log.db"
    file.touch()
    with closing(Wake(str(file))) as one, closing(Wake(str(file))) as two:
        wake_others(one)
        assert is_woken(two)


def test_other_ways_to_the_same_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "link.db").symlink_to(file)
    monkeypatch.chdir(file.parent)
    with closing(Wake("log.db")) as one, closing(Wake("link.db")) as two:
        wake_others(one)
        assert is_woken(two)


@pytest.mark.parametrize(("of_file", "of_folder"), [(0o600, 0o700), (0o664, 0o775)])
def test_who_may_write_to_the_file_may_wake(file: Path, of_file: int, of_folder: int) -> None:
    file.chmod(of_file)
    with closing(Wake(str(file))):
        (own,) = folder(file).iterdir()
        assert stat.S_IMODE(folder(file).stat().st_mode) == of_folder
        assert stat.S_IMODE(own.stat().st_mode) == of_file


def test_a_folder_that_cannot_be_made(file: Path) -> None:
    folder(file).touch()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Not a directory"):
        Wake(str(file))
    assert len(os.listdir("/proc/self/fd")) == before
