"""What a subscriber asks for: channels, and where in the log to start."""

from __future__ import annotations

import re
from typing import NamedTuple

from tidewire.model.cursor import Cursor
from tidewire.model.errors import BadRequest

_LAST = re.compile(r"-([1-9][0-9]{0,8})", re.ASCII)
_TIME = re.compile(r"(0|[1-9][0-9]{0,14})", re.ASCII)


class Since(NamedTuple):
    """Where a subscriber without a cursor starts.

    ``kind`` is ``now``, ``start`` (the oldest message kept), ``last`` (the newest *number*
    messages of each channel) or ``time`` (messages accepted at or after *number*, Unix ms).
    """

    kind: str
    number: int = 0


NOW = Since("now")
START = Since("start")


def parse_since(text: str) -> Since:
    """Read the ``since`` parameter.

    Raises:
        BadRequest: if it is none of ``now``, ``start``, ``-N`` and a Unix time in ms.
    """
    if text == "now":
        return NOW
    if text == "start":
        return START
    if match := _LAST.fullmatch(text):
        return Since("last", int(match[1]))
    if match := _TIME.fullmatch(text):
        return Since("time", int(match[1]))
    raise BadRequest(
        f"since={text[:40]!r}: use now, start, -N for the last N messages, or a Unix time in ms",
        code="invalid_since",
    )


class Subscription(NamedTuple):
    """Channels and a start.

    ``cursors`` is empty, or has one cursor for all channels, or one for each in their order.
    """

    channels: tuple[str, ...]
    cursors: tuple[Cursor, ...] = ()
    since: Since = NOW

    @property
    def starts_now(self) -> bool:
        """Whether only what comes from now on is wanted."""
        return not self.cursors and self.since == NOW
