"""What a process tells the others of its commit: the messages themselves, if they are small.

A note is as good as what is in the file: it is sent after the commit, by a process that may write
to the file. Whoever has all that was before it need not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from tidewire.model import Message

LARGEST = 32 << 10
"""Bytes of payload that a note may carry; with more of it reading is as cheap."""

LOOK = b"."
"""Says only that there is something to be read."""

_OVERHEAD = 64  # bytes of a message beside its payload, about

_Fields = tuple[
    int, str, int, int, bytes, str | None, bytes | None, bool, int, str | None
]  # in the order of Message, without the epoch

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, int, list[_Fields]]).decode


class Note(NamedTuple):
    """*messages* are all that was appended after the id *before*, up to the last of them."""

    before: int
    messages: list[Message]


def to_note(before: int, messages: Sequence[Message]) -> bytes:
    """The note of a commit's *messages*, before which *before* was the newest id."""
    if sum(message.size + _OVERHEAD for message in messages) > LARGEST:
        return LOOK
    fields = [
        (m.id, m.channel, m.seq, m.time, m.data, m.event, m.headers, m.binary, m.expires, m.gap)
        for m in messages
    ]
    return _encode((messages[0].epoch, before, fields))


def from_note(data: bytes, epoch: str) -> Note | None:
    """The note that is in *data*; ``None``: it says no more than that there is something."""
    try:
        told, before, rows = _decode(data)
    except msgspec.MsgspecError:
        return None
    if told != epoch or not rows:
        return None
    return Note(before, [Message(epoch, *row) for row in rows])
