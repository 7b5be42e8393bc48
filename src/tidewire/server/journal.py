"""What the operator is told of connections and requests, with the numbers to find them by.

A connection has a number, counted from the start of the process; a request has an id that no other
server and no other start has. The client of a request that was refused or failed is told the id as
the ``instance`` of the problem: from there the operator finds what the client was not told.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidewire.access.rates import Bucket, Rate
from tidewire.server.redacting import shown_target

if TYPE_CHECKING:
    from tidewire.model import TidewireError
    from tidewire.server.connection import Connection
    from tidewire.server.request import Request

logger = logging.getLogger("tidewire.server")

URN = "urn:tidewire:request:"
REFUSALS = Rate(per_second=20, seconds=5)
"""How many refusals are logged: who is refused a thousand times a second must not fill the disk."""


def about(connection: Connection, request: Request | None = None) -> dict[str, object]:
    """The facts of a line about *connection*, or about a *request* on it."""
    facts: dict[str, object] = {"connection": connection.number, "peer": _peer(connection)}
    if request is not None:
        facts |= {
            "request": id_of(request),
            "method": request.method.decode("latin-1"),
            "target": shown_target(request.target),
        }
        facts["client"] = connection.app.doors.client_behind(request, connection)
    return facts


def id_of(request: Request) -> str:
    """The request's id, which it has from when it is first asked for."""
    if not request.id:
        request.id = secrets.token_hex(8)
    return request.id


def failed(connection: Connection, request: Request, error: BaseException) -> None:
    """Log the *error* that a request has come to by a fault of the server."""
    logger.error("a request failed", exc_info=error, extra={"facts": about(connection, request)})


class Refusals:
    """Tells of requests and commands that are refused, as many as there is room for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bucket = Bucket()
        self._left_out = 0

    def tell(
        self, connection: Connection, request: Request | None, error: TidewireError
    ) -> str | None:
        """Log a refusal, if *error* is one; the ``instance`` that its client is told."""
        status = error.status
        instance = None
        if request is not None and (status in (401, 403) or status >= 500):
            instance = URN + id_of(request)
        if error.refusal is None and status not in (401, 403, 503):
            return instance  # malformed, or a failure that was logged where it happened
        level = logging.DEBUG if status == 429 else logging.INFO
        if not logger.isEnabledFor(level):
            return instance
        if self._bucket.take(REFUSALS, self._clock()):
            self._left_out += 1
            return instance
        facts = about(connection, request)
        named = connection.stay if request is None else request
        if named is not None and named.caller.kind != "open":
            facts["caller"] = str(named.caller)
        facts |= {"status": status, "code": error.code, "why": error.why or error.detail}
        if self._left_out:
            facts["left_out"] = self._left_out
            self._left_out = 0
        logger.log(level, "refused", extra={"facts": facts})
        return instance


refusals = Refusals()


def _peer(connection: Connection) -> str | None:
    """The other end, as address and port."""
    peer = connection.transport.get_extra_info("peername")
    if not peer:
        return None
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
