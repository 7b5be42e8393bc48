"""HTTP/1.1 requests out of bytes (RFC 9112), without sockets.

``RequestReader`` wraps httptools and adds what that leaves to its user: limits, and strictness
where two servers could read the same bytes in two ways, which is what request smuggling lives on.
After ``failure`` or ``rest`` is set the reader is spent: what follows has no meaning, and is not
looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httptools

from tidewire.model import BadRequest, TidewireError, TooLarge
from tidewire.server.request import HttpLimits, Request

# Where the reader is
IDLE, HEAD, BODY = 0, 1, 2

MAX_FIELDS = 100

_SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization", b"origin"}
)


class HeadTooLarge(TidewireError):
    """A request's head is over its limit (RFC 6585 section 5)."""

    status = 431
    title = "Request header fields too large"
    code = "head_too_large"


class TargetTooLong(TidewireError):
    """A request's target is over its limit."""

    status = 414
    title = "URI too long"
    code = "target_too_long"


class _Last(Exception):
    """What follows the request that was just completed is not to be read."""


def _bad(detail: str) -> BadRequest:
    return BadRequest(detail, code="bad_http")


def _has_body(request: Request) -> bool:
    """Whether the bytes behind a request to upgrade begin with its body."""
    headers = request.headers
    return headers.get(b"upgrade", b"").lower() != b"websocket" and (
        b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
    )


class RequestReader:
    """The requests of one connection. *body_limit* says how many bytes a body may have."""

    __slots__ = (
        "_body",
        "_body_limit",
        "_body_limit_of",
        "_done",
        "_head",
        "_headers",
        "_known",
        "_known_head",
        "_known_size",
        "_limits",
        "_parser",
        "_refused",
        "_size",
        "_target",
        "_unfinished",
        "failure",
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
        self._limits = limits
        self._body_limit_of = body_limit
        self._parser = httptools.HttpRequestParser(self)
        self._refused = False  # the body is read of a request that wishes for another protocol
        self._done: list[Request] = []
        self._unfinished = 0  # bytes of a head, or of a trailer, that is not complete
        # The message that is being read
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._size = 0  # bytes so far of the head, then of the body
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
            return (known,)
        self._known = None
        if self._is_spent():
            return ()
        began = self.state
        size = self._size
        done: list[Request] = []
        self._done = done
        more = self._parse(data)
        if self.rest is not None and not self._refused and _has_body(done[-1]):
            rest, self.rest = self.rest, None
            more = self._parse(self._without_upgrade(done.pop()) + rest)
        if more:
            if self.state == IDLE:
                if began == IDLE and len(done) == 1:
                    self._remember(data, done[0])
            elif not done:  # else most of the bytes were those of the requests before
                self._bound_unfinished(len(data), began, size)
        return done

    def _is_spent(self) -> bool:
        return self.failure is not None or self.rest is not None

    def _parse(self, data: bytes) -> bool:
        """Give *data* to the parser; whether more can be read after it."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, _Last):
                self.rest = b""
            elif isinstance(error.__context__, TidewireError):
                self.failure = error.__context__
            else:
                raise
        except httptools.HttpParserError as error:
            self.failure = _bad(f"this is not HTTP/1.1: {error}")
        return not self._is_spent()

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

    def keep(self) -> None:
        """Never return the last request again: it is kept until others are answered."""
        self._known = None

    def _bound_unfinished(self, count: int, began: int, size: int) -> None:
        """Bound what the parser holds of a field: it shows none before the field's end.

        *began* and *size* are the state and the size from before the last *count* bytes.
        """
        if self.state == HEAD or (began == BODY and size == self._size):
            self._unfinished += count
            if self._unfinished > self._limits.head_size + self._limits.target_size:
                self.failure = self._head_too_large()
        else:
            self._unfinished = 0

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
        self._size = self._unfinished = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._limits.target_size:
            raise TargetTooLong(f"a target may have {self._limits.target_size} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        self._size += len(name) + len(value) + 4
        if self.state == BODY:  # a trailer: nothing here uses any
            if self._size > self._body_limit + self._limits.head_size:
                raise self._head_too_large()
            return
        name = name.lower()
        value = value.rstrip(b" \t")  # the parser leaves it there
        if self._size > self._limits.head_size or len(headers) >= MAX_FIELDS:
            raise self._head_too_large()
        if name in headers:
            if name in _SINGLE:
                raise _bad(f"the header {name.decode()} is there twice")
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _bad(f"HTTP/{version} is not spoken here: use HTTP/1.1")
        if b"host" not in headers and version == "1.1":
            raise _bad("the header Host is missing")
        if self._target[:7].lower() == b"http://":
            # The absolute form names the host itself, whatever Host says (RFC 9112 section 3.2.2).
            authority, _, path = self._target[7:].partition(b"/")
            headers[b"host"] = authority
            self._target = b"/" + path
        # HTTP/1.0 would have to be told that the connection stays open; it is closed instead.
        keep_alive = version == "1.1" and parser.should_keep_alive()
        request = Request(parser.get_method(), self._target, headers, version, keep_alive)
        request.upgrade = self._refused or parser.should_upgrade()
        self._head = request
        self.state = BODY
        self._size = 0
        coding = headers.get(b"transfer-encoding")
        length = headers.get(b"content-length")
        if coding is None and length is None:
            self._body_limit = 0
            return
        if coding is not None and (
            length is not None or coding.lower() != b"chunked" or version == "1.0"
        ):
            raise _bad("a body has either Content-Length or Transfer-Encoding: chunked")
        self._body_limit = self._body_limit_of(request)
        if length is not None and int(length) > self._body_limit:
            raise self._body_too_large()
        if version == "1.1" and headers.get(b"expect", b"").lower() == b"100-continue":
            self.wants_continue = True

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
        return TooLarge(f"a body here may have {self._body_limit} bytes")
