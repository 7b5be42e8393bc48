"""Large envelopes in parts, for clients of event streams and polls that ask for them.

A part is an envelope of its own, ``{"type":"fragment",…}``, with a piece of the JSON text of
the whole in ``data``. Only the last one has an ``id``: a client that got some parts only goes on
from before the message, and gets all of it again.
"""

from __future__ import annotations

import msgspec

from tidewire.model import Message

WHOLE = 1 << 62
"""The fragment size of those who want everything whole: no envelope is so large."""

_encode = msgspec.json.Encoder().encode


def fragments_of(message: Message, size: int) -> list[bytes]:
    """The envelopes of the parts: each holds at most *size* (from 4) bytes of the message's own.

    None is cut within a character.
    """
    envelope = message.envelope
    cursor = message.cursor
    pieces: list[bytes] = []
    begin, total = 0, len(envelope)
    while begin < total:
        end = min(begin + size, total)
        while end < total and envelope[end] & 0xC0 == 0x80:  # within a character of UTF-8
            end -= 1
        pieces.append(_encode(str(envelope[begin:end], "utf-8")))
        begin = end
    count = len(pieces)
    parts = [
        b'{"type":"fragment","of":"%b","index":%d,"count":%d,"data":%b}'
        % (cursor, index, count, piece)
        for index, piece in enumerate(pieces[:-1])
    ]
    parts.append(
        b'{"type":"fragment","id":"%b","of":"%b","index":%d,"count":%d,"data":%b}'
        % (cursor, cursor, count - 1, count, pieces[-1])
    )
    return parts
