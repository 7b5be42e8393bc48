"""A slow reading of RFC 6455 and RFC 7692, to hold the frame parser to.

It keeps nothing between frames that could get out of step: after each of them it looks at the whole
message again. Only for inputs of a few kilobytes.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from tidewire.transports.framing import Binary, Closing, Event, Ping, Pong, Text

CLOSE_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


class Bounds(NamedTuple):
    """Limits on a message, and whether permessage-deflate was agreed on."""

    size: int
    fragments: int
    deflated: bool


class Refused(Exception):
    """The connection is closed with ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Message:
    """A message of which not all frames have come."""

    def __init__(self, opcode: int, compressed: bool) -> None:
        self.opcode = opcode
        self.compressed = compressed
        self.fragments: list[bytes] = []

    def content(self, bounds: Bounds, *, final: bool) -> bytes:
        """What there is of it by now, inflated and checked."""
        content = b"".join(self.fragments)
        if self.compressed:
            content = inflated(content + (b"\0\0\xff\xff" if final else b""), bounds.size)
        if self.opcode == 1:
            check_text(content, final=final)
        return content


def read(wire: bytes, bounds: Bounds) -> list[Event | int]:
    """The events of a connection's bytes; at their end the close code, if they are refused."""
    events: list[Event | int] = []
    message: Message | None = None
    at = 0
    try:
        while len(wire) - at >= 2:
            first, second = wire[at], wire[at + 1]
            check_first_bytes(first, second, message, bounds)
            length, begin = length_of(wire, at)
            if length is None:
                break
            check_length(first, length, message, bounds)
            mask, begin = wire[begin : begin + 4], begin + 4
            masked = wire[begin : begin + length]
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))
            opcode, final = first & 15, first >= 128
            if opcode in (1, 2):
                message = Message(opcode, bool(first & 64))
            if len(wire) < begin + length:
                if opcode < 8:
                    assert message is not None
                    check_begun(message, payload, bounds)
                break
            at = begin + length
            if opcode >= 8:
                event = control(opcode, payload)
                events.append(event)
                if isinstance(event, Closing):
                    break
                continue
            assert message is not None
            message.fragments.append(payload)
            content = message.content(bounds, final=final)
            if final:
                events.append(Text(content) if message.opcode == 1 else Binary(content))
                message = None
    except Refused as refusal:
        events.append(refusal.code)
    return events


def check_first_bytes(first: int, second: int, message: Message | None, bounds: Bounds) -> None:
    """What can be said without the length."""
    opcode, reserved = first & 15, first >> 4 & 7
    starts = opcode in (1, 2)
    if (
        second < 128
        or opcode not in (0, 1, 2, 8, 9, 10)
        or reserved not in (0, 4)
        or (reserved == 4 and not (bounds.deflated and starts))
        or (opcode >= 8 and (first < 128 or second & 127 > 125))
        or (starts and message is not None)
        or (opcode == 0 and message is None)
    ):
        raise Refused(1002)
    if opcode == 0 and message is not None and len(message.fragments) >= bounds.fragments:
        raise Refused(1009)


def length_of(wire: bytes, at: int) -> tuple[int | None, int]:
    """The length, and where it ends; ``None`` while it is not all there."""
    length, begin = wire[at + 1] & 127, at + 2
    if length < 126:
        return length, begin
    size, least = (2, 126) if length == 126 else (8, 1 << 16)
    if len(wire) < begin + size:
        return None, begin
    length = int.from_bytes(wire[begin : begin + size], "big")
    if not least <= length < 1 << 63:
        raise Refused(1002)
    return length, begin + size


def check_length(first: int, length: int, message: Message | None, bounds: Bounds) -> None:
    """A message over the limit is refused before it has come."""
    if first & 15 >= 8:
        return
    compressed = bool(first & 64)
    before = 0
    if message is not None:
        compressed = message.compressed
        before = len(message.content(bounds, final=False))
    # Deflated noise is a little larger than the noise.
    slack = bounds.size // 1024 + 64 if compressed else 0
    if before + length > bounds.size + slack:
        raise Refused(1009)


def check_begun(message: Message, payload: bytes, bounds: Bounds) -> None:
    """Text is refused where it goes wrong, also within a frame; other frames are waited for."""
    if message.opcode == 1 and not message.compressed:
        check_text(b"".join([*message.fragments, payload]), final=False)


def check_text(content: bytes, *, final: bool) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        cut = error.end == len(content) and error.reason == "unexpected end of data"
        if final or not cut:
            raise Refused(1007) from None


def inflated(content: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj(wbits=-15)
    try:
        data = inflater.decompress(content, most + 1)
    except zlib.error:
        raise Refused(1007) from None
    if len(data) > most:
        raise Refused(1009)
    if inflater.unused_data.removesuffix(b"\0\0\xff\xff") not in (b"", b"\0"):
        raise Refused(1007)
    return data


def control(opcode: int, payload: bytes) -> Event:
    if opcode == 9:
        return Ping(payload)
    if opcode == 10:
        return Pong(payload)
    if not payload:
        return Closing(1005, "")
    if len(payload) < 2 or int.from_bytes(payload[:2], "big") not in CLOSE_CODES:
        raise Refused(1002)
    try:
        return Closing(int.from_bytes(payload[:2], "big"), payload[2:].decode())
    except UnicodeDecodeError:
        raise Refused(1007) from None
