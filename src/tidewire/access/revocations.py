"""Revocations: users, sessions and tokens that are let in no more, on any server of the log.

A revocation is a record, so that servers started later know it, and a message in ``!access``, so
that those which run hear of it at once, in the order of the log. Each server keeps all of them in
memory: asking costs a look-up.

Revoking a user refuses the tokens issued up to then; one that was issued later is good again. So
does revoking what a token is called (its ``jti``) for that token alone, whenever it was issued.
"""

from __future__ import annotations

import logging
import time
from asyncio import Future
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import msgspec

from tidewire.access.caller import Caller
from tidewire.log.engine import Engine
from tidewire.model import Draft, Message, Receipt

logger = logging.getLogger("tidewire.access")

CHANNEL = "!access"
TABLE = "revocations"
_PAGE = 1_000
_SWEEP = 10_000  # how many are kept before those that are over are looked for

What = Literal["user", "session", "token"]


class Revocation(msgspec.Struct, frozen=True):
    """*what* is called *name* is refused, as of *at* until *until*: Unix seconds."""

    what: What
    name: str
    at: float
    until: float


class _Key(NamedTuple):
    what: str
    name: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Revocation).decode


class Revocations:
    """What is revoked; *ttl* is how long that is remembered, in seconds.

    *heard* is called with each revocation that comes while the server runs, its own included.
    """

    def __init__(
        self,
        engine: Engine,
        ttl: float,
        heard: Callable[[Revocation], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._ttl = ttl
        self._heard = heard
        self._clock = clock
        self._known: dict[_Key, Revocation] = {}

    async def load(self) -> None:
        """Take in what was revoked before; to be called when ``hear`` is being called already.

        Raises:
            EngineUnavailable: if the log cannot be read.
        """
        after = ""
        while found := await self._engine.scan(TABLE, "", after, _PAGE):
            for _, value in found:
                self._keep(_decode(value))
            after = found[-1][0]

    def hear(self, message: Message) -> None:
        """Take in a message of ``!access``."""
        revocation = _decode(message.data)
        self._keep(revocation)
        self._heard(revocation)

    async def revoke(self, what: What, name: str) -> None:
        """Let this user, session or token in no more; those that are in are told.

        Raises:
            EngineUnavailable: if that cannot be kept now.
        """
        now = self._clock()
        revocation = Revocation(what, name, now, now + self._ttl)
        value = _encode(revocation)
        await self._engine.change(TABLE, f"{what}:{name}", partial(_replaced, value), self._ttl)
        told: Future[list[Receipt]] = self._engine.append([Draft(CHANNEL, value)])
        await told

    def has(self, what: What, name: str) -> bool:
        """Whether this session or token is revoked."""
        found = self._known.get(_Key(what, name))
        return found is not None and found.until > self._clock()

    def refuses(self, caller: Caller) -> bool:
        """Whether *caller*'s token, or all that its user was given by then, is revoked."""
        known = self._known
        if not known or caller.kind != "user":
            return False
        if caller.token_id is not None and self.has("token", caller.token_id):
            return True
        found = known.get(_Key("user", caller.name))
        return (
            found is not None
            and found.until > self._clock()
            # Tokens have whole seconds: one of the same second may be older. It is refused.
            and (caller.issued is None or caller.issued <= found.at)
        )

    def _keep(self, revocation: Revocation) -> None:
        known = self._known
        if len(known) >= _SWEEP and len(known) % _SWEEP == 0:
            now = self._clock()
            for key in [key for key, one in known.items() if one.until <= now]:
                del known[key]
        key = _Key(revocation.what, revocation.name)
        before = known.get(key)
        if before is None or before.at <= revocation.at:
            known[key] = revocation


def _replaced(value: bytes, old: bytes | None) -> bytes | None:
    return value
