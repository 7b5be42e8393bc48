"""WebSocket frames (RFC 6455): a parser for a server, without sockets.

Feed bytes to ``FrameParser.feed``; it returns what came out of them, in order: whole messages
(``Text``, ``Binary``) and control frames (``Ping``, ``Pong``, ``Closing``). What the client did
wrong is raised as ``ProtocolError`` with the close code to answer; after it the parser is spent.
All of this depends on the bytes alone, never on how the network has cut them into pieces.

What is wrong is refused as early as it can be known: the size from a frame's header, before its
payload is taken in; the inflated size while inflating; UTF-8 with each piece of text that comes.
"""

from __future__ import annotations

import codecs
import struct
import zlib

import msgspec

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, MASK = 0x80, 0x40, 0x80

MAX_CONTROL = 125

_WHOLE_TEXT, _MASKED_MEDIUM = FIN | TEXT, MASK | 126
_MEDIUM = struct.Struct("!BBH").pack
_LONG = struct.Struct("!BBQ").pack
_TAIL = b"\x00\x00\xff\xff"
_UTF8 = codecs.getincrementaldecoder("utf-8")
# RFC 6455 section 7.4 and the IANA registry: what may stand in a close frame.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class Text(msgspec.Struct, frozen=True, gc=False):
    """A whole text message, as its UTF-8 bytes (checked)."""

    data: bytes


class Binary(msgspec.Struct, frozen=True, gc=False):
    """A whole binary message."""

    data: bytes


class Ping(msgspec.Struct, frozen=True, gc=False):
    """To be answered by a pong with the same payload."""

    data: bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The answer to a ping, or a heartbeat of the client's own accord."""

    data: bytes


class Closing(msgspec.Struct, frozen=True, gc=False):
    """The client closes; ``code`` is 1005 when it gave none."""

    code: int
    reason: str


Event = Text | Binary | Ping | Pong | Closing


class ProtocolError(Exception):
    """The client broke the protocol or a limit; close with ``code`` and ``reason``.

    ``before``: what came before it in the same bytes, and still counts. ``refusal``: which limit
    was broken, as metrics name it.
    """

    def __init__(self, code: int, reason: str, refusal: str | None = None) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason
        self.refusal = refusal
        self.before: list[Event] = []


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """One whole frame from the server: FIN set, not masked."""
    return _head(FIN | opcode | (RSV1 if compressed else 0), len(payload)) + payload


def message_frames(opcode: int, payload: bytes, most: int, *, compressed: bool = False) -> bytes:
    """A message from the server: one frame, or as many as it takes at *most* bytes of payload each.

    The bit of compression stands in the first of them only (RFC 7692 section 6.1).
    """
    size = len(payload)
    if opcode == TEXT and size < _SHORT and size <= most and not compressed:  # as most are
        return _SHORT_HEADS[size] + payload
    first = opcode | RSV1 if compressed else opcode
    if size <= most:
        return _head(FIN | first, size) + payload
    view = memoryview(payload)
    parts: list[bytes | memoryview] = []
    for begin in range(0, size, most):
        part = view[begin : begin + most]
        parts += (_head(first | (FIN if begin + most >= size else 0), len(part)), part)
        first = CONTINUATION
    return b"".join(parts)


