"""A caller as one server passes it on to another: who it is and what it was granted, no secret."""

from __future__ import annotations

import msgspec

from tidewire.access.caller import Caller, CallerLimits, Grant, Kind


class _Passed(msgspec.Struct, frozen=True, array_like=True):
    kind: Kind
    name: str
    grants: tuple[Grant, ...]
    scopes: frozenset[str]
    token_id: str | None
    issued: float | None
    expires: float | None
    device: str | None
    limits: CallerLimits


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Passed).decode


def passed_on(caller: Caller) -> bytes:
    """*caller* in bytes."""
    return _encode(
        _Passed(
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
    )


def taken_over(data: bytes) -> Caller:
    """The caller that ``passed_on`` has made *data* of.

    Raises:
        msgspec.MsgspecError: if it has not.
    """
    passed = _decode(data)
    return Caller(
        passed.kind,
        passed.name,
        grants=passed.grants,
        scopes=passed.scopes,
        token_id=passed.token_id,
        issued=passed.issued,
        expires=passed.expires,
        device=passed.device,
        limits=passed.limits,
    )
