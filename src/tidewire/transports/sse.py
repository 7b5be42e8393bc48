"""Server-Sent Events (WHATWG HTML section 9.2): how envelopes stand in an event stream.

Rules that keep common parsers right, beyond what the standard asks: lines end in LF only; one
blank line after each event and nowhere else; every event has an id, as its last line, because
some clients take it for theirs as soon as they have read it, and ask for what comes after it when
the rest of the event is cut off; ``retry`` stands inside the first event; a heartbeat is a comment
line without a blank line after it, which some parsers would take for an empty event.

A browser's EventSource hears an event with a name only if it listens for that name. So a client
may have all events without names: what each of them is stands in its envelope.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tidewire.hub import Holding
from tidewire.model import Message
from tidewire.model.envelope import Close, Control, Ready, encode_control
from tidewire.model.message import joined
from tidewire.model.payload import text_of
from tidewire.transports.fragments import WHOLE, fragments_of
from tidewire.transports.wire import Wire

HEARTBEAT = b":\n"

# Only these three end a line; str.splitlines() knows more, and would split data that has U+2028.
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Events:
    """The form of an event stream.

    *chunked* wraps each event in a chunk of HTTP/1.1, so that a client can tell the end of the
    stream from a cut. *raw* writes the data alone. *retry* is what the client is told to wait
    before it reconnects, in ms. Envelopes over *fragment_size* bytes go out in parts. Events that
    are not *named* have no ``event`` line, whatever they are.
    """

    __slots__ = ("_chunked", "_fragment_size", "_named", "_raw", "_retry")

    def __init__(
        self,
        *,
        chunked: bool,
        raw: bool,
        retry: int,
        fragment_size: int = WHOLE,
        named: bool = True,
    ) -> None:
        self._chunked = chunked
        self._raw = raw
        self._retry = retry
        self._named = named
        self._fragment_size = WHOLE if raw else fragment_size

    def messages(self, messages: list[Message]) -> bytes:
        return joined(messages, self, self._message)

    def _message(self, message: Message) -> bytes:
        forms = message.forms
        if forms is None:
            forms = message.forms = {}
        data = forms.get(self)
        if data is None:
            if self._fragment_size < WHOLE and len(message.envelope) > self._fragment_size:
                data = self._parts(message)
            else:
                data = self.wrap(self._block(message))
            forms[self] = data
        return data

    def _parts(self, message: Message) -> bytes:
        before = f"{message.epoch}-{message.id - 1}".encode()
        parts = fragments_of(message, self._fragment_size)
        ids = [before] * (len(parts) - 1) + [message.cursor]
        event = self._name(b"tidewire.fragment")
        return b"".join(
            [
                self.wrap(b"%bdata: %b\nid: %b\n\n" % (event, part, id))
                for id, part in zip(ids, parts, strict=True)
            ]
        )

    def _block(self, message: Message) -> bytes:
        if message.gap is not None:
            event = self._name(b"tidewire.gap")
        else:
            event = b"" if message.event is None else self._name(message.event.encode())
        whole = not self._raw or message.gap is not None
        body = b"data: %b\n" % message.envelope if whole else _raw_lines(message)
        return b"%b%bid: %b\n\n" % (event, body, message.cursor)

    def _name(self, name: bytes) -> bytes:
        return b"event: %b\n" % name if self._named else b""

    def control(self, envelope: Control, cursor: str) -> bytes:
        retry = b""
        if isinstance(envelope, Ready):
            retry = b"retry: %d\n" % self._retry
        elif isinstance(envelope, Close) and envelope.retry is not None:
            retry = b"retry: %d\n" % envelope.retry
        event = self._name(f"tidewire.{type(envelope).__struct_config__.tag}".encode())
        return self.wrap(
            b"%b%bdata: %b\nid: %b\n\n" % (event, retry, encode_control(envelope), cursor.encode())
        )

    def heartbeat(self) -> bytes:
        """A comment, to show that the stream is alive."""
        return self.wrap(HEARTBEAT)

    def end(self) -> bytes:
        """What ends the stream."""
        return b"0\r\n\r\n" if self._chunked else b""

    def wrap(self, block: bytes) -> bytes:
        """*block* as it goes on the wire."""
        return b"%x\r\n%b\r\n" % (len(block), block) if self._chunked else block


def _raw_lines(message: Message) -> bytes:
    text = text_of(message.data)
    if text is None:
        return b"data: %b\n" % message.data
    return b"".join([b"data: %b\n" % line for line in _LINE_END.split(text.encode())])


_FORMS: dict[tuple[bool, bool, int, int, bool], Events] = {}


def events_form(
    *, chunked: bool, raw: bool, retry: int, fragment_size: int = WHOLE, named: bool = True
) -> Events:
    """The one object of each form, so that equal streams share an audience."""
    key = (chunked, raw, retry, fragment_size, named)
    return _FORMS.get(key) or _FORMS.setdefault(
        key,
        Events(chunked=chunked, raw=raw, retry=retry, fragment_size=fragment_size, named=named),
    )


class EventStream:
    """One client's stream after its head. Implements the server's ``Stream``."""

    __slots__ = ("_due", "_form", "_interval", "_retry", "_wire", "holding", "session")

    def __init__(
        self,
        wire: Wire,
        form: Events,
        holding: Holding,
        *,
        heartbeat: float,
        now: float,
        retry: Callable[[], int],
    ) -> None:
        self._wire = wire
        self._form = form
        self.holding = holding
        self.session = holding.session
        self._interval = heartbeat
        self._retry = retry
        self._due = now + heartbeat

    def feed(self, data: bytes) -> None:
        """An event stream is one way: what the client sends is of no meaning."""

    def resume(self) -> None:
        self.session.resume()

    def on_timer(self, now: float) -> float:
        if now >= self._due:
            self._wire.write(self._form.heartbeat())
            self.holding.refresh()
            self._due = now + self._interval
        return self._due - now

    def end(self, code: int, reason: str, *, again: bool, retry: int | None = None) -> None:
        close = Close(code, reason, (retry or self._retry()) if again else None)
        cursor = self.session.cursor
        self.lost()
        self._wire.write(self._form.control(close, cursor) + self._form.end())
        self._wire.close()

    def lost(self) -> None:
        self.holding.close()
        self.session.close()
