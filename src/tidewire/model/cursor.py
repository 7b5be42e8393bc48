"""Cursors: a position in the log that any transport and any node understands.

A cursor is written ``EPOCH-ID``: the epoch names one life of the storage, the id is the last
message that the client has, so that resuming yields exactly the messages after it. The text has
only ``A-Z a-z 0-9 -``: it is safe in an HTTP header, an SSE ``id:`` line, a URL and a CORS-safe
``Last-Event-ID``, without any escaping.
"""

from __future__ import annotations

import re
import secrets
import string
from functools import lru_cache

import msgspec

from tidewire.model.errors import InvalidCursor

_CURSOR = re.compile(r"([A-Za-z0-9]{1,16})-(0|[1-9][0-9]{0,18})", re.ASCII)
_MAX_ID = 2**63 - 1
_ALPHABET = string.ascii_letters + string.digits


class Cursor(msgspec.Struct, frozen=True, gc=False):
    """A position: strictly after the message *id* in the log called *epoch*."""

    epoch: str
    id: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.id}"


@lru_cache(1_024)  # one message is acknowledged by many, and many come back from one place
def parse_cursor(text: str) -> Cursor:
    """Read a cursor as a client sends it back.

    Raises:
        InvalidCursor: if the text is not of the form that cursors have. A well-formed cursor of
            another log is no error here: that is a gap, which the subscriber is told of.
    """
    match = _CURSOR.fullmatch(text)
    if match is None or (number := int(match[2])) > _MAX_ID:
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise InvalidCursor(
            f"{shown!r} is not a cursor: send back an id exactly as it was received"
        )
    return Cursor(match[1], number)


def new_epoch() -> str:
    """A name for a new log: six characters, so that two logs share one by a 1 in 10¹⁰ chance."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(6))
