"""What the SQLite engine does with its file: how it is written, grouped and pruned."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import until
from tests.log.harness import Clock, Logs, draft, drafts, retention
from tests.log.sqlite_storage import SqliteStorage
from tidewire.log import sqlite, sqlite_file
from tidewire.log.sqlite_file import connect
from tidewire.log.sqlite_writer import Writer
from tidewire.model import Draft, EngineUnavailable, Namespaces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def storage(tmp_path: Path) -> SqliteStorage:
    return SqliteStorage(tmp_path / "log.db")


@pytest.fixture
async def logs(storage: SqliteStorage) -> AsyncIterator[Logs]:
    logs = Logs(storage)
    yield logs
    await logs.close_all()


# Writing


def test_every_connection_waits_for_the_disk(tmp_path: Path) -> None:
    with closing(connect(str(tmp_path / "log.db"))) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


async def test_the_file_is_in_wal_mode(logs: Logs, storage: SqliteStorage) -> None:
    await logs.open()
    assert storage.query("PRAGMA journal_mode") == [("wal",)]


async def test_what_is_answered_is_committed(logs: Logs, storage: SqliteStorage) -> None:
    log = await logs.open()
    for number in range(1, 20):
        before = storage.commits()
        await log.append(draft())
        assert storage.commits() == before + 1
        assert storage.query("SELECT count(*) FROM messages") == [(number,)]


async def test_who_waits_for_another_process_tries_often_however_long_it_has_waited(
    logs: Logs, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await logs.open()
    waits: list[float] = []
    with closing(connect(str(storage.path))) as other:
        other.execute("BEGIN IMMEDIATE")

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 100:
                other.execute("ROLLBACK")

        monkeypatch.setattr(sqlite_file, "sleep", wait)
        await log.append(draft())
    assert len(waits) == 100
    assert max(waits) < 2 * sqlite_file.TURN_SECONDS


async def test_appends_of_one_turn_share_a_transaction(logs: Logs, storage: SqliteStorage) -> None:
    log = await logs.open()
    before = storage.commits()
    await asyncio.gather(*(log.engine.append(drafts(1)) for _ in range(100)))
    assert storage.commits() == before + 1


async def test_appends_during_a_transaction_share_the_next(
    logs: Logs, storage: SqliteStorage
) -> None:
    log = await logs.open()
    before = storage.commits()
    with closing(connect(str(storage.path))) as other:
        other.execute("BEGIN IMMEDIATE")  # the first transaction waits
        first = log.engine.append(drafts(1))
        futures = []
        for _ in range(50):
            futures.append(log.engine.append(drafts(1)))
            await asyncio.sleep(0)
        assert not first.done()
        other.execute("ROLLBACK")
    await asyncio.gather(first, *futures)
    assert storage.commits() <= before + 2


async def test_a_transaction_is_bounded(logs: Logs, storage: SqliteStorage) -> None:
    log = await logs.open()
    before = storage.commits()
    await asyncio.gather(*(log.engine.append(drafts(10)) for _ in range(500)))
    assert storage.commits() == before + 5_000 // sqlite.GROUP + 1


async def test_closing_leaves_one_whole_file(logs: Logs, storage: SqliteStorage) -> None:
    log = await logs.open()
    await log.append(*drafts(100))
    await logs.close(log)
    assert [path.name for path in storage.path.parent.iterdir()] == ["log.db"]
    assert storage.query("PRAGMA integrity_check") == [("ok",)]
    assert storage.query("SELECT count(*) FROM messages") == [(100,)]


async def test_after_closing_there_is_an_answer_all_the_same(logs: Logs) -> None:
    log = await logs.open()
    await logs.close(log)
    with pytest.raises(EngineUnavailable):
        await log.engine.append(drafts(1))
    with pytest.raises(EngineUnavailable):
        await log.engine.read({"a": 0}, 1, 1, 1)


async def test_several_engines_make_one_new_log_together(logs: Logs) -> None:
    opened = await asyncio.gather(*(logs.open() for _ in range(4)))
    assert len({log.engine.epoch for log in opened}) == 1


async def test_two_files_are_two_logs(tmp_path: Path) -> None:
    epochs = set()
    for name in ("one.db", "two.db"):
        logs = Logs(SqliteStorage(tmp_path / name))
        epochs.add((await logs.open()).engine.epoch)
        await logs.close_all()
    assert len(epochs) == 2


# Pruning


def writer(storage: SqliteStorage, clock: Clock, size: int, ttl: float = 3600) -> Writer:
    namespaces = Namespaces(retention(size, ttl))
    return Writer(str(storage.path), namespaces, idempotency_window=60, clock=clock)


def append(writer: Writer, drafts: list[Draft]) -> None:
    writer.commit([lambda group: group.append(drafts)])


def count(storage: SqliteStorage, table: str = "messages") -> int:
    number = storage.query(f"SELECT count(*) FROM {table}")[0][0]
    assert isinstance(number, int)
    return number


async def test_the_background_deletes_what_is_discarded(
    logs: Logs, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PRUNE_SECONDS", 0.01)
    log = await logs.open(size=10, ttl=1000, window=60)
    await log.append(*drafts(5_000, "a"), *drafts(7, "b"), draft("b", key="k"))
    logs.clock.move(100)
    await until(lambda: count(storage) == 18)
    await until(lambda: count(storage, "keys") == 0)
    logs.clock.move(1000)
    await until(lambda: count(storage) == 0)


async def test_the_background_does_not_stay_behind(
    logs: Logs, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One round deletes 2,000 messages at most; the next follows at once while more are left."""
    log = await logs.open(size=0)
    for _ in range(10):
        await log.append(*drafts(2_000))
    await logs.close(log)
    logs.clock.move(100)
    monkeypatch.setattr(sqlite, "PRUNE_SECONDS", 0.01)
    await logs.open(size=0)
    monkeypatch.setattr(sqlite, "PRUNE_SECONDS", 3600.0)  # after the first round
    await until(lambda: count(storage) == 0)


