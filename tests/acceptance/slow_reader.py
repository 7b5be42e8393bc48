"""A subscriber of a stream that reads as little as a test wants, over a tiny receive buffer."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Self

from tests.acceptance.checker import Envelope, Message, from_envelope
from tests.acceptance.eventsource import EventStream
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import CONTINUATION, TEXT, RawWebSocket
from tests.acceptance.subscribers import query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def event_stream(*, chunked: bool) -> Callable[[bytes], list[str]]:
    """A parser of the body of an SSE answer that gives the data of each event."""
    stream = EventStream()
    buffer = bytearray()

    def parse(data: bytes) -> list[str]:
        if not chunked:
            return [event.data for event in stream.feed(data)]
        buffer.extend(data)
        events = []
        while (line_end := buffer.find(b"\r\n")) >= 0:
            begin = line_end + 2
            end = begin + int(buffer[:line_end], 16)
            if len(buffer) < end + 2:
                break
            events += stream.feed(bytes(buffer[begin:end]))
            del buffer[: end + 2]
        return [event.data for event in events]

    return parse


def text_frames() -> Callable[[bytes], list[str]]:
    """A parser of the server's frames that gives the texts, put together from their fragments."""
    buffer = bytearray()
    text = bytearray()

    def parse(data: bytes) -> list[str]:
        buffer.extend(data)
        texts = []
        while len(buffer) >= 2:
            extra = {126: 2, 127: 8}.get(buffer[1], 0)
            begin = 2 + extra
            if len(buffer) < begin:
                break
            end = begin + (int.from_bytes(buffer[2:begin]) if extra else buffer[1])
            if len(buffer) < end:
                break
            final, opcode = buffer[0] & 0x80, buffer[0] & 0x7F
            if opcode < 8:
                assert opcode == (CONTINUATION if text else TEXT)
                text.extend(buffer[begin:end])
                if final:
                    texts.append(text.decode())
                    text.clear()
            del buffer[:end]
        return texts

    return parse


class SlowReader:
    """Reads only when, and at most as many bytes as, it is told."""

    def __init__(
        self,
        address: tuple[str, int],
        transport: str,
        channels: Sequence[str],
        *,
        cursor: str | None = None,
        since: str | None = None,
        policy: str | None = None,
    ) -> None:
        self.bytes_read = 0
        self.close: Envelope | None = None
        self.messages: list[Message] = []
        self.gaps: list[Envelope] = []
        self.cursor = cursor
        parameters = query(channels, cursor=cursor, since=since, policy=policy)
        if transport == "ws":
            upgraded = RawWebSocket(address, receive_buffer=4096)
            upgraded.open(f"/ws?{parameters}")
            self.connection: RawConnection = upgraded
            self._parse = text_frames()
        else:
            self.connection = RawConnection(address, receive_buffer=4096)
            self.connection.request("GET", f"/sse?{parameters}")
            status, headers = self.connection.head()
            assert status == 200
            self._parse = event_stream(chunked=headers.get("transfer-encoding") == "chunked")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.socket.close()

    def hurry(self) -> None:
        """Offer a large window from now on, to get done."""
        self.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def read(self, size: int) -> bool:
        """Read once, at most ``size`` bytes; ``False`` when the server has ended the stream."""
        try:
            data = self.connection.receive(size)
        except ConnectionError:
            return False
        self.bytes_read += len(data)
        for text in self._parse(data):
            envelope = json.loads(text)
            if envelope["type"] == "close":
                self.close = envelope
                continue
            assert envelope["type"] in ("ready", "message", "gap"), envelope
            self.cursor = envelope["id"]
            if envelope["type"] == "message":
                self.messages.append(from_envelope(envelope))
            elif envelope["type"] == "gap":
                self.gaps.append(envelope)
        return bool(data)
