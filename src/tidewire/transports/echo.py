"""A WebSocket that returns every message: the frame code alone, for conformance suites."""

from __future__ import annotations

from tidewire.transports.framing import (
    BINARY,
    PONG,
    TEXT,
    Binary,
    Closing,
    Event,
    FrameParser,
    Ping,
    ProtocolError,
    Text,
    close_frame,
    deflate,
    frame,
)
from tidewire.transports.wire import Wire


class Echo:
    """Returns every message unchanged, by the same frame code: for conformance suites."""

    __slots__ = ("_closing", "_parser", "_window_bits", "_wire")

    def __init__(self, wire: Wire, parser: FrameParser, window_bits: int) -> None:
        self._wire = wire
        self._parser = parser
        self._window_bits = window_bits
        self._closing = False

    def feed(self, data: bytes) -> None:
        try:
            events = self._parser.feed(data)
        except ProtocolError as error:
            self._return(error.before)
            self.end(error.code, error.reason, again=False)
            return
        self._return(events)

    def _return(self, events: list[Event]) -> None:
        for event in events:
            if self._closing:
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
                self._wire.write(frame(PONG, event.data))
            elif isinstance(event, Closing):
                self._closing = True
                self._wire.write(close_frame(1000 if event.code == 1005 else event.code))
                self._wire.close()

    def resume(self) -> None:
        pass

    def on_timer(self, now: float) -> float:
        return 3600.0

    def end(self, code: int, reason: str, *, again: bool) -> None:
        if not self._closing:
            self._closing = True
            self._wire.write(close_frame(code, reason))
            self._wire.linger()

    def lost(self) -> None:
        pass
