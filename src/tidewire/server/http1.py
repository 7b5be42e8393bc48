"""HTTP/1.1 requests out of bytes (RFC 9112), without sockets.

``RequestReader`` wraps httptools and adds what that leaves to its user: limits, and strictness
where two servers could read the same bytes in two ways, which is what request smuggling lives on.
After ``failure`` or ``rest`` is set the reader is spent: what follows has no meaning, and is not
looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httptools

from tidewire.model import TidewireError, TooLarge
from tidewire.server.head import bad_http, body_length, check_target
from tidewire.server.request import HttpLimits, Request

# Where the reader is
IDLE, HEAD, BODY = 0, 1, 2

MAX_FIELDS = 100

PIECE = 16 << 10
HEAD_PIECE = 1 << 10
"""The parser is given so many bytes of a body, or of heads, at a time: what it has made of them is
looked at in between."""

AT_ONCE = 16
"""Requests, or a few more, that come out of one call: what is behind them is ``held``."""

_AROUND_CHUNK = 12
"""Bytes that a chunk may have around its data: a size of 8 digits, and two line ends."""

_SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"origin"}
)


class HeadTooLarge(TidewireError):
    """A request's head is over its limit (RFC 6585 section 5)."""

    status = 431
    title = "Request header fields too large"
    code = "head_too_large"
    refusal = "head_size"


class TargetTooLong(TidewireError):
    """A request's target is over its limit."""

    status = 414
    title = "URI too long"
    code = "target_too_long"
    refusal = "target_size"


class TimedOut(TidewireError):
    """The client took too long to send its request."""

    status = 408
    title = "Request timeout"
    code = "timeout"


class _Last(Exception):
    """What follows the request that was just completed is not to be read."""


