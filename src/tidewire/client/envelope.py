"""Envelopes as a client receives them: the same JSON objects on all four transports."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tidewire.client.errors import ClientError, Interrupted, Refused


class Message(msgspec.Struct, frozen=True, tag="message", tag_field="type"):
    """A published message.

    ``id`` is the cursor after it, ``seq`` its position in its channel (1, 2, 3 …), ``time`` the
    server's acceptance in Unix ms. With ``encoding`` ``base64``, ``data`` is binary.
    """

    id: str
    channel: str
    seq: int
    time: int
    data: Any = None
    event: str | None = None
    encoding: str | None = None
    headers: dict[str, str] | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready", tag_field="type"):
    """First on every stream; with ``recovered``, nothing was missed since the cursor given."""

    id: str
    session: str = ""
    recovered: bool = False
    channels: tuple[str, ...] = ()


class Gap(msgspec.Struct, frozen=True, tag="gap", tag_field="type"):
    """Messages of a channel are gone; ``reason`` is ``expired``, ``reset`` or ``slow``."""

    id: str
    channel: str
    reason: str


class Close(msgspec.Struct, frozen=True, tag="close", tag_field="type"):
    """Last on a stream that the server ends; without ``retry`` (ms) there is nothing to retry."""

    code: int
    reason: str = ""
    retry: int | None = None


class Other(msgspec.Struct, frozen=True):
    """An envelope of a type that this client does not know, such as a newer server may send."""

    type: str


Envelope = Message | Ready | Gap | Close | Other


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


_known = msgspec.json.Decoder(Message | Ready | Gap | Close)
_any = msgspec.json.Decoder(Other)


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
        if other is None or other.type in ("message", "ready", "gap", "close"):
            shown = text[:80].decode("utf-8", "replace")
            raise Refused(f"this is not a Tidewire envelope: {shown} ({error})") from None
        return Received(other, text)


def end_of_stream(close: Close) -> ClientError:
    """The error that a ``close`` envelope stands for."""
    reason = f"the server closed the stream: {close.code} {close.reason}".rstrip()
    if close.retry is None:
        return Refused(reason, close.code)
    return Interrupted(reason, close.retry / 1000)
