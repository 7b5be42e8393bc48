"""One HTTP request, and the limits that it must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Handler = Callable[[Any, "Request", Any], None]


class Request:
    """A request whose head is complete; ``body`` is whole when it is handled.

    Header names are lower case; the values of a repeated header are joined by commas.
    """

    __slots__ = (
        "body",
        "handler",
        "headers",
        "keep_alive",
        "method",
        "poll_key",
        "query",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: dict[bytes, bytes],
        version: str,
        keep_alive: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.version = version
        self.keep_alive = keep_alive
        self.upgrade = False
        self.body = b""
        self.handler: Handler | None = None  # found once, when the head is seen first
        self.query = b""
        self.poll_key: tuple[bytes | None, ...] | None = None

    def header(self, name: bytes) -> str | None:
        """A header's value, as Latin-1 (RFC 9110 section 5.5), or ``None``."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


class HttpLimits(NamedTuple):
    """Bytes of a head and of a target; seconds for a head, a body, and between requests."""

    head_size: int
    target_size: int
    head_timeout: float
    body_timeout: float
    keepalive_timeout: float