class RequestReader:
    """The requests of one connection. *body_limit* says how many bytes a body may have."""

    __slots__ = (
        "_body",
        "_body_limit",
        "_body_limit_of",
        "_done",
        "_head",
        "_headers",
        "_held_at",
        "_held_bytes",
        "_known",
        "_known_head",
        "_known_size",
        "_length",
        "_limits",
        "_most_unfinished",
        "_parser",
        "_refused",
        "_repeated",
        "_size",
        "_target",
        "_trailer",
        "_unfinished",
        "failure",
        "held",
        "rest",
        "state",
        "wants_continue",
    )

    def __init__(self, limits: HttpLimits, body_limit: Callable[[Request], int]) -> None:
        self.state = IDLE
        #: Why nothing more can be read; to be answered after the requests that came before.
        self.failure: TidewireError | None = None
        #: The bytes behind a request to upgrade.
        self.rest: bytes | None = None
        #: The client waits for 100 (Continue) before it sends the body.
        self.wants_continue = False
        #: Bytes wait for ``go_on``, because there were many requests in those before.
        self.held = False
        self._limits = limits
        self._body_limit_of = body_limit
        self._parser = httptools.HttpRequestParser(self)
        self._refused = False  # the body is read of a request that wishes for another protocol
        self._done: list[Request] = []
        self._held_bytes = b""
        self._held_at = 0
        self._most_unfinished = limits.head_size + limits.target_size
        # The message that is being read
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated = 0  # fields whose names were there before
        self._unfinished = 0  # bytes of the head, then of what there is around the body's data
        self._length: int | None = 0  # of the body, None: in chunks
        self._size = 0  # bytes so far of the head, then of the body
        self._trailer = 0  # bytes of the fields behind a body
        self._head: Request | None = None
        self._body: list[bytes] = []
        self._body_limit = 0
        # The last request, if it came alone and in one piece
        self._known: Request | None = None
        self._known_head = b""
        self._known_size = 0

    def feed(self, data: bytes) -> Sequence[Request]:
        """Take in bytes; return the requests that they complete, in order.

        A request that came alone may be returned again with the next body, if the next has the
        same head: before keeping one until later, call ``keep``.
        """
        known = self._known
        if (
            known is not None
            and len(data) == self._known_size
            and data.startswith(self._known_head)
        ):
            # The last head again, byte for byte, and as many bytes behind it: what was made of it
            # then is still right. Pollers send little else.
            known.body = data[len(self._known_head) :]
            known.id = ""
            return (known,)
        self._known = None
        if self._is_spent():
            return ()
        if self.held:
            self.hold(data)
            return ()
        began = self.state
        done, more = self._read(data, 0)
        if more and began == self.state == IDLE and len(done) == 1:
            self._remember(data, done[0])
        return done

    def hold(self, data: bytes) -> None:
        """Keep bytes for ``go_on``."""
        self._hold(self._held_bytes[self._held_at :] + data, 0)

    def _hold(self, data: bytes, at: int) -> None:
        self._held_bytes, self._held_at = data, at
        self.held = at < len(data)

    def go_on(self) -> Sequence[Request]:
        """Take in what was ``held``, or some of it."""
        data, at = self._held_bytes, self._held_at
        self._hold(b"", 0)
        return () if self._is_spent() else self._read(data, at)[0]

    def _read(self, data: bytes, at: int) -> tuple[list[Request], bool]:
        """The requests that *data* completes from *at* on; whether more can be read after it."""
        done: list[Request] = []
        self._done = done
        more = self._parse(data, at)
        if self.rest is not None and not self._refused and self._length != 0:
            rest, self.rest = self.rest, None
            more = self._parse(self._without_upgrade(done.pop()) + rest, 0)
        return done, more

    def _is_spent(self) -> bool:
        return self.failure is not None or self.rest is not None

    def _parse(self, data: bytes, begin: int) -> bool:
        """Give *data* to the parser; whether all was taken, and more can be read after it."""
        while begin < len(data):
            piece = data[begin : begin + (PIECE if self.state == BODY else HEAD_PIECE)]
            began, size, done = self.state, self._size, len(self._done)
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                self.rest = data[begin + upgrade.args[0] :]
            except httptools.HttpParserCallbackError as error:
                if isinstance(error.__context__, _Last):
                    self.rest = b""
                elif isinstance(error.__context__, TidewireError):
                    self.failure = error.__context__
                else:
                    raise
            except httptools.HttpParserError as error:
                self.failure = bad_http(f"this is not HTTP/1.1: {error}")
            if len(self._done) == done:  # else most of the bytes were those of the requests before
                self._bound_unfinished(len(piece), began, size)
            if self._is_spent():
                return False
            begin += len(piece)
            if len(self._done) >= AT_ONCE and begin < len(data):
                self._hold(data, begin)
                return False
        return True

    def _without_upgrade(self, request: Request) -> bytes:
        """The head of *request*, for a new parser to read its body, and nothing behind it.

        Some clients (Java's, and curl when told to) offer HTTP/2 with every request. The parser
        takes all that follows for bytes of that protocol; but no such wish is granted here
        (RFC 9110 section 7.8), so a body is a body.
        """
        self._parser = httptools.HttpRequestParser(self)
        self._refused = True
        lines = [b"%b %b HTTP/%b" % (request.method, request.target, request.version.encode())]
        for name, value in request.headers.items():
            if name not in (b"upgrade", b"connection"):
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def close(self) -> None:
        """Let go of the parser, which knows the reader: else only the collector would free both."""
        del self._parser

    def keep(self) -> None:
        """Never return the last request again: it is kept until others are answered."""
        self._known = None

    def _bound_unfinished(self, count: int, began: int, size: int) -> None:
        """Bound what is not seen, or not yet: a field before its end, extensions of chunks.

        *began* and *size* are the state and the size from before the last *count* bytes.
        """
        if self.state == HEAD:
            self._unfinished += count
        elif began == BODY:
            self._unfinished += count - (self._size - size)
        if self._unfinished > self._most_unfinished and self.failure is None:
            self.failure = self._head_too_large()

    def _remember(self, data: bytes, request: Request) -> None:
        end = data.find(b"\r\n\r\n") + 4
        headers = request.headers
        if (
            end > 4
            and request.keep_alive
            and len(data) - end == len(request.body)
            and b"transfer-encoding" not in headers
            and b"expect" not in headers
        ):
            self._known = request
            self._known_head = data[:end]
            self._known_size = len(data)

    # httptools calls these

    def on_message_begin(self) -> None:
        self.state = HEAD
        self._target = b""
        self._headers = {}
        self._repeated = self._unfinished = self._size = self._trailer = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._limits.target_size:
            raise TargetTooLong(f"a target may have {self._limits.target_size} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if self.state == BODY:  # a trailer: nothing here uses any
            self._trailer += len(name) + len(value) + 4
            if self._trailer > self._limits.head_size:
                raise self._head_too_large()
            return
        self._size += len(name) + len(value) + 4
        name = name.lower()
        value = value.rstrip(b" \t")  # the parser leaves it there
        if self._size > self._limits.head_size or len(headers) + self._repeated >= MAX_FIELDS:
            raise self._head_too_large()
        if name in headers:
            self._repeated += 1
            if name in _SINGLE:
                raise bad_http(f"the header {name.decode()} is there twice")
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise bad_http(f"HTTP/{version} is not spoken here: use HTTP/1.1")
        method = parser.get_method()
        if b"host" not in headers and version == "1.1":
            raise bad_http("the header Host is missing")
        target, host = check_target(method, self._target, headers.get(b"host"))
        if host is not None:
            headers[b"host"] = host
        # HTTP/1.0 would have to be told that the connection stays open; it is closed instead.
        keep_alive = version == "1.1" and parser.should_keep_alive()
        request = Request(method, target, headers, version, keep_alive)
        request.upgrade = self._refused or parser.should_upgrade()
        self._head = request
        self.state = BODY
        self._unfinished = self._size = 0
        self._length = body_length(version, headers, upgrade=request.upgrade)
        if self._length == 0:
            self._body_limit = 0
            return
        self._body_limit = self._body_limit_of(request)
        if self._length is not None and self._length > self._body_limit:
            raise self._body_too_large()
        if version == "1.1" and headers.get(b"expect", b"").lower() == b"100-continue":
            self.wants_continue = True

    def on_chunk_header(self) -> None:
        self._unfinished = max(0, self._unfinished - _AROUND_CHUNK)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._size > self._body_limit:
            raise self._body_too_large()

    def on_message_complete(self) -> None:
        request, self._head = self._head, None
        assert request is not None
        self.state = IDLE
        self.wants_continue = False
        if self._body:
            request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
        self._done.append(request)
        if self._refused:
            raise _Last

    def _head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(
            f"a head may have {self._limits.head_size} bytes and {MAX_FIELDS} fields"
        )

    def _body_too_large(self) -> TooLarge:
        return TooLarge(f"a body here may have {self._body_limit} bytes", refusal="body_size")
