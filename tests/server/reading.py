"""What the tests of the HTTP/1.1 reader share: requests as bytes, what a reader makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tidewire.server.http1 import RequestReader
from tidewire.server.request import HttpLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tidewire.server.request import Request

LIMITS = HttpLimits(1_000, 200, 10, 30, 60)
BODY_LIMIT = 500
HOST = b"Host: localhost\r\n"
FOLLOWING = b"GET /following HTTP/1.1\r\n" + HOST + b"\r\n"


class Seen(NamedTuple):
    """What a handler sees of a request."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    version: str
    keep_alive: bool
    upgrade: bool
    body: bytes


class Outcome(NamedTuple):
    """What came out of a connection's bytes: requests, the failure's code, the bytes behind."""

    requests: list[Seen]
    failure: str | None
    rest: bytes | None


def seen(request: Request) -> Seen:
    """*request* as it is now: the reader may use its object again."""
    return Seen(
        request.method,
        request.target,
        dict(request.headers),
        request.version,
        request.keep_alive,
        request.upgrade,
        request.body,
    )


def new_reader() -> RequestReader:
    """A reader with small limits."""
    return RequestReader(LIMITS, lambda request: BODY_LIMIT)


def read(pieces: Iterable[bytes]) -> Outcome:
    """Give *pieces* to one reader, as a connection does."""
    reader = new_reader()
    requests: list[Seen] = []
    rest = None
    for piece in pieces:
        if rest is None:
            requests += [seen(request) for request in reader.feed(piece)]
            while reader.held:
                requests += [seen(request) for request in reader.go_on()]
            rest = reader.rest
        else:  # behind an upgrade the bytes go elsewhere
            rest += piece
    return Outcome(requests, reader.failure.code if reader.failure else None, rest)


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    """*data* in pieces of *size* bytes."""
    return (data[begin : begin + size] for begin in range(0, len(data), size))


def read_every_way(data: bytes) -> Outcome:
    """Read *data* whole and in pieces of several sizes; all must come to the same."""
    outcome = read([data])
    for size in (1, 2, 3, 7, 50):
        assert read(in_pieces(data, size)) == outcome, f"in pieces of {size}"
    return outcome


def get(target: bytes = b"/a", *fields: bytes) -> bytes:
    """A request without a body."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, HOST, lines)


def post(body: bytes, *fields: bytes, target: bytes = b"/p") -> bytes:
    """A request with a body of known length."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n%b\r\n%b" % (
        target,
        HOST,
        len(body),
        lines,
        body,
    )


def chunked(*chunks: bytes, trailers: bytes = b"", extension: bytes = b"") -> bytes:
    """A request with a chunked body."""
    parts = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    head = b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + parts + b"0\r\n" + trailers + b"\r\n"


def request(*fields: bytes, body: bytes = b"", method: bytes = b"POST") -> bytes:
    """A request with fields of any kind."""
    return method + b" /p HTTP/1.1\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


H = b"Host: localhost"
CHUNKED = b"Transfer-Encoding: chunked"
