"""The file of the SQLite engine: its tables, connections to it, and what stands around a statement.

One table has the messages of all channels in id order (its rowid), so an append writes at the end
of one b-tree; an index finds those of a channel. Ids and ``seq`` are given inside the transaction
that stores them, from what the file says then: so several processes may share a file.

The file is written in WAL mode with ``synchronous=FULL``: a committed transaction is on the disk
before it is answered, as far as the disk keeps its word (see SQLite's PRAGMA synchronous).
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic, sleep

from tidewire.model import EngineUnavailable, Message
from tidewire.model.cursor import new_epoch

SCHEMA_VERSION = 2
ROWS_A_STATEMENT = 64
LARGE_BLOB = 8192
BUSY_SECONDS = 5.0
RETRY_SECONDS = 0.01
TURN_SECONDS = 0.001
"""Between two tries to write while another process does; a transaction takes about as long."""


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
    version INTEGER NOT NULL DEFAULT 0,
    version_id INTEGER NOT NULL DEFAULT 0,
    version_seq INTEGER NOT NULL DEFAULT 0,
    discarded_seq INTEGER NOT NULL DEFAULT 0,
    discarded_id INTEGER NOT NULL DEFAULT 0,
    forgotten_id INTEGER NOT NULL DEFAULT 0,
    deleted_id INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time INTEGER NOT NULL,
    data BLOB NOT NULL,
    event TEXT,
    headers BLOB,
    binary INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    gap TEXT
) STRICT;
CREATE INDEX messages_by_channel ON messages (channel, id);
CREATE INDEX messages_by_expiry ON messages (expires) WHERE expires > 0 AND gap IS NULL;
CREATE TABLE keys (
    channel INTEGER NOT NULL,
    key TEXT NOT NULL,
    id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (channel, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_expiry ON keys (expires);
CREATE TABLE records (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_by_expiry ON records (expires);
"""

#: What ``message_of`` takes, of ``messages m JOIN channels c``.
COLUMNS = "m.id, c.name, m.seq, m.time, m.data, m.event, m.headers, m.binary, m.expires, m.gap"

Row = tuple[int, str, int, int, bytes, str | None, bytes | None, int, int, str | None]


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
            _switch_to_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -16384")
        except sqlite3.Error:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise EngineUnavailable(f"cannot open the log {path}: {error}") from error
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Have the file written in WAL mode, which stays with the file.

    Of several processes that open a new file together, all want to switch it, and each may find
    that another has begun. SQLite's busy handler does not wait then: so it is waited here.
    """
    deadline = monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                raise
        sleep(RETRY_SECONDS)


def set_up(connection: sqlite3.Connection, path: str) -> tuple[str, int]:
    """Make the tables in a new file; return the log's epoch and its newest id.

    Raises:
        EngineUnavailable: if the file is not, and cannot become, a log of this version.
    """
    run = connection.execute
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


def _begin(connection: sqlite3.Connection) -> None:
    """Begin to write as soon as no other process does.

    SQLite's busy handler waits the longer the longer it has waited, up to a tenth of a second: of
    several processes that write all the time, those that are behind would stay behind. Here all
    that wait try equally often.
    """
    deadline = 0.0
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            now = monotonic()
            deadline = deadline or now + BUSY_SECONDS
            if now >= deadline:
                raise
        sleep(random.uniform(0.5, 1.5) * TURN_SECONDS)  # noqa: S311  # who waits tries by chance


def wait_in_turns(connection: sqlite3.Connection) -> None:
    """Have transactions of *connection* not wait for others by SQLite's rule, but by ours."""
    connection.execute("PRAGMA busy_timeout = 0")


@contextmanager
def transaction(connection: sqlite3.Connection, trouble: str) -> Iterator[None]:
    """One transaction that writes: on the disk when the block is left, or nothing of it.

    Raises:
        EngineUnavailable: which says *trouble* and why, if SQLite fails.
    """
    try:
        _begin(connection)
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise EngineUnavailable(f"{trouble}: {error}") from error


def blob(data: bytes) -> bytes | bytearray:
    """*data* as it is handed to SQLite.

    sqlite3 knows at once how to store a ``bytearray``. Of ``bytes`` it finds that out anew for each
    value, which takes longer than to copy a short one.
    """
    return bytearray(data) if len(data) < LARGE_BLOB else data


def insert(
    connection: sqlite3.Connection, statement: str, width: int, values: Sequence[object]
) -> None:
    """Complete *statement* by rows of *width* columns, whose *values* are in one sequence.

    Many to a statement, as each gives up the interpreter's lock, and has to wait for it then.
    """
    row = "(" + ",".join("?" * width) + ")"
    step = ROWS_A_STATEMENT * width
    for begin in range(0, len(values), step):
        part = values[begin : begin + step]
        rows = ",".join([row] * (len(part) // width))
        connection.execute(f"{statement} VALUES {rows}", part)


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One consistent view of the file for several statements.

    Raises:
        EngineUnavailable: if SQLite fails.
    """
    try:
        connection.execute("BEGIN")
        try:
            yield
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise EngineUnavailable(f"the log cannot be read: {error}") from error


def message_of(epoch: str, row: Row) -> Message:
    """The message that a row holds."""
    id, channel, seq, at, data, event, headers, binary, expires, gap = row
    if gap is not None:
        seq = 0  # the row's is its place in the channel
    return Message(epoch, id, channel, seq, at, data, event, headers, bool(binary), expires, gap)
