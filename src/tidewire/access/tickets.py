"""Tickets: what a browser connects with where it cannot set headers; good once, and for seconds.

A token in a URL ends in logs and histories. A ticket may, because by then it is worth nothing: it
is taken in one step of the engine, whichever server of the log it is shown to. It may be bound to
an origin. So whoever captures a handshake cannot repeat it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from functools import partial

import msgspec

from tidewire.access.caller import Caller
from tidewire.access.passing import Passed
from tidewire.log.engine import Engine
from tidewire.model import InvalidTicket

TABLE = "tickets"

_NONCE = 16  # bytes of who has taken a ticket
_FREE, _TAKEN = b"\0", b"\1"


class _Ticket(msgspec.Struct, frozen=True, array_like=True):
    """Whom a ticket is for, as it is kept; ``origin`` is ``None`` when any will do."""

    caller: Passed
    origin: str | None
    until: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Ticket).decode


class Tickets:
    """The tickets of one log; each is good for *ttl* seconds."""

    def __init__(self, engine: Engine, ttl: float, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self.ttl = ttl
        self._clock = clock

    async def issue(self, caller: Caller, origin: str | None) -> str:
        """A new ticket for *caller*, which only pages of *origin* can use if there is one.

        Raises:
            EngineUnavailable: if it cannot be kept now.
        """
        ticket = secrets.token_urlsafe(32)
        passed = Passed.of(caller)
        if caller.kind == "open":  # what it may do is the server's to say that redeems it
            passed = msgspec.structs.replace(passed, kind="anonymous")
        kept = _Ticket(passed, origin, self._clock() + self.ttl)
        value = _FREE + _encode(kept)
        await self._engine.change(TABLE, _key(ticket), partial(_issued, value), self.ttl)
        return ticket

    async def redeem(self, ticket: str, origin: str | None, host: str | None = None) -> Caller:
        """Whom *ticket* is for. It is worth nothing afterwards, also if it is refused here.

        It is shown by a page of *origin*, or without one by a page of the server's own at *host*.

        Raises:
            InvalidTicket: if it is none, was used, is too old, or is another origin's.
            EngineUnavailable: if that cannot be found out now.
        """
        nonce = secrets.token_bytes(_NONCE)
        value = await self._engine.change(TABLE, _key(ticket), partial(_taken, nonce), self.ttl)
        if value is None or not value.startswith(_TAKEN + nonce):
            raise _refused("it was used already, or is too old")
        kept = _decode(value[1 + _NONCE :])
        if kept.until <= self._clock():
            raise _refused("it is too old")
        if kept.origin is not None and not _is_from(kept.origin, origin, host):
            raise _refused("it is for a page of another origin")
        return kept.caller.caller()


def _is_from(wanted: str, origin: str | None, host: str | None) -> bool:
    if origin is not None or host is None:
        return wanted == origin
    return wanted in (f"http://{host}", f"https://{host}")  # which of them, a proxy knows


def _refused(why: str) -> InvalidTicket:
    return InvalidTicket(f"this ticket is not good: {why}; get a new one", why=why)


def _key(ticket: str) -> str:
    """Who reads the log's file finds no ticket that could be used."""
    return hashlib.sha256(ticket.encode(errors="replace")).hexdigest()


# Changes of records: they may run on another thread, and more than once.


def _issued(value: bytes, old: bytes | None) -> bytes | None:
    return value


def _taken(nonce: bytes, old: bytes | None) -> bytes | None:
    if old is None or not old.startswith(_FREE):
        return old
    return _TAKEN + nonce + old[1:]
