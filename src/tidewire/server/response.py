"""HTTP answers as bytes: status lines, the Date, problem documents (RFC 9457)."""

from __future__ import annotations

import random
import time
from http import HTTPStatus

import msgspec

from tidewire.model import (
    InvalidToken,
    MethodNotAllowed,
    TidewireError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from tidewire.transports.polling import http_date

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_LENGTHS = tuple(b"Content-Length: %d\r\n" % size for size in range(1024))
"""Those of most answers."""
JSON = b"Content-Type: application/json\r\n"
NO_SNIFF = b"X-Content-Type-Options: nosniff\r\n"


class Date:
    """The ``Date`` header, made once a second."""

    __slots__ = ("_begins", "_ends", "_line")

    def __init__(self) -> None:
        self._begins = self._ends = 0.0
        self._line = b""

    def line(self) -> bytes:
        """The header line for now."""
        now = time.time()
        if not self._begins <= now < self._ends:  # clocks are set back, too
            second = int(now)
            self._begins, self._ends = float(second), second + 1.0
            self._line = f"Date: {http_date(second)}\r\n".encode()
        return self._line


date = Date()


def answer(
    status: int, headers: bytes, body: bytes, *, keep_alive: bool, head: bool = False
) -> bytes:
    """A whole HTTP/1.1 answer. *headers* are complete lines; *head* leaves the body out."""
    return b"".join(
        (
            STATUS_LINES[status],
            date.line(),
            headers,
            b"" if status in (204, 304) or status < 200 else _length(len(body)),
            b"\r\n" if keep_alive else b"Connection: close\r\n\r\n",
            b"" if head else body,
        )
    )


def _length(size: int) -> bytes:
    return _LENGTHS[size] if size < len(_LENGTHS) else b"Content-Length: %d\r\n" % size


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """RFC 9457, with our stable ``code``; ``instance`` leads the operator to the log."""

    title: str
    status: int
    detail: str
    code: str
    instance: str | None = None


_PROBLEM = b"Content-Type: application/problem+json\r\nCache-Control: no-store\r\n" + NO_SNIFF


def problem(error: TidewireError, instance: str | None = None) -> tuple[int, bytes, bytes]:
    """Status, header lines and body that tell *error*; *instance* is where it happened."""
    headers = _PROBLEM
    if isinstance(error, Unauthorized):
        refused = b' error="invalid_token"' if isinstance(error, InvalidToken) else b""
        headers += b"WWW-Authenticate: Bearer" + refused + b"\r\n"  # RFC 6750 section 3
    elif isinstance(error, MethodNotAllowed):
        headers += f"Allow: {error.allowed}\r\n".encode()
    elif isinstance(error, TooManyRequests):
        headers += b"Retry-After: %d\r\n" % _whole(error.retry_after)
    elif isinstance(error, Unavailable):
        after = error.retry_after
        headers += b"Retry-After: %d\r\n" % (retry_after() if after is None else _whole(after))
    elif error.status == 426:
        headers += b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    document = ProblemDocument(error.title, error.status, error.detail, error.code, instance)
    return error.status, headers, msgspec.json.encode(document)


def _whole(seconds: float) -> int:
    """*seconds* in whole ones, not fewer, and at least one."""
    return max(1, -int(-seconds // 1))


def retry_after() -> int:
    """Seconds until a refused client may come back, jittered so that all do not come at once."""
    return int(jittered(1000, 5000) / 1000)


def jittered(least: int, most: int) -> int:
    """A random number of ms between *least* and *most*."""
    return random.randint(least, most)  # noqa: S311  # spreads load; nobody gains by guessing it
