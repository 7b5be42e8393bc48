"""The SQLite engine: the contract."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.log.contract import DurableContract, EngineContract, SharedContract
from tests.log.harness import Storage
from tests.log.sqlite_storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TestSqlite(EngineContract, DurableContract, SharedContract):
    """The contract."""

    examples = 25

    @pytest.fixture
    def storages(self, tmp_path: Path) -> Callable[[], Storage]:
        numbers = itertools.count()
        return lambda: SqliteStorage(tmp_path / f"{next(numbers)}.db")
