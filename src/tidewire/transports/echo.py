"""A WebSocket that returns every message: the frame code alone, for conformance suites."""

from __future__ import annotations

from tidewire.access.rates import Bucket
from tidewire.transports.framing import (
    BINARY,
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
    deflate,
    frame,
)
from tidewire.transports.pacing import PIECE, TOO_MANY_CONTROLS, Pacing, floods, pongs
from tidewire.transports.wire import Wire


class Echo:
    """Returns every message unchanged, by the same frame code: for conformance suites."""

    __slots__ = ("_closing", "_controls", "_pacing", "_parser", "_window_bits", "_wire")

    def __init__(self, wire: Wire, parser: FrameParser, window_bits: int, pacing: Pacing) -> None:
        self._wire = wire
        self._parser = parser
        self._window_bits = window_bits
        self._pacing = pacing
        self._controls = Bucket()  # of pings and pongs
        self._closing = False

    def feed(self, data: bytes) -> None:
        for begin in range(0, len(data), PIECE):
            if not self._closing:
                self._read(data[begin : begin + PIECE])

    def _read(self, data: bytes) -> None:
        try:
            events = self._parser.feed(data)
        except ProtocolError as error:
            self._return(error.before)
            if error.refusal is not None and not self._closing:
                self._pacing.refusals[error.refusal] += 1
            self.end(error.code, error.reason, again=False)
            return
        self._return(events)

    def _return(self, events: list[Event]) -> None:
        pings: list[bytes] = []  # in a run, without an answer yet
        for event in events:
            if pings and not isinstance(event, Ping):
                self._answer(pings)
            if self._closing:
                return
            if isinstance(event, Ping | Pong) and floods(self._controls, self._pacing):
                self.end(4429, TOO_MANY_CONTROLS, again=True)
                return
            if isinstance(event, Text | Binary):
                opcode = TEXT if isinstance(event, Text) else BINARY
                if self._window_bits:
                    self._wire.write(
                        frame(opcode, deflate(event.data, self._window_bits), compressed=True)
                    )
                else:
                    self._wire.write(frame(opcode, event.data))
            elif isinstance(event, Ping):
                pings.append(event.data)
            elif isinstance(event, Closing):
                self._closing = True
                self._wire.write(close_frame(1000 if event.code == 1005 else event.code))
                self._wire.close()
        if pings:
            self._answer(pings)

    def _answer(self, pings: list[bytes]) -> None:
        self._wire.write(pongs(pings))
        pings.clear()

    def resume(self) -> None:
        pass

    def on_timer(self, now: float) -> float:
        return 3600.0

    def end(self, code: int, reason: str, *, again: bool, retry: int | None = None) -> None:
        if not self._closing:
            self._closing = True
            self._wire.write(close_frame(code, reason))
            self._wire.linger()

    def lost(self) -> None:
        pass
