"""The records of the SQLite engine: small values by table and key, with an expiry."""

from __future__ import annotations

import sqlite3

from tidewire.log.engine import Change
from tidewire.log.sqlite_file import blob, insert

MOST_REMEMBERED = 16_384


class Memory:
    """Records as this process makes them, with their expiry: right until another one commits.

    Those who acknowledge write the same records over and over, and each statement of a read gives
    up the interpreter's lock, for which the loop then has to be waited.
    """

    __slots__ = ("_connection", "_version", "records")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.records: dict[tuple[str, str], tuple[bytes | None, int]] = {}
        self._version = -1

    def begin(self) -> None:
        """To be called in a transaction, before a record is read in it.

        All is forgotten if another connection has committed since the last time.
        """
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version or len(self.records) > MOST_REMEMBERED:
            self.records.clear()
        self._version = version

    def forget(self) -> None:
        """The transaction was not committed."""
        self.records.clear()


class Changes:
    """The changes of one transaction: each record is written once, at the end."""

    __slots__ = ("_begun", "_changed", "_connection", "_memory", "_now_us")

    def __init__(self, connection: sqlite3.Connection, memory: Memory, now_us: int) -> None:
        self._connection = connection
        self._memory = memory
        self._now_us = now_us
        self._begun = False
        self._changed: dict[tuple[str, str], None] = {}

    def make(self, table: str, key: str, change: Change, ttl: float) -> bytes | Exception | None:
        """As the engine's ``change``, in order; returns what *change* raises."""
        if not self._begun:
            self._begun = True
            self._memory.begin()
        record, now_us = (table, key), self._now_us
        known = self._memory.records.get(record)
        if known is None:
            old = value_of(self._connection, table, key, now_us)
        else:
            old = known[0] if known[1] > now_us else None
        try:
            value = change(old)
        except Exception as error:
            return error
        if value is not old:
            self._memory.records[record] = value, now_us + int(ttl * 1_000_000)
            self._changed[record] = None
        return value

    def write(self) -> None:
        """Bring the changes to the file."""
        kept: list[object] = []
        gone: list[tuple[str, str]] = []
        for record in self._changed:
            value, expires = self._memory.records[record]
            if value is None:
                gone.append(record)
            else:
                kept += (*record, blob(value), expires)
        insert(self._connection, "INSERT OR REPLACE INTO records", 4, kept)
        if gone:
            self._connection.executemany("DELETE FROM records WHERE kind = ? AND key = ?", gone)


def value_of(connection: sqlite3.Connection, table: str, key: str, now_us: int) -> bytes | None:
    """A record's value, if it has not expired."""
    row = connection.execute(
        "SELECT value FROM records WHERE kind = ? AND key = ? AND expires > ?", (table, key, now_us)
    ).fetchone()
    if row is None:
        return None
    value: bytes = row[0]
    return value


def records_of(
    connection: sqlite3.Connection, table: str, prefix: str, after: str, limit: int, now_us: int
) -> list[tuple[str, bytes]]:
    """As the engine's ``scan``."""
    rows = connection.execute(
        "SELECT key, value FROM records WHERE kind = ? AND key >= ? AND key > ? AND expires > ? "
        "ORDER BY key LIMIT ?",
        (table, prefix, after, now_us, limit),
    )
    found: list[tuple[str, bytes]] = []
    for key, value in rows:
        if not key.startswith(prefix):
            break
        found.append((key, value))
    return found


def prune_records(connection: sqlite3.Connection, now_us: int, most: int) -> int:
    """Delete at most *most* expired records; return how many were deleted."""
    return connection.execute(
        "DELETE FROM records WHERE (kind, key) IN "
        "(SELECT kind, key FROM records WHERE expires <= ? ORDER BY expires LIMIT ?)",
        (now_us, most),
    ).rowcount
