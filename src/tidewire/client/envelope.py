"""Envelopes as a client receives them: the same JSON objects on all four transports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tidewire.client.errors import (
    REPLACED,
    ClientError,
    Interrupted,
    Refused,
    Replaced,
    refused,
)


class Message(msgspec.Struct, frozen=True, tag="message", tag_field="type"):
    """A published message.

    ``id`` is the cursor after it, ``seq`` its position in its channel (1, 2, 3 …), ``time`` the
    server's acceptance in Unix ms. With ``encoding`` ``base64``, ``data`` is binary. A consumer
    gets a message again that it has not acknowledged: for the ``deliveries``-th time.
    """

    id: str
    channel: str
    seq: int
    time: int
    data: Any = None
    event: str | None = None
    encoding: str | None = None
    headers: dict[str, str] | None = None
    deliveries: int = 1


class Ready(msgspec.Struct, frozen=True, tag="ready", tag_field="type"):
    """First on every stream; with ``recovered``, nothing was missed since the cursor given.

    On a quiet stream the server is heard every ``heartbeat`` ms; 0 if it does not say.
    """

    id: str
    session: str = ""
    recovered: bool = False
    channels: tuple[str, ...] = ()
    heartbeat: int = 0


class Gap(msgspec.Struct, frozen=True, tag="gap", tag_field="type"):
    """Messages of a channel are gone; ``reason`` is ``expired``, ``reset`` or ``slow``.

    ``skipped`` is how many, where the server knows: by the policy ``latest`` it leaves out all but
    the newest for a subscriber that has fallen behind.
    """

    id: str
    channel: str
    reason: str
    skipped: int = 0


class Close(msgspec.Struct, frozen=True, tag="close", tag_field="type"):
    """Last on a stream that the server ends; without ``retry`` (ms) there is nothing to retry."""

    code: int
    reason: str = ""
    retry: int | None = None


class Fragment(msgspec.Struct, frozen=True, tag="fragment", tag_field="type"):
    """A part of a large envelope: ``data`` is the ``index``-th of ``count`` pieces of its JSON."""

    of: str
    index: int
    count: int
    data: str


class Other(msgspec.Struct, frozen=True):
    """An envelope of a type that this client does not know, such as a newer server may send."""

    type: str


Envelope = Message | Ready | Gap | Close | Fragment | Other


class Received(NamedTuple):
    """An envelope, and its bytes exactly as they came, with what this client does not know too.

    They are JSON, or MessagePack if it is ``packed``. ``moves`` says whether what stands before it
    in the log has come before it. A poll lists its gaps first, whatever their place among the
    messages, so those do not move a subscriber.
    """

    envelope: Envelope
    raw: bytes
    moves: bool = True
    packed: bool = False

    @property
    def json(self) -> bytes:
        """The envelope as JSON: as it came, or made from MessagePack."""
        if not self.packed:
            return self.raw
        envelope = msgspec.msgpack.decode(self.raw)
        if isinstance(envelope.get("data"), bytes):
            envelope["encoding"] = "base64"  # what msgspec makes of bytes
        return msgspec.json.encode(envelope)


class Reached(NamedTuple):
    """The server's word that nothing is missing up to ``cursor``, with no envelope to show it."""

    cursor: str


Event = Received | Reached


_KNOWN = Message | Ready | Gap | Close | Fragment
_TYPES = frozenset({"message", "ready", "gap", "close", "fragment"})

# MessagePack whose text is not UTF-8 raises an error of Python's own.
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_Decode = Callable[[bytes], Any]
_json: tuple[_Decode, _Decode]
_json = msgspec.json.Decoder(_KNOWN).decode, msgspec.json.Decoder(Other).decode
_packed: tuple[_Decode, _Decode]
_packed = msgspec.msgpack.Decoder(_KNOWN).decode, msgspec.msgpack.Decoder(Other).decode


def parse_envelope(text: bytes) -> Received:
    """Read one envelope.

    Raises:
        Refused: if it is none, so that this is no Tidewire server, or not a version that we know.
    """
    return Received(_parse(text, *_json), text)


def parse_packed(data: bytes) -> Received:
    """Read one envelope in MessagePack, where binary data are bytes without an ``encoding``.

    Raises:
        Refused: as :func:`parse_envelope` does.
    """
    return Received(_parse(data, *_packed), data, packed=True)


def _parse(raw: bytes, known: _Decode, other: _Decode) -> Envelope:
    envelope: Envelope
    try:
        envelope = known(raw)
    except _BROKEN as error:
        try:
            unknown: Other = other(raw)
        except _BROKEN:
            unknown = Other("")
        if not unknown.type or unknown.type in _TYPES:
            shown = raw[:80].decode("utf-8", "replace")
            raise Refused(f"this is not a Tidewire envelope: {shown} ({error})") from None
        return unknown
    return envelope


def contents(received: Received) -> dict[str, Any]:
    """All fields of an envelope, those that this client does not know too."""
    fields: dict[str, Any]
    if received.packed:
        fields = msgspec.msgpack.decode(received.raw)
    else:
        fields = msgspec.json.decode(received.raw)
    return fields


def end_of_stream(close: Close) -> ClientError:
    """The error that a ``close`` envelope stands for."""
    if close.code == REPLACED:
        return Replaced(close.code)
    reason = f"the server closed the stream: {close.code} {close.reason}".rstrip()
    if close.retry is None:
        return refused(reason, close.code)
    return Interrupted(reason, close.retry / 1000)
