"""WebSocket on a bare socket: frames may be as wrong as a test wants them."""

from __future__ import annotations

import base64
import json
import os
import struct
from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from tests.acceptance.raw_http import Headers, RawConnection, Response

if TYPE_CHECKING:
    from collections.abc import Iterable

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def close_code(self) -> int:
        """The code of a close frame."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2])


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    declared: int | None = None,
) -> bytes:
    """The bytes of one client frame; ``declared`` overrides the length written in it."""
    length = len(payload) if declared is None else declared
    head = bytes([fin << 7 | rsv << 4 | opcode])
    mask_bit = masked << 7
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, length)
    else:
        head += struct.pack("!BQ", mask_bit | 127, length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + mask_payload(payload, mask)


def mask_payload(payload: bytes, mask: bytes) -> bytes:
    """XOR with the four bytes of the mask, over and over."""
    size = len(payload)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)


class RawWebSocket(RawConnection):
    """A connection that has, or has not yet, made its opening handshake."""

    def handshake(self, target: str, changes: Headers | None = None) -> Response:
        """Ask for the upgrade; ``changes`` override headers, or with ``None`` leave them out."""
        key = base64.b64encode(os.urandom(16)).decode()
        headers: dict[str, str | None] = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        }
        self.request("GET", target, headers | (changes or {}))
        status, fields = self.head()
        if status != 101:
            size = int(fields.get("content-length", 0))
            return Response(status, fields, self.read_exactly(size))
        accept = base64.b64encode(sha1(key.encode() + GUID).digest()).decode()
        assert fields["sec-websocket-accept"] == accept
        assert fields["upgrade"].lower() == "websocket"
        assert fields["connection"].lower() == "upgrade"
        return Response(status, fields, b"")

    def open(self, target: str, changes: Headers | None = None) -> None:
        """Make the opening handshake and expect it to succeed."""
        answer = self.handshake(target, changes)
        assert answer.status == 101, answer

    def read_frame(self) -> Frame:
        """The next frame; it must not be masked, and its length must be in its shortest form."""
        first, second = self.read_exactly(2)
        assert not second & 0x80, "the server masked a frame"
        length = second
        if second == 126:
            length = int.from_bytes(self.read_exactly(2))
            assert length > 125
        elif second == 127:
            length = int.from_bytes(self.read_exactly(8))
            assert length > 65535
        payload = self.read_exactly(length)
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    def read_envelope(self) -> dict[str, Any]:
        """The next text frame as JSON, pings on the way answered."""
        while True:
            received = self.read_frame()
            if received.opcode == PING:
                self.send(frame(PONG, received.payload))
                continue
            assert received.opcode == TEXT, received
            envelope: dict[str, Any] = json.loads(received.payload)
            return envelope

    def read_close(self, *, skip: Iterable[int] = (TEXT, PING, PONG)) -> Frame:
        """The close frame, after any number of frames whose opcode is in ``skip``."""
        while (received := self.read_frame()).opcode in skip:
            pass
        assert received.opcode == CLOSE, received
        return received

    def command(self, **fields: object) -> dict[str, Any]:
        """Send a command and return the envelope that answers it, whatever comes in between."""
        self.send(frame(TEXT, json.dumps(fields).encode()))
        while True:
            envelope = self.read_envelope()
            if envelope["type"] in ("ok", "error") and envelope.get("ref") == fields.get("ref"):
                return envelope
