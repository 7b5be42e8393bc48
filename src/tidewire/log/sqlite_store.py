"""The SQL of the SQLite engine: what runs on its threads.

One table has the messages of all channels in id order (its rowid), so an append writes at the end
of one b-tree; an index finds those of a channel. Ids and ``seq`` are given inside the transaction
that stores them, from what the file says then: so several processes may share a file.

The file is written in WAL mode with ``synchronous=FULL``: a committed transaction is on the disk
before it is answered, as far as the disk keeps its word (see SQLite's PRAGMA synchronous).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tidewire.log.engine import page_of
from tidewire.model import Draft, EngineUnavailable, Message, Namespaces, Page, Receipt, Since
from tidewire.model.cursor import new_epoch

SCHEMA_VERSION = 1
BUSY_SECONDS = 5.0

_SCHEMA = """
CREATE TABLE log (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,
    last_id INTEGER NOT NULL
) STRICT;
CREATE TABLE channels (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    discarded_seq INTEGER NOT NULL DEFAULT 0,
    discarded_id INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time INTEGER NOT NULL,
    data BLOB NOT NULL,
    event TEXT,
    headers BLOB,
    binary INTEGER NOT NULL
) STRICT;
CREATE INDEX messages_by_channel ON messages (channel, id);
CREATE TABLE keys (
    channel INTEGER NOT NULL,
    key TEXT NOT NULL,
    id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (channel, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_expiry ON keys (expires);
"""

_COLUMNS = "m.id, c.name, m.seq, m.time, m.data, m.event, m.headers, m.binary"
_ROWS_A_STATEMENT = 64
_PRUNE_ROWS = 2_000
_PRUNE_CHANNELS = 500
# Discarded messages stay in the file so long, for the feeds of other processes.
_FEED_SECONDS = 10.0


class Appended(NamedTuple):
    """What one transaction did: a receipt for each draft, and every message since the last.

    ``messages`` are in id order and include those that other processes wrote in between.
    """

    receipts: list[Receipt]
    messages: list[Message]


class _Channel:
    __slots__ = ("last_id", "number", "seq")

    def __init__(self, number: int, seq: int) -> None:
        self.number = number
        self.seq = seq
        self.last_id = 0


def connect(path: str) -> sqlite3.Connection:
    """A connection that is used by one thread at a time.

    Raises:
        EngineUnavailable: if the file cannot be opened.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -16384")
        except sqlite3.Error:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise EngineUnavailable(f"cannot open the log {path}: {error}") from error
    return connection


class Writer:
    """Appends and prunes. Lives on one thread."""

    def __init__(
        self,
        path: str,
        namespaces: Namespaces,
        *,
        idempotency_window: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        parent = Path(path).parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineUnavailable(f"cannot make the folder {parent}: {error.strerror}") from error
        self._connection = connect(path)
        self._namespaces = namespaces
        self._key_window_us = int(idempotency_window * 1_000_000)
        self._clock = clock
        try:
            self.epoch, self.seen = self._set_up(path)
        except EngineUnavailable:
            self._connection.close()
            raise
        self._prune_after = 0

    def _set_up(self, path: str) -> tuple[str, int]:
        """Make the tables in a new file; return the log's epoch and its newest id."""
        run = self._connection.execute
        try:
            run("BEGIN IMMEDIATE")
            version = run("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    run(statement)
                run("INSERT INTO log VALUES (1, ?, 0)", (new_epoch(),))
                run(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise EngineUnavailable(
                    f"{path} was written by another version of tidewire: its schema is {version}, "
                    f"this version's is {SCHEMA_VERSION}"
                )
            epoch, last_id = run("SELECT epoch, last_id FROM log").fetchone()
            run("COMMIT")
        except sqlite3.Error as error:
            raise EngineUnavailable(f"cannot use {path} as a log: {error}") from error
        return epoch, last_id

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def append(self, drafts: Sequence[Draft]) -> Appended:
        """Store *drafts* in one transaction, on the disk when this returns.

        Raises:
            EngineUnavailable: if nothing was stored.
        """
        run = self._connection.execute
        try:
            run("BEGIN IMMEDIATE")
            try:
                appended = self._append(drafts)
                run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    run("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise EngineUnavailable(f"the log did not take the message: {error}") from error
        if appended.messages:
            self.seen = appended.messages[-1].id
        return appended

    def _append(self, drafts: Sequence[Draft]) -> Appended:
        run = self._connection.execute
        now_us = int(self._clock() * 1_000_000)
        now_ms = now_us // 1000
        last_id = run("SELECT last_id FROM log").fetchone()[0]
        messages = self._foreign(last_id)
        channels = self._channels({draft.channel for draft in drafts})
        receipts: list[Receipt] = []
        rows: list[object] = []
        keys: dict[tuple[int, str], Receipt] = {}
        for draft in drafts:
            channel = channels[draft.channel]
            if draft.key is not None:
                first = keys.get((channel.number, draft.key)) or self._known(
                    channel.number, draft, now_us
                )
                if first is not None:
                    receipts.append(first)
                    continue
            last_id = now_us if now_us > last_id else last_id + 1
            channel.seq += 1
            channel.last_id = last_id
            receipt = Receipt(draft.channel, last_id, channel.seq)
            receipts.append(receipt)
            if draft.key is not None:
                keys[channel.number, draft.key] = receipt
            message = Message(
                self.epoch, last_id, draft.channel, channel.seq, now_ms,
                draft.data, draft.event, draft.headers, draft.binary,
            )  # fmt: skip
            messages.append(message)
            rows += (
                last_id, channel.number, channel.seq, now_ms,
                draft.data, draft.event, draft.headers, draft.binary,
            )  # fmt: skip
        self._insert(rows, 8, "INSERT INTO messages VALUES ")
        changed = [(c.seq, c.last_id, now_ms, c.number) for c in channels.values() if c.last_id]
        self._connection.executemany(
            "UPDATE channels SET seq = ?, last_id = ?, last_time = ? WHERE number = ?", changed
        )
        if keys:
            expires = now_us + self._key_window_us
            self._connection.executemany(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)",
                [
                    (number, key, receipt.id, receipt.seq, expires)
                    for (number, key), receipt in keys.items()
                ],
            )
        run("UPDATE log SET last_id = ?", (last_id,))
        return Appended(receipts, messages)

    def _insert(self, values: list[object], width: int, statement: str) -> None:
        """Insert rows many at a time: each statement gives up the interpreter's lock only once."""
        row = "(" + ",".join("?" * width) + ")"
        step = _ROWS_A_STATEMENT * width
        begin = 0
        while begin < len(values):
            part = values[begin : begin + step]
            count = len(part) // width
            self._connection.execute(statement + ",".join([row] * count), part)
            begin += len(part)

    def _channels(self, names: set[str]) -> dict[str, _Channel]:
        """The channels' rows, made where they are missing."""
        run = self._connection.execute
        found = {}
        for name in names:
            row = run("SELECT number, seq FROM channels WHERE name = ?", (name,)).fetchone()
            if row is None:
                number = run(
                    "INSERT INTO channels (name, seq, last_id, last_time) VALUES (?, 0, 0, 0)",
                    (name,),
                ).lastrowid
                assert number is not None
                row = number, 0
            found[name] = _Channel(*row)
        return found

    def _known(self, channel: int, draft: Draft, now_us: int) -> Receipt | None:
        row = self._connection.execute(
            "SELECT id, seq FROM keys WHERE channel = ? AND key = ? AND expires > ?",
            (channel, draft.key, now_us),
        ).fetchone()
        return None if row is None else Receipt(draft.channel, *row)

    def _foreign(self, last_id: int) -> list[Message]:
        """What other processes have appended since this one looked last."""
        if last_id <= self.seen:
            return []
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM messages m JOIN channels c ON c.number = m.channel "  # noqa: S608
            "WHERE m.id > ? AND m.id <= ? ORDER BY m.id",
            (self.seen, last_id),
        )
        return [_message(self.epoch, row) for row in rows]

    def catch_up(self) -> list[Message]:
        """What other processes have appended, without appending anything."""
        try:
            last_id = self._connection.execute("SELECT last_id FROM log").fetchone()[0]
            messages = self._foreign(last_id)
        except sqlite3.Error as error:
            raise EngineUnavailable(f"the log cannot be read: {error}") from error
        self.seen = max(self.seen, last_id)
        return messages

    def prune(self) -> bool:
        """Delete what no reader may see any more, a bounded amount; return whether more is left.

        Channels are visited in turn. Readers do not depend on it: they apply the same bounds.

        Raises:
            EngineUnavailable: if nothing was deleted.
        """
        run = self._connection.execute
        try:
            run("BEGIN IMMEDIATE")
            try:
                left = _PRUNE_ROWS
                rows = run(
                    "SELECT number, name, seq, discarded_seq, discarded_id FROM channels "
                    "WHERE number > ? AND seq > discarded_seq ORDER BY number LIMIT ?",
                    (self._prune_after, _PRUNE_CHANNELS),
                ).fetchall()
                for row in rows:
                    left -= self._prune_channel(row, left)
                    if left <= 0:
                        break
                    self._prune_after = row[0]
                else:
                    if len(rows) < _PRUNE_CHANNELS:
                        self._prune_after = 0
                now_us = int(self._clock() * 1_000_000)
                keys = run(
                    "DELETE FROM keys WHERE (channel, key) IN "
                    "(SELECT channel, key FROM keys WHERE expires <= ? ORDER BY expires LIMIT ?)",
                    (now_us, _PRUNE_ROWS),
                ).rowcount
                run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    run("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise EngineUnavailable(f"the log cannot be pruned: {error}") from error
        return left <= 0 or keys >= _PRUNE_ROWS

    def _prune_channel(self, row: tuple[int, str, int, int, int], most: int) -> int:
        run = self._connection.execute
        number, name, seq, discarded_seq, discarded_id = row
        cutoff = _cutoff(self._clock, self._namespaces, name)
        floor = _floor(
            self._connection,
            number,
            seq,
            discarded_seq,
            discarded_id,
            self._namespaces,
            name,
            cutoff,
        )
        floor = min(floor, int((self._clock() - _FEED_SECONDS) * 1_000_000))
        if floor <= discarded_id:
            return 0
        doomed = run(
            "SELECT id, seq FROM messages WHERE channel = ? AND id <= ? ORDER BY id LIMIT ?",
            (number, floor, most),
        ).fetchall()
        if doomed:
            last_id, last_seq = doomed[-1]
            run("DELETE FROM messages WHERE channel = ? AND id <= ?", (number, last_id))
            run(
                "UPDATE channels SET discarded_id = ?, discarded_seq = ? WHERE number = ?",
                (last_id, last_seq, number),
            )
        return len(doomed)


class Reader:
    """Reads. Lives on one thread, beside the writer."""

    def __init__(
        self, path: str, epoch: str, namespaces: Namespaces, clock: Callable[[], float] = time.time
    ) -> None:
        self._connection = connect(path)
        self._epoch = epoch
        self._namespaces = namespaces
        self._clock = clock

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def page(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        """The engine's ``read``, in one snapshot of the file."""
        run = self._connection.execute
        messages: list[Message] = []
        floors: dict[str, int] = {}
        with self._snapshot():
            for name, position in after.items():
                found = self._channel(name)
                if found is None:
                    continue
                number, floor = found
                floors[name] = floor
                rows = run(
                    "SELECT id, ?, seq, time, data, event, headers, binary FROM messages "
                    "WHERE channel = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?",
                    (name, number, max(position, floor), upto, limit + 1),
                )
                size = 0
                for count, row in enumerate(rows):
                    messages.append(_message(self._epoch, row))
                    size += messages[-1].size
                    if size > max_bytes and count:  # the page is cut before this one at the latest
                        break
        if len(after) > 1:
            messages.sort(key=lambda message: message.id)
        return page_of(messages, floors, after, upto, limit, max_bytes)

    def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        """The engine's ``starts``."""
        with self._snapshot():
            return {name: self._start(name, since) for name in channels}

    def _start(self, name: str, since: Since) -> int:
        found = self._channel(name)
        if found is None:
            return 0
        number, floor = found
        if since.kind == "last":
            row = self._connection.execute(
                "SELECT id FROM messages WHERE channel = ? AND id > ? "
                "ORDER BY id DESC LIMIT 1 OFFSET ?",
                (number, floor, since.number),
            ).fetchone()
            return floor if row is None else int(row[0])
        if since.kind == "time":
            return max(floor, since.number * 1000 - 1)
        return floor

    def newest(self, channels: Iterable[str], upto: int) -> dict[str, tuple[int, int]]:
        """The engine's ``newest``."""
        run = self._connection.execute
        found: dict[str, tuple[int, int]] = {}
        with self._snapshot():
            for name in channels:
                row = run(
                    "SELECT last_id, last_time, number, discarded_id FROM channels WHERE name = ?",
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
                    discarded_id = min(row[3], upto)
                    found[name] = before or (discarded_id, discarded_id // 1000)
        return found

    def head(self) -> int:
        """The engine's ``head``."""
        try:
            return int(self._connection.execute("SELECT last_id FROM log").fetchone()[0])
        except sqlite3.Error as error:
            raise EngineUnavailable(f"the log cannot be read: {error}") from error

    def _channel(self, name: str) -> tuple[int, int] | None:
        """Number and floor of a channel."""
        row = self._connection.execute(
            "SELECT number, seq, discarded_seq, discarded_id FROM channels WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return None
        number, seq, discarded_seq, discarded_id = row
        cutoff = _cutoff(self._clock, self._namespaces, name)
        return number, _floor(
            self._connection,
            number,
            seq,
            discarded_seq,
            discarded_id,
            self._namespaces,
            name,
            cutoff,
        )

    def _snapshot(self) -> _Snapshot:
        return _Snapshot(self._connection)


class _Snapshot:
    """One consistent view of the file for several statements."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        try:
            self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise EngineUnavailable(f"the log cannot be read: {error}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise EngineUnavailable(f"the log cannot be read: {error}") from error


def _cutoff(clock: Callable[[], float], namespaces: Namespaces, name: str) -> int:
    """Ids below it are too old: an id is the time of its acceptance, in µs."""
    return int(clock() * 1_000_000) - namespaces.retention(name).ttl_us


def _floor(
    connection: sqlite3.Connection,
    number: int,
    seq: int,
    discarded_seq: int,
    discarded_id: int,
    namespaces: Namespaces,
    name: str,
    cutoff: int,
) -> int:
    """The newest id of the channel that is discarded, by size or by age, deleted or not yet."""
    floor = discarded_id
    excess = seq - discarded_seq - namespaces.retention(name).size
    if excess > 0:
        row = connection.execute(
            "SELECT id FROM messages WHERE channel = ? ORDER BY id LIMIT 1 OFFSET ?",
            (number, excess - 1),
        ).fetchone()
        if row is not None:
            floor = max(floor, row[0])
    row = connection.execute(
        "SELECT id FROM messages WHERE channel = ? AND id < ? ORDER BY id DESC LIMIT 1",
        (number, cutoff),
    ).fetchone()
    return floor if row is None else max(floor, row[0])


def _message(
    epoch: str, row: tuple[int, str, int, int, bytes, str | None, bytes | None, int]
) -> Message:
    id, channel, seq, at, data, event, headers, binary = row
    return Message(epoch, id, channel, seq, at, data, event, headers, bool(binary))
