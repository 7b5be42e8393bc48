"""Envelopes as a client receives them: the same JSON objects on all four transports."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tidewire.client.errors import REPLACED, ClientError, Interrupted, Refused, Replaced


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
    """An envelope, and its JSON exactly as it came, with what this client does not know too.

    ``moves`` says whether what stands before it in the log has come before it. A poll lists its
    gaps first, whatever their place among the messages, so those do not move a subscriber.
    """

    envelope: Envelope
    json: bytes
    moves: bool = True


class Reached(NamedTuple):
    """The server's word that nothing is missing up to ``cursor``, with no envelope to show it."""

    cursor: str


Event = Received | Reached


_known = msgspec.json.Decoder(Message | Ready | Gap | Close | Fragment)
_any = msgspec.json.Decoder(Other)
_TYPES = frozenset({"message", "ready", "gap", "close", "fragment"})


def parse_envelope(text: bytes) -> Received:
    """Read one envelope.

    Raises:
        Refused: if it is none, so that this is no Tidewire server, or not a version that we know.
    """
    try:
        return Received(_known.decode(text), text)
    except msgspec.DecodeError as error:
        try:
            other = _any.decode(text)
        except msgspec.DecodeError:
            other = None
        if other is None or other.type in _TYPES:
            shown = text[:80].decode("utf-8", "replace")
            raise Refused(f"this is not a Tidewire envelope: {shown} ({error})") from None
        return Received(other, text)


def end_of_stream(close: Close) -> ClientError:
    """The error that a ``close`` envelope stands for."""
    if close.code == REPLACED:
        return Replaced(close.code)
    reason = f"the server closed the stream: {close.code} {close.reason}".rstrip()
    if close.retry is None:
        return Refused(reason, close.code)
    return Interrupted(reason, close.retry / 1000)
