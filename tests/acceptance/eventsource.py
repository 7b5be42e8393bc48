"""An event stream parser written from the WHATWG HTML standard, section 9.2.6, and nothing else.

It is the suite's own measure of what a browser would make of the server's bytes.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a listener would get it."""

    type: str
    data: str
    last_event_id: str


class EventStream:
    """Takes the bytes of one response body, cut anywhere, and gives the events they complete."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._started = False
        self._skip_line_feed = False
        self._line = ""
        self._type = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes of the stream."""
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if not self._started:
            self._started = True
            text = text.removeprefix(BOM)
        return [event for line in self._lines(text) if (event := self._take(line)) is not None]

    def _lines(self, text: str) -> list[str]:
        """Split at CRLF, LF or CR, and at nothing else, keeping an unfinished line for later."""
        if self._skip_line_feed and text:
            self._skip_line_feed = False
            text = text.removeprefix("\n")
        self._skip_line_feed = text.endswith("\r")
        *complete, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if complete:
            complete[0] = self._line + complete[0]
            self._line = rest
        else:
            self._line += rest
        return complete

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        lines, self._data = self._data, []
        kind, self._type = self._type or "message", ""
        return Event(kind, "\n".join(lines), self.last_event_id) if lines else None
