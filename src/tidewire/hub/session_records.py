"""Records of sessions: what outlives a connection, so that the next one can take it up.

A record says what the connection followed, and up to which id of each channel that is known to
have arrived. It is written when the channels of an open connection change, and when it ends. So a
session that is taken up may repeat messages; it never loses one.

One connection *holds* a session: the one that took it up last. An older one, whose end may be
noticed only minutes later, must not write over what the newer one has written. On the server
where the older one is open still, what it knows is worth more than its record.
"""

from __future__ import annotations

import logging
import secrets
import struct
import time
from asyncio import Future
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tidewire.hub.session import Session
from tidewire.log.engine import Change, Engine
from tidewire.model import TidewireError

if TYPE_CHECKING:
    from tidewire.hub.presence import Presence

logger = logging.getLogger("tidewire.hub")

TABLE = "sessions"

_NONE: frozenset[str] = frozenset()
_MARK = struct.Struct("!QI")


class Terms(NamedTuple):
    """What a connection is, by its URL and its user. ``transport`` is ``ws`` or ``sse``."""

    transport: str
    consumer: str | None = None
    policy: str | None = None
    device: str | None = None
    raw: bool = False
    fragments: bool = False
    user: str | None = None


class SessionRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session as it is kept.

    ``channels`` has for each channel the id up to which its messages have arrived, in the log
    *epoch*. ``holder`` tells apart the connections that have held the session, 0 being the first.
    ``closed_at`` and ``kept_at`` are Unix ms: when its connection ended (0: it is open), and when
    this was written.
    """

    epoch: str
    channels: dict[str, int]
    terms: Terms
    holder: int = 0
    closed_at: int = 0
    kept_at: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SessionRecord).decode


class SessionRecords:
    """The records of all sessions, and who holds those that are open here.

    *ttl* is how long a session outlives its connection, in seconds.
    """

    def __init__(self, engine: Engine, ttl: float, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.refresh_ms = int(ttl * 1000 / 3)  # a record is younger than that, or written again
        self._ttl = ttl
        self._clock = clock
        self._open: dict[str, Holding] = {}
        self.presence: Presence | None = None  # told who follows what, if anybody wants to know

    async def take_up(self, id: str) -> SessionRecord | None:
        """Make the caller the holder of a session and return its record; ``None``: unknown.

        Raises:
            EngineUnavailable: if the log cannot be read or written now.
        """
        holder = secrets.randbits(62) + 1
        held = self._open.get(id)
        known = None if held is None else held.record()
        value = await self.change(id, partial(_taken, holder, self.now(), known))
        return None if value is None else _decode(value)

    async def look(self, id: str) -> SessionRecord | None:
        """A session's record, for a poll, which holds nothing. It is kept alive by that.

        Raises:
            EngineUnavailable: if the log cannot be read now.
        """
        value = await self.engine.get(TABLE, id)
        held = self._open.get(id)
        known = None if held is None else held.record()
        if value is None:
            return known
        record = _decode(value)
        if known is not None and known.holder == record.holder:
            return known
        if self.now() - record.kept_at > self.refresh_ms:
            _report_failure(self.change(id, partial(_kept_alive, self.now())))
        return record

    def open_here(self, id: str) -> Holding | None:
        """The connection of this server that has the session."""
        return self._open.get(id)

    def hold(
        self, session: Session, terms: Terms, after: dict[str, int], *, holder: int = 0
    ) -> Holding:
        """Note an open connection, whose channels start at *after*; ``close`` it at its end."""
        holding = self._open[session.id] = Holding(self, session, terms, after, holder)
        return holding

    def let_go(self, holding: Holding) -> None:
        """The connection has ended."""
        id = holding.session.id
        if self._open.get(id) is holding:
            del self._open[id]

    def change(self, id: str, change: Change) -> Future[bytes | None]:
        """Change the record of the session *id*."""
        return self.engine.change(TABLE, id, change, self._ttl)

    def now(self) -> int:
        """Unix ms."""
        return int(self._clock() * 1000)


class Holding:
    """An open connection's part in its session."""

    __slots__ = (
        "_attends",
        "_changes",
        "_closed",
        "_confirmed",
        "_holder",
        "_kept_at",
        "_records",
        "_stale",
        "_starts",
        "_write",
        "session",
        "terms",
    )

    def __init__(
        self,
        records: SessionRecords,
        session: Session,
        terms: Terms,
        after: dict[str, int],
        holder: int,
    ) -> None:
        self.session = session
        self._records = records
        self.terms = terms
        self._holder = holder
        self._confirmed = min(after.values(), default=0)
        # Of channels for which that is not right, until more is confirmed.
        self._starts = dict(after) if len(set(after.values())) > 1 else None
        self._changes = 0
        self._kept_at = records.now() if holder else 0
        self._write: Future[bytes | None] | None = None
        self._stale = False  # a further write is due when that one is done
        self._closed = False
        self._attends: frozenset[str] = _NONE
        if after:
            self._attend(frozenset(after))

    def _attend(self, channels: frozenset[str]) -> None:
        """Be on those of *channels*, and on no others, where it is told who is there."""
        presence = self._records.presence
        if presence is not None:
            self._attends = presence.followed(self._attends, self.session.id, self.terms, channels)

    def record(self, *, closed: bool = False) -> SessionRecord:
        """What there is to keep of the session now."""
        starts = self._starts or {}
        now = self._records.now()
        return SessionRecord(
            self._records.engine.epoch,
            {name: starts.get(name, self._confirmed) for name in sorted(self.session.channels)},
            self.terms,
            self._holder,
            now if closed else 0,
            now,
        )

    def mark(self) -> bytes:
        """What a ping is to carry, so that its pong shows up to where the stream has arrived."""
        return _MARK.pack(self.session.hub.position_of(self.session), self._changes)

    def confirm(self, mark: bytes) -> None:
        """A pong came, with what its ping carried: all before that ping has arrived.

        A mark from before the channels changed says nothing of a backfill.
        """
        if len(mark) == _MARK.size:
            position, changes = _MARK.unpack(mark)
            most = self.session.hub.position_of(self.session)
            if changes == self._changes and self._confirmed < position <= most:
                self._confirmed = position
                self._starts = None

    def followed(self, after: dict[str, int]) -> None:
        """The connection follows further channels, each from its id."""
        channels = self.session.channels
        starts = (self._starts or {}) | after
        self._starts = {name: id for name, id in starts.items() if name in channels}
        self.changed()

    def changed(self) -> None:
        """The connection's channels are others now: the record must say so."""
        self._changes = (self._changes + 1) & 0xFFFFFFFF
        self._attend(self.session.channels)
        self._keep()

    def refresh(self) -> None:
        """To be called now and then: a record must not be forgotten before its connection is."""
        if self._kept_at and self._records.now() - self._kept_at > self._records.refresh_ms:
            self._keep()

    def close(self) -> None:
        """The connection has ended; keep what there is to take up."""
        if self._closed:
            return
        self._closed = True
        self._attend(_NONE)
        if self._kept_at or self.session.channels:
            record = self.record(closed=True)
            _report_failure(self._records.change(self.session.id, partial(_kept, record)))
        self._records.let_go(self)

    def _keep(self) -> None:
        """Write the record, or again when the write that is under way is done.

        Nobody waits for it, so a client could ask for any number of them.
        """
        if self._write is not None:
            self._stale = True
            return
        record = self.record()
        self._kept_at = record.kept_at
        write = self._records.change(self.session.id, partial(_kept, record))
        if write.done():
            _report_failure(write)
        else:
            self._write = write
            write.add_done_callback(self._written)

    def _written(self, write: Future[bytes | None]) -> None:
        _report_failure(write)
        self._write = None
        if self._stale and not self._closed:
            self._stale = False
            self._keep()


# Changes of records: they may run on another thread, and more than once.


def _taken(holder: int, now: int, known: SessionRecord | None, old: bytes | None) -> bytes | None:
    """The record for its new holder. *known* is what its open connection says, if it is here."""
    record = None if old is None else _decode(old)
    if known is not None and (record is None or record.holder == known.holder):
        record = known
    if record is None:
        return None
    return _encode(msgspec.structs.replace(record, holder=holder, closed_at=0, kept_at=now))


def _kept_alive(now: int, old: bytes | None) -> bytes | None:
    return None if old is None else _encode(msgspec.structs.replace(_decode(old), kept_at=now))


def _kept(record: SessionRecord, old: bytes | None) -> bytes | None:
    if old is not None and _decode(old).holder != record.holder:
        return old  # a newer connection holds the session
    return _encode(record)


def _report_failure(write: Future[bytes | None]) -> None:
    """Nobody waits for a record to be kept: that it was not is for the operator to know."""
    if not write.done():
        write.add_done_callback(_report_failure)
    elif not write.cancelled() and (error := write.exception()) is not None:
        if isinstance(error, TidewireError):
            logger.warning("a session's record was not kept: %s", error.detail)
        else:
            logger.error("a session's record was not kept", exc_info=error)
