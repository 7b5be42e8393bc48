"""A file for the tests of the SQLite engine, and ways to look into it from beside."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tidewire.log.sqlite import SqliteEngine
from tidewire.log.sqlite_writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.log.harness import Clock
    from tidewire.log import Engine
    from tidewire.model import Namespaces


class SqliteStorage:
    """One log's file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def engine(
        self, namespaces: Namespaces, *, idempotency_window: float, clock: Callable[[], float]
    ) -> Engine:
        """An engine on the file."""
        return SqliteEngine(
            str(self.path), namespaces, idempotency_window=idempotency_window, clock=clock
        )

    async def clean(self, engine: Engine, clock: Clock) -> None:
        """Prune to the end, from another connection as another process would."""
        with closing(
            Writer(str(self.path), engine.namespaces, idempotency_window=0, clock=clock)
        ) as writer:
            while writer.prune():
                pass

    @property
    def wal(self) -> Path:
        """The write-ahead log beside the file."""
        return self.path.with_name(self.path.name + "-wal")

    def commits(self) -> int:
        """How many transactions the write-ahead log has, from its own bytes.

        The last frame of a transaction has the database's size in pages; frames with other salts
        than the head's are left from before.
        """
        data = self.wal.read_bytes()
        if not data:
            return 0
        page_size, salts = struct.unpack_from(">I", data, 8)[0], data[16:24]
        frames = range(32, len(data), 24 + page_size)
        return sum(
            data[at + 4 : at + 8] != bytes(4) and data[at + 8 : at + 16] == salts for at in frames
        )

    def query(self, sql: str) -> list[Any]:
        """The rows that a statement yields, run on a connection of its own."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()
