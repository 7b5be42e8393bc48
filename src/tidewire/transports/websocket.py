"""WebSocket: a client after its handshake. Frames in and out, heartbeats, the closing handshake."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tidewire.access.rates import Bucket
from tidewire.hub import Holding, Hub
from tidewire.model.envelope import Close
from tidewire.transports.dialogue import Dialogue, Rules
from tidewire.transports.frames import Frames
from tidewire.transports.framing import (
    PING,
    TEXT,
    Binary,
    Closing,
    Event,
    FrameParser,
    Ping,
    Pong,
    ProtocolError,
    Text,
    close_frame,
    frame,
)
from tidewire.transports.gate import Gate
from tidewire.transports.pacing import PIECE, TOO_MANY_CONTROLS, floods, pongs
from tidewire.transports.wire import Wire

CLOSING_SECONDS = 2.0  # for the client to answer a close frame


class Heartbeat(NamedTuple):
    """Seconds between pings, and for the pong."""

    interval: float
    timeout: float


class WebSocket:
    """One client after the handshake. Implements the server's ``Stream``."""

    __slots__ = (
        "_carries",
        "_closing",
        "_closing_until",
        "_controls",
        "_dialogue",
        "_due",
        "_form",
        "_gate",
        "_heartbeat",
        "_hub",
        "_parser",
        "_pinged",
        "_retry",
        "_rules",
        "_spent",
        "_unanswered",
        "_wire",
        "holding",
        "session",
    )

    def __init__(
        self,
        wire: Wire,
        hub: Hub,
        form: Frames,
        parser: FrameParser,
        *,
        holding: Holding,
        gate: Gate,
        rules: Rules,
        heartbeat: Heartbeat,
        now: float,
        retry: Callable[[], int],
    ) -> None:
        self._wire = wire
        self._hub = hub
        self._form = form
        self._carries = Text if form.codec.opcode == TEXT else Binary
        self._parser = parser
        self.holding = holding
        self.session = holding.session
        self._gate = gate
        self._rules = rules
        self._dialogue: Dialogue | None = None  # most clients never send a command
        self._controls: Bucket | None = None  # of pings and pongs
        self._heartbeat = heartbeat
        self._retry = retry
        self._due = now + heartbeat.interval
        self._pinged = False  # a ping was sent, and the time for its pong is not over
        self._unanswered = False  # nothing has come since that ping
        self._closing = False
        self._closing_until: float | None = 0.0
        self._spent = False  # nothing that comes counts any more

    # Stream

    def feed(self, data: bytes) -> None:
        self._unanswered = False  # whatever the client sends shows that it is there
        if len(data) <= PIECE:
            self._read(data)
            return
        for begin in range(0, len(data), PIECE):
            if not self._spent:
                self._read(data[begin : begin + PIECE])

    def _read(self, data: bytes) -> None:
        try:
            events = self._parser.feed(data)
        except ProtocolError as error:
            self._take(error.before)
            if error.refusal is not None and not self._closing:
                self._rules.pacing.refusals[error.refusal] += 1
            self._end(error.code, error.reason)
            return
        self._take(events)

    def _take(self, events: list[Event]) -> None:
        pings: list[bytes] = []  # in a run, without an answer yet
        for event in events:
            kind = type(event)
            if pings and kind is not Ping:
                self._answer(pings)
            if kind is self._carries:
                if not self._closing:
                    self._command(event.data)  # type: ignore[union-attr]
            elif kind is Ping:
                if not self._closing and self._takes_control():
                    pings.append(event.data)  # type: ignore[union-attr]
            elif kind is Pong:
                if not self._closing and self._takes_control():
                    self.holding.confirm(event.data)  # type: ignore[union-attr]
            elif kind is Closing:
                self._closed_by_client(event)  # type: ignore[arg-type]
            elif not self._closing:
                dialogue = self._dialogue
                if kind is Binary and dialogue is not None and dialogue.uploading:
                    dialogue.chunk(dialogue.uploading, event.data)  # type: ignore[union-attr]
                    continue
                what = "text" if self._carries is Text else "binary frames"
                self._end(1003, f"this subprotocol carries {what} only")
        if pings:
            self._answer(pings)

    def _answer(self, pings: list[bytes]) -> None:
        if not self._closing:
            self._wire.interject(pongs(pings))
        pings.clear()

    def _takes_control(self) -> bool:
        """Count in a ping or a pong; who sends too many of them is sent away."""
        if self._controls is None:
            self._controls = Bucket()
        if not floods(self._controls, self._rules.pacing):
            return True
        self.end(4429, TOO_MANY_CONTROLS, again=True)
        return False

    def resume(self) -> None:
        self.session.resume()

    def on_timer(self, now: float) -> float:
        congested = self._wire.congested
        if self._closing:
            if congested:
                self._closing_until = None
                return CLOSING_SECONDS
            if self._closing_until is None:  # the close frame may have come out only now
                self._closing_until = now + CLOSING_SECONDS
            if now < self._closing_until:
                return self._closing_until - now
            self._wire.abort()  # the client did not answer the close frame
            return 0
        if now < self._due:
            return self._due - now
        interval, timeout = self._heartbeat
        if self._unanswered and not congested and self._wire.reading:
            self._end(4408, "no answer to a ping")
            return CLOSING_SECONDS
        self._unanswered = False
        if self._pinged and timeout < interval:  # the pong came: rest until the next ping is due
            self._pinged = False
            self._due += interval - timeout
            if now < self._due:
                return self._due - now
        # To a slow client a ping gets ahead of messages: its pong does not say that those came, and
        # may be late. Whether that client is alive shows in what it takes.
        self._pinged = self._unanswered = not congested
        self._wire.interject(frame(PING, b"" if congested else self.holding.mark()))
        self.holding.refresh()
        wait = interval if congested else timeout
        self._due = now + wait
        return wait

    def end(self, code: int, reason: str, *, again: bool, retry: int | None = None) -> None:
        if not self._closing:
            close = Close(code, reason, (retry or self._retry()) if again else None)
            self._wire.write(self._form.control(close))
            self._end(code, reason)
            self._closing_until = None

    def lost(self) -> None:
        self._close_session()

    # The closing handshake

    def _closed_by_client(self, closing: Closing) -> None:
        self._close_session()
        if not self._closing:
            code = 1000 if closing.code == 1005 else closing.code
            self._wire.write(close_frame(code))
        self._closing = True
        self._wire.close()

    def _end(self, code: int, reason: str) -> None:
        """Send a close frame; the connection ends when the client has answered, or soon after."""
        self._close_session()
        if not self._closing:
            self._closing = True
            self._wire.write(close_frame(code, reason))
            if code in (1002, 1007, 1009, 4429):
                self._spent = True
                self._wire.linger()  # what follows on the wire cannot, or need not, be read

    def _close_session(self) -> None:
        self.holding.close()
        self.session.close()
        if self._dialogue is not None:
            self._dialogue.end()

    def _command(self, data: bytes) -> None:
        if self._dialogue is None:
            self._dialogue = Dialogue(
                self._wire, self._hub, self._form, self.holding, self._gate, self._rules
            )
        self._dialogue.command(data)
