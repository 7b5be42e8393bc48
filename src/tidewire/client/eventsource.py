"""The event stream format of the WHATWG HTML standard, decoded as a browser's EventSource does.

The decoder takes bytes as they arrive, cut anywhere, and does work in proportion to their number.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
# Only these end a line. str.splitlines() would also split at U+2028, U+0085, VT, FF and others.
_LINE_END = re.compile(rb"\r\n|\r|\n")
_DIGITS = re.compile(r"[0-9]+")


class ServerEvent(NamedTuple):
    """One dispatched event. ``type`` is ``message`` unless the server named another."""

    type: str
    data: str
    last_event_id: str


class TooMuchData(Exception):
    """One event is larger than the decoder was told to hold."""


class EventDecoder:
    """Turns the body of a ``text/event-stream`` into events.

    Attributes:
        last_event_id: what a reconnect would send as ``Last-Event-ID``; empty for none.
        retry: milliseconds to wait before a reconnect, or ``None`` while the server has not said.
    """

    def __init__(self, max_size: int = 256 << 20) -> None:
        """Hold at most ``max_size`` bytes of one event, so that no server can exhaust memory."""
        self.last_event_id = ""
        self.retry: int | None = None
        self._max_size = max_size
        self._held = 0  # bytes of the current block
        self._line: list[bytes] = []  # the unfinished line, in the pieces it came in
        self._first_line = True
        self._after_cr = False  # a LF that comes first now belongs to the CR before it
        self._id = ""
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Take the next bytes; return the events that they complete.

        Raises:
            TooMuchData: if an event goes beyond the limit; the decoder is of no use then.
        """
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r") if chunk else False
        *ended, rest = _LINE_END.split(chunk)
        events: list[ServerEvent] = []
        for piece in ended:
            line = piece
            if self._line:
                self._line.append(piece)
                line = b"".join(self._line)
                self._line.clear()
            self._hold(len(piece))
            self._take_line(line, events)
        if rest:
            self._line.append(rest)
            self._hold(len(rest))
        return events

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._max_size:
            raise TooMuchData(f"an event has more than {self._max_size} bytes")

    def _take_line(self, raw: bytes, events: list[ServerEvent]) -> None:
        if self._first_line:
            raw = raw.removeprefix(_BOM)
            self._first_line = False
        if not raw:
            self._end_block(events)
            return
        # A line end is never part of a longer UTF-8 sequence, so lines can be decoded one by one.
        name, _, value = raw.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and _DIGITS.fullmatch(value) and len(value) <= 18:
            self.retry = int(value)

    def _end_block(self, events: list[ServerEvent]) -> None:
        self.last_event_id = self._id
        if self._data:
            data = "\n".join(self._data)
            events.append(ServerEvent(self._type or "message", data, self._id))
        self._type = ""
        self._data = []
        self._held = 0
