"""Several processes on one file, and processes that are killed: nothing answered is ever lost."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.log.appending import Appending, Told, check_counts, check_whole, told
from tests.log.harness import Logs, draft
from tests.log.sqlite_storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def in_file(storage: SqliteStorage) -> list[Told]:
    """All messages of the file, in id order."""
    rows = storage.query(
        "SELECT c.name, m.id, m.seq, CAST(m.data AS TEXT) FROM messages m "
        "JOIN channels c ON c.number = m.channel ORDER BY m.id"
    )
    return [(channel, id, seq, data) for channel, id, seq, data in rows]


class Start(Protocol):
    """What the fixture ``start`` gives."""

    def __call__(self, name: str, answers: int, total: int = 0) -> Appending:
        """Start one such process on the test's file, and wait until it has opened it."""


@pytest.fixture
def start(storage: SqliteStorage) -> Iterator[Start]:
    """Start processes; none is left when the test is over."""
    with ExitStack() as stack:

        def start(name: str, answers: int, total: int = 0) -> Appending:
            appending = Appending(str(storage.path), name, answers, total)
            stack.enter_context(appending.process)
            stack.callback(appending.kill)
            assert appending.line() == "open\n"
            return appending

        yield start


@pytest.fixture
def storage(tmp_path: Path) -> SqliteStorage:
    return SqliteStorage(tmp_path / "log.db")


def test_two_processes_share_one_log(storage: SqliteStorage, start: Start) -> None:
    processes = [start(name, 300, 600) for name in ("one", "other")]
    for process in processes:
        process.begin()
    feeds = []
    answered: list[Told] = []
    for process in processes:
        *answers, fed = process.rest()
        answered += itertools.chain.from_iterable(answers)
        feeds.append(fed)
        assert process.end() == 0
    messages = in_file(storage)
    assert sorted(messages) == sorted(answered)
    assert len(messages) >= 600
    check_counts(messages)
    assert {data.strip('"').split()[0] for _, _, _, data in messages[:400]} == {"one", "other"}
    for fed in feeds:  # it may end before the other's last messages
        assert fed == messages[: len(fed)]
        assert len(fed) >= 600


@pytest.mark.crash
async def test_a_killed_process_leaves_no_socket_to_wake(
    storage: SqliteStorage, start: Start
) -> None:
    killed = start("killed", 1)
    sockets = storage.path.with_name(storage.path.name + "-wake")
    assert len(list(sockets.iterdir())) == 1
    killed.kill()
    assert killed.end() == -9
    logs = Logs(storage)
    log = await logs.open()
    assert len(list(sockets.iterdir())) == 2
    await log.append(draft())
    assert len(list(sockets.iterdir())) == 1
    await logs.close_all()
    assert not sockets.exists()


@pytest.mark.crash
async def test_what_was_answered_outlives_kill_9(storage: SqliteStorage, start: Start) -> None:
    answered: list[Told] = []
    for turn in range(4):
        survivor = start(f"survivor{turn}", 200)
        victim = start(f"victim{turn}", 10**9)
        for process in (survivor, victim):
            process.begin()
        for _ in range(20 + 13 * turn):
            answered += told(victim.line())
        victim.kill()
        for answers in victim.rest():
            answered += answers
        assert victim.end() == -9
        *rest, _ = survivor.rest()
        answered += itertools.chain.from_iterable(rest)
        assert survivor.end() == 0
        messages = in_file(storage)
        check_counts(messages)
        check_whole(messages, answered, most=6 * (turn + 1))  # one of each task of a victim
    assert storage.query("PRAGMA integrity_check") == [("ok",)]
    logs = Logs(storage)
    log = await logs.open()
    last = {channel: seq for channel, _, seq, _ in in_file(storage)}
    for channel, seq in last.items():
        assert (await log.append(draft(channel)))[0].seq == seq + 1
    await logs.close_all()
