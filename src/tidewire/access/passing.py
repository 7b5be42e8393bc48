"""A caller in bytes: who it is and what it was granted, no secret.

So one server passes it on to another, and so it stands in the ticket that it is given.
"""

from __future__ import annotations

import msgspec

from tidewire.access.caller import Caller, CallerLimits, Grant, Kind


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """What there is to say of a caller; ``of`` and ``caller`` are each other's reverse."""

    kind: Kind
    name: str
    grants: tuple[Grant, ...]
    scopes: frozenset[str]
    token_id: str | None
    issued: float | None
    expires: float | None
    device: str | None
    limits: CallerLimits

    @classmethod
    def of(cls, caller: Caller) -> Passed:
        """What is passed on of *caller*."""
        return cls(
            caller.kind,
            caller.name,
            caller.grants,
            caller.scopes,
            caller.token_id,
            caller.issued,
            caller.expires,
            caller.device,
            caller.limits,
        )

    def caller(self) -> Caller:
        """The caller."""
        return Caller(
            self.kind,
            self.name,
            grants=self.grants,
            scopes=self.scopes,
            token_id=self.token_id,
            issued=self.issued,
            expires=self.expires,
            device=self.device,
            limits=self.limits,
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Passed).decode


def passed_on(caller: Caller) -> bytes:
    """*caller* in bytes."""
    return _encode(Passed.of(caller))


def taken_over(data: bytes) -> Caller:
    """The caller that ``passed_on`` has made *data* of.

    Raises:
        msgspec.MsgspecError: if it has not.
    """
    return _decode(data).caller()