def _head(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return _MEDIUM(first, 126, size)
    return _LONG(first, 127, size)


_SHORT = 1024  # bytes
_SHORT_HEADS = [_head(FIN | TEXT, size) for size in range(_SHORT)]


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut to the 123 bytes that fit, at a character's border."""
    text = reason.encode()[: MAX_CONTROL - 2].decode(errors="ignore").encode()
    return frame(CLOSE, struct.pack("!H", code) + text)


def deflate(payload: bytes, window_bits: int = 15) -> bytes:
    """The payload of a compressed message (RFC 7692 section 7.2.1), with no context kept."""
    compressor = zlib.compressobj(wbits=-window_bits)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(_TAIL)


class FrameParser:
    """What a server receives on one connection.

    *max_size* bounds a message in bytes, inflated; *max_fragments* its frames. *deflated* says
    whether permessage-deflate was agreed, with ``client_no_context_takeover``.
    """

    __slots__ = (
        "_buffer",
        "_checked",
        "_compressed",
        "_decoder",
        "_deflated",
        "_fragments",
        "_inflater",
        "_max_fragments",
        "_max_size",
        "_opcode",
        "_parts",
        "_size",
    )

    def __init__(self, *, max_size: int, max_fragments: int = 4096, deflated: bool = False) -> None:
        self._max_size = max_size
        self._max_fragments = max_fragments
        self._deflated = deflated
        self._buffer: bytes | bytearray = b""
        self._reset()

    def _reset(self) -> None:
        self._opcode = 0  # of the message under way; CLOSE once nothing counts any more
        self._checked = 0  # bytes of text of an incomplete frame that are known to be right
        self._compressed = False
        self._parts: list[bytes] | None = None
        self._size = 0
        self._fragments = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self._inflater: zlib._Decompress | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take in bytes; return the events that they complete.

        After a ``Closing`` or an error nothing comes any more.

        Raises:
            ProtocolError: close the connection with its code, when what is ``before`` it has
                been dealt with.
        """
        if not self._buffer and self._parts is None:
            whole = self._whole_text(data)
            if whole is not None:
                return [whole]
        if self._opcode == CLOSE:
            return []
        if self._buffer:
            # A bytearray grows in place: a large frame in small pieces costs linear time.
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            self._buffer += data
            buffer: bytes | bytearray = self._buffer
        else:
            buffer = data
        events: list[Event] = []
        try:
            position = self._frames(buffer, events)
        except ProtocolError as error:
            self._spend()
            error.before = events
            raise
        if self._opcode == CLOSE or position == len(buffer):
            self._buffer = b""
        else:
            # Kept as bytes while short: most leftovers are a part of one small frame.
            self._buffer = bytes(buffer[position:]) if position or type(buffer) is bytes else buffer
        return events

    def _spend(self) -> None:
        self._reset()
        self._buffer = b""
        self._opcode = CLOSE
        self._parts = []  # no whole message any more either

    def _frames(self, buffer: bytes | bytearray, events: list[Event]) -> int:
        """Append to *events* what the frames in *buffer* complete; return where the last one ends.

        Raises:
            ProtocolError: what is in *events* came before it.
        """
        position = 0
        available = len(buffer)
        while available - position >= 2:
            first, second = buffer[position], buffer[position + 1]
            self._check_start(first, second)
            size = second & 0x7F
            begin = position + 2
            if size >= 126:
                extended = 2 if size == 126 else 8
                if available - begin < extended:
                    break
                size = int.from_bytes(buffer[begin : begin + extended], "big")
                if size < (126 if extended == 2 else 65536):
                    raise ProtocolError(1002, "length not in its shortest form")
                if size >= 1 << 63:
                    raise ProtocolError(1002, "length over 63 bits")
                begin += extended
            if self._size + size > self._max_size:
                self._check_size(first, size)
            end = begin + 4 + size
            if end > available:
                self._check_incomplete(first, buffer, begin)
                break
            payload = apply_mask(buffer[begin + 4 : end], bytes(buffer[begin : begin + 4]))
            position = end
            event = self._frame(first, payload)
            if event is not None:
                events.append(event)
                if type(event) is Closing:  # nothing counts after it (section 5.5.1)
                    self._spend()
                    break
        return position

    def _whole_text(self, data: bytes) -> Text | None:
        """The message, if *data* is just one text frame as most are: final, masked, not long.

        Anything else, and anything wrong, is left to the general way.
        """
        size, begin = len(data) - 6, 6
        if size < 0 or data[0] != _WHOLE_TEXT:
            return None
        if data[1] == _MASKED_MEDIUM:
            size, begin = size - 2, 8
            if size < 126 or size != data[2] << 8 | data[3]:
                return None
        elif size > 125 or data[1] != MASK + size:
            return None
        if size > self._max_size:
            return None
        payload = apply_mask(data[begin:], data[begin - 4 : begin])
        if not payload.isascii():
            try:
                str(payload, "utf-8")
            except UnicodeDecodeError:
                return None
        return Text(payload)

    def _check_start(self, first: int, second: int) -> None:
        """Refuse what can be refused from a frame's first two bytes (sections 5.2, 5.4, 5.5)."""
        opcode = first & 0x0F
        if not second & MASK:
            raise ProtocolError(1002, "frames from a client must be masked")
        if first & 0x30 or (first & RSV1 and not self._deflated):
            raise ProtocolError(1002, "reserved bit set")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise ProtocolError(1002, f"unknown opcode {opcode:#x}")
            if not first & FIN:
                raise ProtocolError(1002, "control frame in fragments")
            if second & 0x7F > MAX_CONTROL:
                raise ProtocolError(1002, "control frame over 125 bytes")
            if first & RSV1:
                raise ProtocolError(1002, "control frame compressed")
            return
        if opcode == CONTINUATION:
            if self._parts is None:
                raise ProtocolError(1002, "continuation of nothing")
            if first & RSV1:
                raise ProtocolError(1002, "reserved bit set in a continuation")
            if self._fragments >= self._max_fragments:
                reason = f"more than {self._max_fragments} fragments"
                raise ProtocolError(1009, reason, "fragments")
        elif opcode > BINARY:
            raise ProtocolError(1002, f"unknown opcode {opcode:#x}")
        elif self._parts is not None:
            raise ProtocolError(1002, "a new message inside a fragmented one")

    def _check_size(self, first: int, size: int) -> None:
        """Refuse a frame of *size* bytes that would make a message too large."""
        if first & 0x0F >= CLOSE:
            return
        # What is compressed may have some more bytes than what it inflates to, if that is random.
        slack = (self._max_size >> 10) + 64 if first & RSV1 or self._compressed else 0
        if self._size + size > self._max_size + slack:
            raise self._too_large()

    def _too_large(self) -> ProtocolError:
        return ProtocolError(1009, f"message over {self._max_size} bytes", "message_size")

    def _check_incomplete(self, first: int, buffer: bytes | bytearray, begin: int) -> None:
        """Refuse text that is wrong before the rest of its frame is there (section 8.1).

        *begin* is where the mask stands, with what there is of the payload behind it.
        """
        start = begin + 4 + self._checked
        if (first & 0x0F or self._opcode) != TEXT or first & RSV1 or self._compressed:
            return
        if start < len(buffer):
            turn = self._checked & 3
            mask = bytes(buffer[begin : begin + 4])
            part = apply_mask(buffer[start:], mask[turn:] + mask[:turn])
            self._check_text(part, final=False)
            self._checked += len(part)

    def _frame(self, first: int, payload: bytes) -> Event | None:
        opcode = first & 0x0F
        if opcode >= CLOSE:
            if opcode == CLOSE:
                return _closing(payload)
            return Ping(payload) if opcode == PING else Pong(payload)
        if opcode != CONTINUATION and first & FIN and not first & RSV1:  # the common case
            if opcode == BINARY:
                return Binary(payload)
            if self._checked:
                self._check_text(payload[self._checked :], final=True)
                self._reset()
                return Text(payload)
            try:
                str(payload, "utf-8")
            except UnicodeDecodeError:
                raise ProtocolError(1007, "text is not UTF-8") from None
            return Text(payload)
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._compressed = bool(first & RSV1)
            self._parts = []
        assert self._parts is not None  # _check_start saw to it
        self._fragments += 1
        final = bool(first & FIN)
        if self._compressed:
            payload = self._inflate(payload, final)
        if self._opcode == TEXT:
            self._check_text(payload[self._checked :], final)
            self._checked = 0
        self._size += len(payload)
        if payload:
            self._parts.append(payload)
        if not final:
            return None
        message = b"".join(self._parts)
        event = Text(message) if self._opcode == TEXT else Binary(message)
        self._reset()
        return event

    def _inflate(self, payload: bytes, final: bool) -> bytes:
        """Inflate a fragment, never beyond the limit by more than one byte."""
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = zlib.decompressobj(wbits=-15)
        room = self._max_size - self._size + 1
        try:
            data = inflater.decompress(payload + _TAIL if final else payload, room)
        except zlib.error:
            raise ProtocolError(1007, "compressed data is broken") from None
        if inflater.unconsumed_tail or len(data) >= room:
            raise self._too_large()
        # A sender may end its data with a final block and one more byte (RFC 7692, 7.2.3.4). zlib
        # keeps whatever else follows it, without a bound, and it would be lost to the message.
        if inflater.unused_data.removesuffix(_TAIL) not in (b"", b"\x00"):
            raise ProtocolError(1007, "compressed data goes on after its final block")
        return data

    def _check_text(self, payload: bytes, final: bool) -> None:
        if self._decoder is None:
            self._decoder = _UTF8()
        try:
            self._decoder.decode(payload, final)
        except UnicodeDecodeError:
            raise ProtocolError(1007, "text is not UTF-8") from None


def _closing(payload: bytes) -> Closing:
    if not payload:
        return Closing(1005, "")
    if len(payload) == 1:
        raise ProtocolError(1002, "close frame of one byte")
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
        raise ProtocolError(1002, f"close code {code} may not be sent")
    try:
        return Closing(code, str(payload[2:], "utf-8"))
    except UnicodeDecodeError:
        raise ProtocolError(1007, "close reason is not UTF-8") from None
