"""One HTTP request, and the limits that it must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tidewire.access.caller import OPEN, Caller, Right

if TYPE_CHECKING:
    from tidewire.access.access import Credentials

Needs = Right | Literal["nothing", "caller", "admin", "metrics"]
Handler = Callable[[Any, "Request", Any], None]


class Request:
    """A request whose head is complete; ``body`` is whole when it is handled.

    Header names are lower case; the values of a repeated header are joined by commas.
    """

    __slots__ = (
        "body",
        "caller",
        "credentials",
        "endpoint",
        "headers",
        "id",
        "keep_alive",
        "method",
        "name",
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
        self.id = ""  # given when somebody is told of it: see ``journal``
        # Found once, when the head is seen first
        self.endpoint: Endpoint | None = None
        self.credentials: Credentials | None = None
        self.caller: Caller = OPEN
        self.query = b""
        self.name = ""  # what stands in the place of {id} in the path, as it was sent
        self.poll_key: tuple[bytes | None, ...] | None = None

    def header(self, name: bytes) -> str | None:
        """A header's value, as Latin-1 (RFC 9110 section 5.5), or ``None``."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


class Endpoint(NamedTuple):
    """What answers the requests to an address by a method, and what a caller needs for it.

    *needs* is ``nothing`` (it is for everybody, with no credentials looked at), ``caller`` (anybody
    whom the server lets in), a right, which the handler checks for the channels that it finds in
    the request, or the scope ``admin`` or ``metrics`` of a key.
    """

    handler: Handler
    needs: Needs


class HttpLimits(NamedTuple):
    """Bytes of a head and of a target; seconds for a head, a body, and between requests."""

    head_size: int
    target_size: int
    head_timeout: float
    body_timeout: float
    keepalive_timeout: float
