"""The little of WebSocket, SSE and HTTP/1.1 that a load generator must read and write.

The readers are pure functions over bytes: the same bytes read from the same state give the same
answer. That lets the subscribers of one stream share the reading of identical chunks (see
`subscribers`). They read what a correct server sends and raise `WireError` on anything else, rather
than being lenient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from benchmarks.loadgen import stamp

if TYPE_CHECKING:
    from benchmarks.loadgen.stamp import Stamp

Kind: TypeAlias = Literal["envelope", "ping", "close", "end"]


class WireError(Exception):
    """The server sent what the protocol does not allow."""


class Scan(NamedTuple):
    """What was read: the stamps of messages, everything else, and the state to read on from."""

    stamps: tuple[Stamp, ...]
    others: tuple[tuple[Kind, bytes], ...]
    raw: bytes
    """Bytes at the end that are not a whole frame or chunk yet."""
    text: bytes = b""
    """Decoded bytes of an SSE stream that are not a whole event yet."""


# WebSocket (RFC 6455)

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_MASK = b"\x37\xfa\x21\x3d"
PONG = _PONG
PING = _PING


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """A client's frame: whole, masked."""
    return _head(opcode, len(payload), 0x80) + _MASK + _masked(payload)


def server_frame(payload: bytes) -> bytes:
    """A server's text frame: whole, not masked."""
    return _head(_TEXT, len(payload), 0) + payload


def _head(opcode: int, length: int, masked: int) -> bytes:
    if length < 126:
        return bytes((0x80 | opcode, masked | length))
    if length < 65536:
        return bytes((0x80 | opcode, masked | 126)) + length.to_bytes(2, "big")
    return bytes((0x80 | opcode, masked | 127)) + length.to_bytes(8, "big")


def _masked(payload: bytes) -> bytes:
    key = int.from_bytes((_MASK * (len(payload) // 4 + 1))[: len(payload)], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(len(payload), "big")


def scan_websocket(raw: bytes, _text: bytes, chunk: bytes) -> Scan:
    """Reads server frames. A fragmented message stays in `raw` until its last fragment is there."""
    data = raw + chunk
    stamps: list[Stamp] = []
    others: list[tuple[Kind, bytes]] = []
    at = kept = 0
    fragments: list[bytes] = []
    while (bounds := _frame_bounds(data, at)) is not None:
        first, start, end = bounds
        opcode, final = first & 0xF, first & 0x80
        if first & 0x70:
            raise WireError("a reserved bit is set, though no extension was asked for")
        if opcode in (_PING, _PONG, _CLOSE):
            if opcode != _PONG and not fragments:
                others.append(("ping" if opcode == _PING else "close", data[start:end]))
        elif opcode in (0, _TEXT, _BINARY):
            if (opcode == 0) != bool(fragments):
                raise WireError("a continuation frame without a beginning, or the reverse")
            if final and not fragments:
                _sort(data, start, end, stamps, others)
            else:
                fragments.append(data[start:end])
                if final:
                    whole = b"".join(fragments)
                    fragments.clear()
                    _sort(whole, 0, len(whole), stamps, others)
        else:
            raise WireError(f"opcode {opcode}")
        at = end
        if not fragments:
            kept = end
    return Scan(tuple(stamps), tuple(others), data[kept:])


def _frame_bounds(data: bytes, at: int) -> tuple[int, int, int] | None:
    """First byte, start and end of the payload of the frame at `at`; None while it is not whole."""
    have = len(data) - at
    if have < 2:
        return None
    length = data[at + 1]
    start = at + 2
    if length & 0x80:
        raise WireError("a server's frame is masked")
    if length == 126:
        start, length = at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
    elif length == 127:
        start, length = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
    end = start + length
    return (data[at], start, end) if len(data) >= end and have >= start - at else None


def _sort(
    data: bytes, start: int, end: int, stamps: list[Stamp], others: list[tuple[Kind, bytes]]
) -> None:
    """Puts one payload where it belongs: with the stamps, or, without any, with the others."""
    at = stamp.find(data, start, end)
    if at < 0:
        others.append(("envelope", data[start:end]))
    while at >= 0:
        stamps.append(stamp.read(data, at))
        at = stamp.find(data, at + stamp.WIDTH, end)


# Server-Sent Events over a chunked HTTP/1.1 answer


def scan_sse(raw: bytes, text: bytes, chunk: bytes) -> Scan:
    """Reads a chunked event stream; `raw` is an unfinished chunk, `text` an unfinished event."""
    data = raw + chunk
    pieces = [text]
    at = 0
    ended = False
    while (line_end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line_end].split(b";")[0], 16)
        end = line_end + 2 + size
        if len(data) < end + 2:
            break
        if data[end : end + 2] != b"\r\n":
            raise WireError("a chunk does not end where its size says")
        pieces.append(data[line_end + 2 : end])
        at = end + 2
        ended = ended or size == 0
    stamps, others, rest = _scan_events(b"".join(pieces))
    if ended:
        others.append(("end", b""))
    return Scan(tuple(stamps), tuple(others), data[at:], rest)


def _scan_events(text: bytes) -> tuple[list[Stamp], list[tuple[Kind, bytes]], bytes]:
    stamps: list[Stamp] = []
    others: list[tuple[Kind, bytes]] = []
    at = 0
    while True:
        while text.startswith(b":", at) and (line_end := text.find(b"\n", at)) >= 0:
            at = line_end + 1  # a comment between events: the heartbeat
        end = text.find(b"\n\n", at)
        if end < 0:
            return stamps, others, text[at:]
        _sort(text, at, end, stamps, others)
        at = end + 2


def event_chunk(event: bytes) -> bytes:
    """One event (ending in its blank line) as one chunk of a chunked answer."""
    return b"%x\r\n%b\r\n" % (len(event), event)


# HTTP/1.1


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an HTTP answer; header names are in lower case."""

    status: int
    headers: dict[str, str]

    @property
    def length(self) -> int:
        """Bytes of the body. Raises `WireError` when the head does not tell."""
        if self.status in (204, 304):
            return 0
        try:
            return int(self.headers["content-length"])
        except (KeyError, ValueError):
            raise WireError("an answer without a usable Content-Length") from None


def read_answer(data: bytes, at: int = 0) -> tuple[Answer, int] | None:
    """The answer's head at index `at` and the index where its body starts; None while it is not
    whole.
    """
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    first, *lines = data[at:end].decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if version != "HTTP/1.1" or not rest[:3].isdigit():
        raise WireError(f"not an HTTP/1.1 answer: {first!r}")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Answer(int(rest[:3]), headers), end + 4


def get(host: str, target: str, headers: str = "") -> bytes:
    """A GET request; `headers` are whole lines, each ending in CR LF."""
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode()


def post(
    host: str,
    target: str,
    body: bytes,
    content_type: str = "application/json",
    headers: str = "",
) -> bytes:
    """A POST request with its body; `headers` are whole lines, each ending in CR LF."""
    return (
        f"POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    ).encode() + body


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
"""The header lines that ask for a WebSocket. The key is constant: the answer to it is not checked
here.
"""
EVENT_STREAM = "Accept: text/event-stream\r\n"
