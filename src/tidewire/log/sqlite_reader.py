"""What reads a SQLite log: several beside the writer, each on a thread of its own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping

from tidewire.log.engine import Floor, page_of
from tidewire.log.sqlite_file import connect, message_of, snapshot
from tidewire.log.sqlite_floors import CHANNEL_COLUMNS, Channel, Floors
from tidewire.log.sqlite_records import records_of, value_of
from tidewire.model import EngineUnavailable, Message, Namespaces, Page, Since


class Reader:
    """Reads. Lives on one thread, beside the writer.

    Every method raises ``EngineUnavailable`` if the file cannot be read.
    """

    def __init__(
        self, path: str, epoch: str, namespaces: Namespaces, clock: Callable[[], float] = time.time
    ) -> None:
        self._connection = connect(path)
        self._epoch = epoch
        self._clock = clock
        self._floors = Floors(self._connection, namespaces, clock)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def page(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        """The engine's ``read``, in one snapshot of the file."""
        run = self._connection.execute
        messages: list[Message] = []
        floors: dict[str, Floor] = {}
        now_ms = self._now_us() // 1000
        with snapshot(self._connection):
            for name, position in after.items():
                channel = self._channel(name)
                if channel is None:
                    continue
                floor = self._floors.of(channel)
                floors[name] = Floor(floor, channel.forgotten_id)
                rows = run(
                    "SELECT id, ?, seq, time, data, event, headers, binary, expires, gap "
                    "FROM messages WHERE channel = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?",
                    (name, channel.number, max(position, floor), upto, limit + 1),
                )
                size = 0
                for count, row in enumerate(rows):
                    message = message_of(self._epoch, row)
                    messages.append(message)
                    if message.expires and message.is_withdrawn(now_ms):
                        continue
                    size += message.size
                    if size > max_bytes and count:  # the page is cut before this one at the latest
                        break
        if len(after) > 1:
            messages.sort(key=lambda message: message.id)
        return page_of(messages, floors, after, upto, limit, max_bytes, now_ms)

    def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        """The engine's ``starts``."""
        with snapshot(self._connection):
            return {name: self._start(name, since) for name in channels}

    def _start(self, name: str, since: Since) -> int:
        channel = self._channel(name)
        if channel is None:
            return 0
        floor = self._floors.of(channel)
        if since.kind == "last":
            row = self._connection.execute(
                "SELECT id FROM messages WHERE channel = ? AND id > ? "
                "ORDER BY id DESC LIMIT 1 OFFSET ?",
                (channel.number, floor, since.number),
            ).fetchone()
            return floor if row is None else int(row[0])
        if since.kind == "time":
            return max(floor, since.number * 1000 - 1)
        return floor

    def newest(self, channels: Iterable[str], upto: int) -> dict[str, tuple[int, int]]:
        """The engine's ``newest``."""
        run = self._connection.execute
        found: dict[str, tuple[int, int]] = {}
        with snapshot(self._connection):
            for name in channels:
                row = run(
                    "SELECT last_id, last_time, number, deleted_id FROM channels WHERE name = ?",
                    (name,),
                ).fetchone()
                if row is None:
                    found[name] = 0, 0
                elif row[0] <= upto:
                    found[name] = row[0], row[1]
                else:
                    before = run(
                        "SELECT id, time FROM messages WHERE channel = ? AND id <= ? "
                        "ORDER BY id DESC LIMIT 1",
                        (row[2], upto),
                    ).fetchone()
                    deleted_id = min(row[3], upto)
                    found[name] = before or (deleted_id, deleted_id // 1000)
        return found

    def head(self) -> int:
        """The engine's ``head``."""
        try:
            return int(self._connection.execute("SELECT last_id FROM log").fetchone()[0])
        except sqlite3.Error as error:
            raise EngineUnavailable(f"the log cannot be read: {error}") from error

    def get(self, table: str, key: str) -> bytes | None:
        """The engine's ``get``."""
        with snapshot(self._connection):
            return value_of(self._connection, table, key, self._now_us())

    def scan(self, table: str, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """The engine's ``scan``."""
        with snapshot(self._connection):
            return records_of(self._connection, table, prefix, after, limit, self._now_us())

    def _now_us(self) -> int:
        return int(self._clock() * 1_000_000)

    def _channel(self, name: str) -> Channel | None:
        row = self._connection.execute(
            f"SELECT {CHANNEL_COLUMNS} FROM channels WHERE name = ?",  # noqa: S608
            (name,),
        ).fetchone()
        return None if row is None else Channel(*row)
