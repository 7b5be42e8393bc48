"""The SQLite engine when its file is locked, full, broken, or not its own."""

from __future__ import annotations

import asyncio
import logging
import resource
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import until
from tests.log.harness import HOUR, Logs, draft, drafts
from tests.log.sqlite_storage import SqliteStorage
from tidewire.log import sqlite, sqlite_file, sqlite_writer
from tidewire.log.sqlite import SqliteEngine
from tidewire.log.sqlite_notes import LARGEST
from tidewire.model import EngineUnavailable, Namespaces, Retention

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

NAMESPACES = Namespaces(Retention(100, 10**12))


@pytest.fixture
def storage(tmp_path: Path) -> SqliteStorage:
    return SqliteStorage(tmp_path / "log.db")


@pytest.fixture
async def logs(storage: SqliteStorage) -> AsyncIterator[Logs]:
    logs = Logs(storage)
    yield logs
    await logs.close_all()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections wait for locks a moment only."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)


@contextmanager
def locked(storage: SqliteStorage, how: str = "IMMEDIATE") -> Iterator[None]:
    """Another process is writing, and takes its time."""
    with closing(sqlite3.connect(storage.path, isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        yield
        other.execute("ROLLBACK")


async def refused(path: Path | str) -> str:
    """Why the engine does not open *path*."""
    with pytest.raises(EngineUnavailable) as raised:
        await SqliteEngine(str(path), NAMESPACES).open(lambda messages: None)
    return raised.value.detail


# Opening


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    logs = Logs(SqliteStorage(tmp_path / "new" / "folder" / "log.db"))
    log = await logs.open()
    assert (await log.append(draft()))[0].seq == 1
    await logs.close_all()


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    detail = await refused(tmp_path / "file" / "folder" / "log.db")
    assert str(tmp_path / "file" / "folder") in detail
    assert "Not a directory" in detail


async def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    detail = await refused(tmp_path)
    assert str(tmp_path) in detail
    assert "unable to open" in detail


async def test_a_file_that_is_no_database(storage: SqliteStorage) -> None:
    storage.path.write_bytes(b"not a database, but someone's diary\n" * 1000)
    detail = await refused(storage.path)
    assert str(storage.path) in detail
    assert "not a database" in detail
    assert storage.path.read_bytes().startswith(b"not a database, but")


async def test_the_database_of_another_program(storage: SqliteStorage) -> None:
    with closing(sqlite3.connect(storage.path)) as other:
        other.execute("CREATE TABLE messages (text)")
    assert str(storage.path) in await refused(storage.path)
    assert storage.query("SELECT name FROM sqlite_master") == [("messages",)]


@pytest.mark.parametrize("version", [sqlite_file.SCHEMA_VERSION + 1, 99, -1])
async def test_the_schema_of_another_version(
    logs: Logs, storage: SqliteStorage, version: int
) -> None:
    log = await logs.open()
    await log.append(*drafts(3))
    await logs.close(log)
    with closing(sqlite3.connect(storage.path)) as other:
        other.execute(f"PRAGMA user_version = {version}")
    detail = await refused(storage.path)
    assert str(storage.path) in detail
    assert f"its schema is {version}" in detail
    assert f"this version's is {sqlite_file.SCHEMA_VERSION}" in detail
    assert storage.query("SELECT count(*) FROM messages") == [(3,)]


@pytest.mark.usefixtures("impatient")
async def test_a_file_that_stays_locked_while_it_is_opened(
    logs: Logs, storage: SqliteStorage
) -> None:
    await logs.close(await logs.open())
    with locked(storage, "EXCLUSIVE"):
        assert "locked" in await refused(storage.path)
    await logs.open()


def test_a_new_file_that_another_process_is_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite answers at once that the file is locked, however long it was told to wait."""
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE log (one)")
        other.execute("BEGIN IMMEDIATE")
        waits = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            other.execute("COMMIT")

        monkeypatch.setattr(sqlite_file, "sleep", wait)
        with closing(sqlite_file.connect(str(path))) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert len(waits) == 1


async def test_a_refused_file_is_let_go(storage: SqliteStorage) -> None:
    with closing(sqlite3.connect(storage.path)) as other:
        other.execute("PRAGMA user_version = 99")
    await refused(storage.path)
    with closing(sqlite3.connect(storage.path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("ROLLBACK")


# Writing


@pytest.mark.usefixtures("impatient")
async def test_a_file_that_stays_locked(logs: Logs, storage: SqliteStorage) -> None:
    log = await logs.open()
    [first] = await log.append(draft())
    with locked(storage):
        with pytest.raises(EngineUnavailable) as raised:
            await log.append(draft())
        assert "locked" in raised.value.detail
        assert await log.engine.head() == first.id  # reading goes on
        assert len((await log.read({"a": 0})).messages) == 1
    [second] = await log.append(draft())
    assert (second.id, second.seq) == (first.id + 1, 2)
    assert [message.id for message in log.fed] == [first.id, second.id]


@pytest.mark.usefixtures("impatient")
async def test_all_that_share_a_transaction_share_its_failure(
    logs: Logs, storage: SqliteStorage
) -> None:
    log = await logs.open()
    with locked(storage):
        answers = await asyncio.gather(
            *(log.engine.append([draft(key=str(number))]) for number in range(10)),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers] == [EngineUnavailable] * 10
    assert log.fed == []
    receipts = [await log.append(draft(key=str(number))) for number in range(10)]
    assert [receipt.seq for [receipt] in receipts] == list(range(1, 11))


@pytest.mark.usefixtures("impatient")
async def test_accepted_appends_that_fail_do_not_stop_the_close(
    logs: Logs, storage: SqliteStorage
) -> None:
    log = await logs.open()
    with locked(storage):
        future = log.engine.append(drafts(1))
        await logs.close(log)
    with pytest.raises(EngineUnavailable):
        await future


@pytest.fixture
def free_the_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Files have room for 60 pages until this is called."""
    connections: list[sqlite3.Connection] = []

    def connect_small(path: str) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA max_page_count = 60")
        connections.append(connection)
        return connection

    connect = sqlite_file.connect
    monkeypatch.setattr(sqlite_writer, "connect", connect_small)

    def free() -> None:
        for connection in connections:
            connection.execute("PRAGMA max_page_count = 100000")

    return free


async def test_a_record_is_what_it_was_when_its_change_was_not_kept(
    logs: Logs, free_the_disk: Callable[[], None]
) -> None:
    """Also for the process that remembers what it has written."""
    engine = (await logs.open()).engine
    assert await engine.change("t", "k", lambda _: b"1", HOUR) == b"1"
    with pytest.raises(EngineUnavailable):
        await asyncio.gather(
            engine.change("t", "k", lambda old: (old or b"") + b"2", HOUR),
            engine.change("t", "large", lambda _: bytes(1 << 20), HOUR),
        )
    free_the_disk()
    assert await engine.change("t", "k", lambda old: (old or b"") + b"3", HOUR) == b"13"


async def test_a_full_disk(logs: Logs, free_the_disk: Callable[[], None]) -> None:
    log = await logs.open()
    seqs: list[int] = []
    with pytest.raises(EngineUnavailable) as raised:  # noqa: PT012
        while len(seqs) < 1_000:
            seqs += [r.seq for r in await log.append(*(draft("a", b"x" * 1_000) for _ in "12345"))]
    assert "full" in raised.value.detail
    with pytest.raises(EngineUnavailable):
        await log.append(*(draft("a", b"x" * 1_000) for _ in range(50)))
    free_the_disk()
    seqs += [r.seq for r in await log.append(*drafts(3))]
    assert [message.seq for message in (await log.read({"a": 0})).messages] == seqs
    assert [message.seq for message in log.fed] == seqs == list(range(1, len(seqs) + 1))


async def test_a_disk_that_does_not_take_the_bytes(logs: Logs, storage: SqliteStorage) -> None:
    log = await logs.open()
    await log.append(*drafts(3))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (storage.wal.stat().st_size + 10_000, hard))
    try:
        with pytest.raises(EngineUnavailable):
            await log.append(draft("a", b"x" * 1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    [receipt] = await log.append(draft("a", b"x" * 1_000_000))
    assert receipt.seq == 4
    assert [message.seq for message in log.fed] == [1, 2, 3, 4]
    assert [message.seq for message in (await log.read({"a": 0})).messages] == [1, 2, 3, 4]
    assert storage.query("PRAGMA integrity_check") == [("ok",)]


# Reading, and what goes on in the background


async def test_a_file_that_cannot_be_read(logs: Logs, storage: SqliteStorage) -> None:
    log = await logs.open()
    await log.append(*drafts(3))
    storage.query("ALTER TABLE messages RENAME TO elsewhere")
    for _ in range(4):  # each reader, twice
        with pytest.raises(EngineUnavailable) as raised:
            await log.read({"a": 0})
        assert "cannot be read" in raised.value.detail
    storage.query("ALTER TABLE elsewhere RENAME TO messages")
    for _ in range(4):
        assert len((await log.read({"a": 0})).messages) == 3


@pytest.mark.usefixtures("impatient")
async def test_pruning_that_fails_is_logged_and_tried_again(
    logs: Logs,
    storage: SqliteStorage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sqlite, "PRUNE_SECONDS", 0.01)
    log = await logs.open(size=0)
    await log.append(*drafts(3))
    with locked(storage), caplog.at_level(logging.WARNING, "tidewire.log"):
        logs.clock.move(100)
        await until(lambda: "cannot be pruned" in caplog.text)
    await until(lambda: storage.query("SELECT count(*) FROM messages") == [(0,)])


async def test_following_others_that_fails_is_logged_and_tried_again(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log, other = await logs.open(), await logs.open()
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING, "tidewire.log"):
        broken.setattr(sqlite_writer, "COLUMNS", "no_such_column")
        [receipt] = await other.append(draft(data=b"x" * LARGEST))  # too large for a note
        await until(lambda: "cannot be read" in caplog.text)
        assert log.fed == []
    # Nothing more is appended that would call attention to the file.
    await log.fed_up_to(receipt.id)
    assert [message.id for message in log.fed] == [receipt.id]
