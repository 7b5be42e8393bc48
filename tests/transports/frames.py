"""WebSocket frames from both ends, written from RFC 6455 section 5.2 for the tests alone."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x37\xfa\x21\x3d"
TAIL = b"\x00\x00\xff\xff"


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """*payload* with the mask put on, or taken off."""
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
) -> bytes:
    """A frame as a client sends it; *length_bytes* (0, 2 or 8) forces a form of the length."""
    return head(opcode, len(payload), fin=fin, rsv=rsv, mask=mask, length_bytes=length_bytes) + (
        payload if mask is None else masked(payload, mask)
    )


def head(
    opcode: int,
    size: int,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
) -> bytes:
    """All of a frame but its payload, which is said to have *size* bytes."""
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    first = fin << 7 | rsv << 4 | opcode
    bit = 0 if mask is None else 0x80
    if length_bytes == 0:
        data = struct.pack("!BB", first, bit | size)
    elif length_bytes == 2:
        data = struct.pack("!BBH", first, bit | 126, size)
    else:
        data = struct.pack("!BBQ", first, bit | 127, size)
    return data + (mask or b"")


def text(payload: str) -> bytes:
    """A whole text message from a client."""
    return client_frame(TEXT, payload.encode())


def deflated(payload: bytes) -> bytes:
    """The payload of a compressed message."""
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(TAIL)


def inflated(payload: bytes) -> bytes:
    """What a compressed message says."""
    return zlib.decompressobj(wbits=-15).decompress(payload + TAIL)


class ServerFrame(NamedTuple):
    """A frame that a server sent."""

    opcode: int
    payload: bytes
    compressed: bool = False
    fin: bool = True

    @property
    def text(self) -> str:
        """What a text frame says, inflated if it must be."""
        assert self.opcode == TEXT
        return (inflated(self.payload) if self.compressed else self.payload).decode()


def server_frames(data: bytes) -> list[ServerFrame]:
    """The frames of a server's bytes, each of which must be a message."""
    frames = split_frames(data)
    assert all(frame.fin for frame in frames), "a message in fragments"
    return frames


def split_frames(data: bytes) -> list[ServerFrame]:
    """The frames of a server's bytes, which must end with a whole one."""
    frames = []
    while data:
        first, second = data[:2]
        assert not first & 0x30, "a reserved bit is set"
        assert second < 0x80, "a server's frames are not masked"
        size, begin = second, 2
        if second == 126:
            size, begin = int.from_bytes(data[2:4]), 4
            assert size > 125
        elif second == 127:
            size, begin = int.from_bytes(data[2:10]), 10
            assert size > 65535
        assert len(data) >= begin + size, "a frame is cut"
        payload = data[begin : begin + size]
        frames.append(
            ServerFrame(first & 0x0F, payload, compressed=bool(first & 0x40), fin=first >= 0x80)
        )
        data = data[begin + size :]
    return frames
