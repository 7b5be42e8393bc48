"""Deletes from a SQLite log what no reader may see any more, a bounded amount at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from tidewire.log.sqlite_file import transaction
from tidewire.log.sqlite_floors import CHANNEL_COLUMNS, Channel, Floors
from tidewire.log.sqlite_records import prune_records
from tidewire.model import Namespaces

_ROWS = 2_000
_CHANNELS = 500
# Discarded messages stay in the file so long, for the feeds of other processes.
_FEED_US = 10_000_000


class Pruner:
    """Visits the channels in turn. Readers do not depend on it: they apply the same bounds."""

    def __init__(
        self, connection: sqlite3.Connection, namespaces: Namespaces, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._floors = Floors(connection, namespaces, clock)
        self._after = 0

    def prune(self) -> bool:
        """Delete a bounded amount; return whether more is left.

        Raises:
            EngineUnavailable: if nothing was deleted.
        """
        with transaction(self._connection, "the log cannot be pruned"):
            now_us = int(self._clock() * 1_000_000)
            return (
                max(
                    self._messages(),
                    self._payloads(now_us),
                    self._keys(now_us),
                    prune_records(self._connection, now_us, _ROWS),
                )
                >= _ROWS
            )

    def _messages(self) -> int:
        left = _ROWS
        rows = self._connection.execute(
            f"SELECT {CHANNEL_COLUMNS} FROM channels "  # noqa: S608
            "WHERE number > ? AND last_id > deleted_id ORDER BY number LIMIT ?",
            (self._after, _CHANNELS),
        ).fetchall()
        for row in rows:
            channel = Channel(*row)
            left -= self._channel(channel, left)
            if left <= 0:
                return _ROWS
            self._after = channel.number
        if len(rows) < _CHANNELS:
            self._after = 0
        return _ROWS - left

    def _channel(self, channel: Channel, most: int) -> int:
        run = self._connection.execute
        floor = min(self._floors.of(channel), int(self._clock() * 1_000_000) - _FEED_US)
        doomed = run(
            "SELECT id, seq FROM messages WHERE channel = ? AND id <= ? ORDER BY id LIMIT ?",
            (channel.number, floor, most),
        ).fetchall()
        if doomed:
            last_id, last_seq = doomed[-1]
            run("DELETE FROM messages WHERE channel = ? AND id <= ?", (channel.number, last_id))
            run("UPDATE channels SET deleted_id = ? WHERE number = ?", (last_id, channel.number))
            if last_id > channel.discarded_id:
                run(
                    "UPDATE channels SET discarded_id = ?, discarded_seq = ? WHERE number = ?",
                    (last_id, last_seq, channel.number),
                )
        return len(doomed)

    def _payloads(self, now_us: int) -> int:
        """Empty the messages whose time to live is over. The rows stay: they have their place."""
        return self._connection.execute(
            "UPDATE messages SET data = x'', event = NULL, headers = NULL, gap = 'expired' "
            "WHERE id IN (SELECT id FROM messages WHERE expires > 0 AND gap IS NULL "
            "AND expires <= ? ORDER BY expires LIMIT ?)",
            ((now_us - _FEED_US) // 1000, _ROWS),
        ).rowcount

    def _keys(self, now_us: int) -> int:
        return self._connection.execute(
            "DELETE FROM keys WHERE (channel, key) IN "
            "(SELECT channel, key FROM keys WHERE expires <= ? ORDER BY expires LIMIT ?)",
            (now_us, _ROWS),
        ).rowcount
