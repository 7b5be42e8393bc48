"""The files of uploads, on a real disk."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
import pytest

from tidewire.model import BadRequest
from tidewire.uploads import Partial, Published, Store, Wanted
from tidewire.uploads.store import UploadBusy

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"0123456789"


def wanted(content: bytes = CONTENT, upload: str = "u1") -> Wanted:
    return Wanted(upload, "files", "name", len(content), sha256(content).hexdigest(), "text/plain")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "new" / "uploads")


def yes() -> bool:
    return True


def whole(store: Store) -> Partial:
    partial = store.open(wanted())
    partial.write([CONTENT])
    partial.move()
    return partial


def test_from_chunks_to_a_file(store: Store) -> None:
    partial = store.open(wanted())
    assert partial.kept == 0
    assert partial.write([b"0123", memoryview(b"45")]) == 6
    assert partial.write([b"6789"]) == 10
    assert partial.matches(yes)
    upload = partial.move()
    partial.close()
    assert upload.path.parent == store.directory
    assert upload.path.read_bytes() == CONTENT
    assert upload[1:] == ("name", 10, wanted().sha256, "text/plain", "files")


def test_it_goes_on_after_a_cut(store: Store) -> None:
    partial = store.open(wanted())
    partial.write([b"0123"])
    partial.close()
    again = Store(store.directory).open(wanted())
    assert again.kept == 4
    again.write([b"456789"])
    assert again.matches(yes)
    again.close()


def test_bytes_that_were_not_counted_do_not_count(store: Store) -> None:
    partial = store.open(wanted())
    partial.write([b"0123"])
    partial.close()
    (part,) = store.unfinished.glob("*.part")
    with part.open("ab") as file:
        file.write(b"zz")  # with the disk, but the crash came before their count
    again = store.open(wanted())
    assert again.kept == 4
    again.write([b"456789"])
    assert again.matches(yes)
    again.close()


def test_bytes_that_were_lost_do_not_count(store: Store) -> None:
    partial = store.open(wanted())
    partial.write([b"0123"])
    partial.close()
    (part,) = store.unfinished.glob("*.part")
    os.truncate(part, 2)
    again = store.open(wanted())
    assert again.kept == 2
    again.close()


@pytest.mark.parametrize("size", [0, 1, 20, 21, 30])
def test_a_sheet_that_was_cut_short_is_begun_again(store: Store, size: int) -> None:
    store.open(wanted()).close()
    (sheet,) = store.unfinished.glob("*.sheet")
    os.truncate(sheet, size)
    again = store.open(wanted())
    assert again.kept == 0
    again.write([CONTENT])
    assert again.matches(yes)
    again.close()


def test_what_is_wrong_does_not_match(store: Store) -> None:
    partial = store.open(wanted())
    partial.write([b"012345678x"])
    assert not partial.matches(yes)
    partial.discard()
    assert list(store.unfinished.iterdir()) == []


def test_checking_stops_when_the_server_does(store: Store) -> None:
    partial = store.open(wanted())
    partial.write([CONTENT])
    with pytest.raises(InterruptedError):
        partial.matches(lambda: False)
    partial.close()


def test_one_opens_it_at_a_time(store: Store) -> None:
    partial = store.open(wanted())
    with pytest.raises(UploadBusy):
        Store(store.directory).open(wanted())
    partial.close()
    store.open(wanted()).close()


@pytest.mark.parametrize("field", ["channel", "name", "size", "sha256", "content_type"])
def test_another_file_under_the_same_id(store: Store, field: str) -> None:
    store.open(wanted()).close()
    value = 11 if field == "size" else "other"
    with pytest.raises(BadRequest) as caught:
        store.open(msgspec.structs.replace(wanted(), **{field: value}))
    assert caught.value.code == "upload_differs"
    store.open(wanted()).close()  # and the lock is gone


def test_a_moved_file_is_whole(store: Store) -> None:
    partial = whole(store)
    partial.close()
    again = store.open(wanted())
    assert (again.kept, again.moved, again.published) == (10, True, None)
    assert again.move().path == partial.path
    again.close()


def test_the_message_is_remembered(store: Store) -> None:
    partial = whole(store)
    partial.note(Published("e-1", 7))
    partial.path.unlink()  # the operator took it away
    partial.close()
    again = store.open(wanted())
    assert (again.kept, again.published) == (10, Published("e-1", 7))
    again.close()


def test_a_note_that_was_cut_short_is_none(store: Store) -> None:
    partial = whole(store)
    partial.note(Published("e-1", 7))
    partial.close()
    (sheet,) = store.unfinished.glob("*.sheet")
    os.truncate(sheet, sheet.stat().st_size - 1)
    again = store.open(wanted())
    assert again.published is None
    again.close()


def test_a_refused_file_is_deleted(store: Store) -> None:
    partial = whole(store)
    partial.discard()
    assert [path for path in store.directory.rglob("*") if path.is_file()] == []
    partial.close()


def test_no_name_comes_from_the_client(store: Store) -> None:
    partial = store.open(wanted(upload="../../../etc/passwd"))
    partial.write([CONTENT])
    path = partial.move().path
    partial.close()
    assert path.parent == store.directory
    assert len(path.name) == 32
    assert path.name.isalnum()
    assert all(len(sheet.stem) == 32 for sheet in store.unfinished.iterdir())


def test_old_ones_are_deleted(store: Store) -> None:
    old, new, held = (store.open(wanted(upload=name)) for name in ("old", "new", "held"))
    old.write([b"01"])
    old.close()
    new.close()
    for path in store.unfinished.iterdir():
        if path.stem != new._sheet.stem:
            os.utime(path, (0, 0))
    store.sweep(100)
    assert {path.stem for path in store.unfinished.iterdir()} == {
        new._sheet.stem,
        held._sheet.stem,
    }
    held.close()


def test_an_old_sheet_goes_and_its_file_stays(store: Store) -> None:
    partial = whole(store)
    partial.close()
    for path in store.unfinished.iterdir():
        os.utime(path, (0, 0))
    store.sweep(100)
    assert list(store.unfinished.iterdir()) == []
    assert partial.path.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Store(tmp_path / "file")
