"""What writes a SQLite log: the work of many callers in one transaction, in the order of calls."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tidewire.log.engine import Change
from tidewire.log.sqlite_file import (
    COLUMNS,
    blob,
    connect,
    insert,
    message_of,
    set_up,
    transaction,
    wait_in_turns,
)
from tidewire.log.sqlite_pruning import Pruner
from tidewire.log.sqlite_records import Changes, Memory
from tidewire.model import Draft, EngineUnavailable, Message, Namespaces, Receipt

# Most messages have no event and no headers. To leave those out saves more than it seems: sqlite3
# takes longer to find out how a None is to be stored than to store all the rest of the row.
_PLAIN = "INSERT INTO messages (id, channel, seq, time, data, binary, expires)"
_WHOLE = _PLAIN.replace(")", ", event, headers, gap)")


class Committed(NamedTuple):
    """What one transaction did: an answer for each piece of work, and every message since the last.

    ``messages`` are in id order. Those up to the id ``before`` were written by other processes in
    between, the others by this one.
    """

    answers: list[object]
    messages: list[Message]
    before: int


class _Channel:
    __slots__ = ("forgotten", "last_id", "newest", "number", "seq", "version")

    def __init__(self, number: int, seq: int, forgotten: int, version: int) -> None:
        self.number = number
        self.seq = seq
        self.forgotten = forgotten
        self.version = version
        self.last_id = 0  # until this transaction gives one
        self.newest: Receipt | None = None  # of the newest version, if it is of this transaction


class Group:
    """The work of one transaction; ``write`` brings it to the file."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        memory: Memory,
        epoch: str,
        last_id: int,
        now_us: int,
        window_us: int,
    ) -> None:
        self.messages: list[Message] = []
        self._connection = connection
        self._epoch = epoch
        self._last_id = last_id
        self._now_us = now_us
        self._window_us = window_us
        self._channels: dict[str, _Channel] = {}
        self._plain: list[object] = []  # the values of rows
        self._whole: list[object] = []
        self._keys: dict[tuple[int, str], Receipt] = {}
        self._changes = Changes(connection, memory, now_us)

    def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """The engine's ``append``."""
        now_us = self._now_us
        now_ms = now_us // 1000
        epoch, last_id = self._epoch, self._last_id
        channels, messages = self._channels, self.messages
        receipts: list[Receipt] = []
        for draft in drafts:
            channel = channels.get(draft.channel) or self._channel(draft.channel)
            special = draft.key is not None or draft.version is not None
            if special:
                earlier = self._earlier_receipt(channel, draft)
                if earlier is not None:
                    receipts.append(earlier)
                    continue
            last_id = now_us if now_us > last_id else last_id + 1
            channel.last_id = last_id
            channel.seq = seq = channel.seq + 1
            receipt = Receipt(draft.channel, last_id, seq)
            receipts.append(receipt)
            if special:
                self._remember(channel, draft, receipt)
            data, event, headers, binary = draft.data, draft.event, draft.headers, draft.binary
            expires = 0 if draft.ttl_ms is None else now_ms + draft.ttl_ms
            message = Message(
                epoch, last_id, draft.channel, seq, now_ms, data, event, headers, binary, expires
            )
            messages.append(message)
            if event is None and headers is None:
                self._plain += (
                    last_id, channel.number, seq, now_ms, blob(data), int(binary), expires,
                )  # fmt: skip
            else:
                self._whole += (
                    last_id, channel.number, seq, now_ms, blob(data), int(binary), expires,
                    event, headers, None,
                )  # fmt: skip
        self._last_id = last_id
        return receipts

    def purge(self, name: str, *, forget: bool) -> Receipt:
        """The engine's ``purge``."""
        run = self._connection.execute
        channel = self._channels.get(name) or self._channel(name)
        self._last_id = id = max(self._now_us, self._last_id + 1)
        channel.last_id = id
        if forget:
            channel.seq = channel.version = 0
            channel.newest = None
            channel.forgotten = id
            run(
                "UPDATE channels SET version = 0, forgotten_id = ? WHERE number = ?",
                (id, channel.number),
            )
        run(
            "UPDATE channels SET discarded_id = ?, discarded_seq = ? WHERE number = ?",
            (id, channel.seq, channel.number),
        )
        now_ms = self._now_us // 1000
        reason = "reset" if forget else "expired"
        self.messages.append(Message(self._epoch, id, name, 0, now_ms, b"", gap=reason))
        # The feeds of other processes find it there.
        self._whole += (id, channel.number, 0, now_ms, b"", 0, 0, None, None, reason)
        return Receipt(name, id, 0)

    def change(self, table: str, key: str, change: Change, ttl: float) -> bytes | Exception | None:
        """The engine's ``change``; what *change* raises is returned: it is this caller's alone."""
        return self._changes.make(table, key, change, ttl)

    def write(self) -> None:
        """Bring everything to the file."""
        run, run_many = self._connection.execute, self._connection.executemany
        insert(self._connection, _PLAIN, 7, self._plain)
        insert(self._connection, _WHOLE, 10, self._whole)
        if self._plain or self._whole:
            now_ms = self._now_us // 1000
            changed = [c for c in self._channels.values() if c.last_id]
            run_many(
                "UPDATE channels SET seq = ?, last_id = ?, last_time = ? WHERE number = ?",
                [(c.seq, c.last_id, now_ms, c.number) for c in changed],
            )
            run_many(
                "UPDATE channels SET version = ?, version_id = ?, version_seq = ? WHERE number = ?",
                [(c.version, c.newest.id, c.newest.seq, c.number) for c in changed if c.newest],
            )
            run("UPDATE log SET last_id = ?", (self._last_id,))
        if self._keys:
            expires = self._now_us + self._window_us
            run_many(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)",
                [
                    (number, key, receipt.id, receipt.seq, expires)
                    for (number, key), receipt in self._keys.items()
                ],
            )
        self._changes.write()

    def _channel(self, name: str) -> _Channel:
        """The channel's row, made where it is missing."""
        run = self._connection.execute
        row = run(
            "SELECT number, seq, forgotten_id, version FROM channels WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            number = run(
                "INSERT INTO channels (name, seq, last_id, last_time) VALUES (?, 0, 0, 0)", (name,)
            ).lastrowid
            assert number is not None
            row = number, 0, 0, 0
        channel = self._channels[name] = _Channel(*row)
        return channel

    def _remember(self, channel: _Channel, draft: Draft, receipt: Receipt) -> None:
        if draft.key is not None:
            self._keys[channel.number, draft.key] = receipt
        if draft.version is not None:
            channel.version = draft.version
            channel.newest = receipt

    def _earlier_receipt(self, channel: _Channel, draft: Draft) -> Receipt | None:
        """The receipt of the message that makes *draft* superfluous, if there is one."""
        run = self._connection.execute
        if draft.key is not None:
            receipt = self._keys.get((channel.number, draft.key))
            if receipt is None:
                row = run(
                    "SELECT id, seq FROM keys WHERE channel = ? AND key = ? AND expires > ?",
                    (channel.number, draft.key, self._now_us),
                ).fetchone()
                receipt = None if row is None else Receipt(draft.channel, *row)
            if receipt is not None and receipt.id > channel.forgotten:
                return receipt
        if draft.version is None or draft.version > channel.version:
            return None
        if channel.newest is not None:
            return channel.newest
        row = run(
            "SELECT version_id, version_seq FROM channels WHERE number = ?", (channel.number,)
        ).fetchone()
        return Receipt(draft.channel, *row)