def test_one_round_of_pruning_is_bounded(storage: SqliteStorage) -> None:
    clock = Clock()
    with closing(writer(storage, clock, size=10)) as one:
        append(one, drafts(5_000))
        clock.move(100)
        left = []
        while one.prune():
            left.append(count(storage))
        assert left == [3_000, 1_000]
        assert count(storage) == 10


def test_keys_are_pruned_in_bounded_rounds_too(storage: SqliteStorage) -> None:
    clock = Clock()
    with closing(writer(storage, clock, size=10_000)) as one:
        append(one, [draft(key=str(number)) for number in range(5_000)])
        clock.move(59)
        assert not one.prune()
        assert count(storage, "keys") == 5_000
        clock.move(2)
        left = []
        while one.prune():
            left.append(count(storage, "keys"))
        assert left == [3_000, 1_000]
        assert count(storage, "keys") == 0


def test_pruning_visits_all_channels_in_turn(storage: SqliteStorage) -> None:
    clock = Clock()
    with closing(writer(storage, clock, size=1)) as one:
        for _ in range(2):
            append(one, [draft(f"channel-{number}") for number in range(1_200)])
        clock.move(100)
        left = []
        for _ in range(3):
            one.prune()
            left.append(count(storage))
        assert left == [1_900, 1_400, 1_200]
        append(one, drafts(2, "channel-0"))
        clock.move(100)
        for _ in range(3):
            one.prune()
        assert count(storage) == 1_200


def test_payloads_go_when_they_are_withdrawn(storage: SqliteStorage) -> None:
    clock = Clock()
    with closing(writer(storage, clock, size=10_000)) as one:
        append(one, [draft("a", b"x" * 50, ttl=1) for _ in range(5_000)])
        append(one, [draft("a", b"y" * 50, ttl=3000), draft("a", b"z" * 50)])
        clock.move(5)
        assert not one.prune(), "other processes may still have to feed them"
        clock.move(10)
        left = []
        while one.prune():
            left.append(storage.query("SELECT sum(length(data)) FROM messages")[0][0])
        assert left == [3_002 * 50, 1_002 * 50]
        assert storage.query("SELECT sum(length(data)) FROM messages") == [(100,)]
        assert count(storage) == 5_002


def test_what_was_purged_is_deleted_in_bounded_rounds(storage: SqliteStorage) -> None:
    clock = Clock()
    with closing(writer(storage, clock, size=10_000)) as one:
        append(one, drafts(5_000))
        one.commit([lambda group: group.purge("a", forget=True)])
        append(one, drafts(10))
        clock.move(100)
        left = []
        while one.prune():
            left.append(count(storage))
        assert left == [3_011, 1_011]
        assert count(storage) == 10


def test_what_other_processes_may_still_have_to_feed_is_kept(storage: SqliteStorage) -> None:
    clock = Clock()
    with closing(writer(storage, clock, size=0)) as one:
        append(one, drafts(5))
        clock.move(5)
        one.prune()
        assert count(storage) == 5
        clock.move(10)
        one.prune()
        assert count(storage) == 0
