"""Hearing of what others append: woken, and without."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.log.harness import Logs, draft
from tests.log.sqlite_storage import SqliteStorage
from tidewire.log import sqlite_following
from tidewire.log.sqlite_wake import Wake

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


async def test_a_change_of_a_record_alone_wakes_nobody(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await logs.open()
    woken: list[int] = []
    monkeypatch.setattr(Wake, "others", lambda _: woken.append(1))
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
