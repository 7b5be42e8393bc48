"""Hearing of what others append: woken, and without."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.log.harness import Logs, draft, drafts, facts
from tests.log.sqlite_storage import SqliteStorage
from tidewire.log import sqlite_following
from tidewire.log.sqlite_notes import LARGEST
from tidewire.log.sqlite_wake import Wake
from tidewire.log.sqlite_writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

NEVER = 1e6
"""Seconds until a look for which no test waits."""


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(SqliteStorage(tmp_path / "log.db"))


@pytest.fixture
def _no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself."""
    monkeypatch.setattr(sqlite_following, "WATCH_SECONDS", NEVER)


@pytest.mark.usefixtures("_no_looks")
async def test_an_append_wakes_the_others(logs: Logs) -> None:
    one, two, three = [await logs.open() for _ in range(3)]
    for writer in (one, two, three, one):
        (receipt,) = await writer.append(draft())
        for reader in (one, two, three):
            await reader.fed_up_to(receipt.id)
    await logs.close_all()


@pytest.mark.usefixtures("_no_looks")
async def test_a_purge_wakes_the_others(logs: Logs) -> None:
    one, two = [await logs.open() for _ in range(2)]
    receipt = await one.engine.purge("a", forget=True)
    await two.fed_up_to(receipt.id)
    await logs.close_all()


@pytest.mark.usefixtures("_no_looks")
async def test_wakes_that_come_while_reading_or_writing_are_not_lost(logs: Logs) -> None:
    one, two = [await logs.open() for _ in range(2)]
    last = 0
    for number in range(300):
        (receipt,) = await one.append(draft())
        last = receipt.id
        if number % 3 == 0:
            two.engine.append([draft("b")])
    await two.fed_up_to(last)
    await logs.close_all()


@pytest.fixture
def _no_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads finds nothing."""
    monkeypatch.setattr(Writer, "catch_up", lambda _: [])


@pytest.mark.usefixtures("_no_looks", "_no_reads")
async def test_small_messages_need_not_be_read(logs: Logs) -> None:
    one, two = [await logs.open() for _ in range(2)]
    for number in range(50):
        writer, reader = (one, two) if number % 2 else (two, one)
        (*_, last) = await writer.append(*drafts(1 + number % 5))
        await reader.fed_up_to(last.id)
    receipt = await one.engine.purge("a", forget=False)
    await two.fed_up_to(receipt.id)
    assert [facts(message) for message in one.fed] == [facts(message) for message in two.fed]
    await logs.close_all()


@pytest.mark.usefixtures("_no_looks")
@pytest.mark.parametrize("size", [LARGEST + 1, 3 * LARGEST])
async def test_large_messages_are_read(logs: Logs, size: int) -> None:
    one, two = [await logs.open() for _ in range(2)]
    for length in (size, 10, size):
        (receipt,) = await one.append(draft(data=b'"' + b"x" * length + b'"'))
        await two.fed_up_to(receipt.id)
    assert [facts(message) for message in one.fed] == [facts(message) for message in two.fed]
    await logs.close_all()


@pytest.mark.usefixtures("_no_looks")
async def test_what_a_lost_note_told_is_read_after_the_next(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = [await logs.open() for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(Wake, "tell_others", lambda _, note: None)
        await one.append(*drafts(3))
    (receipt,) = await one.append(draft())
    await two.fed_up_to(receipt.id)
    assert len(two.fed) == 4
    await logs.close_all()


@pytest.mark.usefixtures("_no_looks")
async def test_a_note_that_comes_late_or_twice_changes_nothing(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = [await logs.open() for _ in range(2)]
    notes: list[tuple[Wake, bytes]] = []
    tell = Wake.tell_others

    def keep(wake: Wake, note: bytes) -> None:
        notes.append((wake, note))

    with monkeypatch.context() as patch:
        patch.setattr(Wake, "tell_others", keep)
        await one.append(*drafts(2))
        await two.append(draft())  # brings what the note would have told
        await one.append(draft())
    for wake, note in [*notes, *notes]:
        tell(wake, note)
    (receipt,) = await one.append(draft())
    await two.fed_up_to(receipt.id)
    assert [message.seq for message in two.fed] == [1, 2, 3, 4, 5]
    await logs.close_all()


async def test_a_change_of_a_record_alone_wakes_nobody(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await logs.open()
    woken: list[bytes] = []
    monkeypatch.setattr(Wake, "has_others", lambda _: True)
    monkeypatch.setattr(Wake, "tell_others", lambda _, note: woken.append(note))
    await one.engine.change("table", "key", lambda _: b"value", 60)
    assert not woken
    await one.append(draft())
    assert woken
    await logs.close_all()


async def test_without_sockets_they_look(
    logs: Logs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log.db-wake").touch()
    with caplog.at_level(logging.WARNING):
        one, two = [await logs.open() for _ in range(2)]
    assert "cannot wake each other (Not a directory)" in caplog.text
    assert "after up to 50 ms" in caplog.text
    (receipt,) = await one.append(draft())
    await two.fed_up_to(receipt.id)
    await logs.close_all()


async def test_a_folder_that_was_cleared_is_made_again(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_following, "CHECK_LOOKS", 1)
    one, two = [await logs.open() for _ in range(2)]
    shutil.rmtree(tmp_path / "log.db-wake")
    while not (tmp_path / "log.db-wake").exists():
        (receipt,) = await one.append(draft())
        await two.fed_up_to(receipt.id)
    await logs.close_all()