Work = Callable[[Group], object]
"""What one caller wants done; it returns the answer, or the exception that is the answer."""


class Writer:
    """Writes, and follows what others write. Lives on one thread."""

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
        self._key_window_us = int(idempotency_window * 1_000_000)
        self._clock = clock
        self._memory = Memory(self._connection)
        try:
            self.epoch, self.seen = set_up(self._connection, path)
            wait_in_turns(self._connection)
        except EngineUnavailable:
            self._connection.close()
            raise
        self.prune = Pruner(self._connection, namespaces, clock).prune

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def commit(self, works: Sequence[Work]) -> Committed:
        """Do *works* in one transaction, on the disk when this returns.

        Raises:
            EngineUnavailable: if nothing was stored.
        """
        try:
            with transaction(self._connection, "the log did not take the message"):
                last_id = self._last_id()
                group = Group(
                    self._connection,
                    self._memory,
                    self.epoch,
                    last_id,
                    int(self._clock() * 1_000_000),
                    self._key_window_us,
                )
                group.messages += self._foreign(last_id)
                answers = [work(group) for work in works]
                group.write()
        except BaseException:
            self._memory.forget()
            raise
        if group.messages:
            self.seen = group.messages[-1].id
        return Committed(answers, group.messages, last_id)

    def has_seen(self, id: int) -> None:
        """All up to *id* is known, without having been read. On any thread.

        What it does at the same time as this may still be read; it is not for this to hinder it.
        """
        self.seen = max(self.seen, id)

    def catch_up(self) -> list[Message]:
        """What other processes have appended, without appending anything."""
        try:
            last_id = self._last_id()
            messages = self._foreign(last_id)
        except sqlite3.Error as error:
            raise EngineUnavailable(f"the log cannot be read: {error}") from error
        self.seen = max(self.seen, last_id)
        return messages

    def _last_id(self) -> int:
        return int(self._connection.execute("SELECT last_id FROM log").fetchone()[0])

    def _foreign(self, last_id: int) -> list[Message]:
        """What other processes have appended since this one looked last."""
        if last_id <= self.seen:
            return []
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM messages m JOIN channels c ON c.number = m.channel "  # noqa: S608
            "WHERE m.id > ? AND m.id <= ? ORDER BY m.id",
            (self.seen, last_id),
        )
        return [message_of(self.epoch, row) for row in rows]
