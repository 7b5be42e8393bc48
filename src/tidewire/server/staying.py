"""A caller's stay on a connection: a stream or a held poll that lasts no longer than its token.

Where credentials are asked for, each stream and each held poll has one. It ends with the token's
time, when the caller or its session is revoked, and with the connection.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tidewire.access.caller import Caller, Right
from tidewire.model import InvalidToken, TidewireError, TokenExpired, TooManyRequests
from tidewire.server.journal import refusals
from tidewire.server.response import jittered
from tidewire.transports.gate import OPEN_GATE, Gate

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection
    from tidewire.server.request import Request


class Stay:
    """Of one *connection*, by *caller*. The transports' ``Gate``, and on the wheel."""

    __slots__ = ("_app", "_connection", "_counted", "caller", "session", "tick")

    def __init__(
        self, app: App, connection: Connection, caller: Caller, session: str | None
    ) -> None:
        self._app = app
        self._connection = connection
        self._counted = _count_in(app, caller)
        self.caller = caller
        self.session = session
        self.tick = 0
        self._set_timer()

    def check(self, right: Right, channels: Iterable[str]) -> None:
        try:
            self._app.access.rights.check(self.caller, right, channels)
        except TidewireError as error:
            refusals.tell(self._connection, None, error)
            raise

    async def renew(self, token: str, channels: Iterable[str]) -> float | None:
        try:
            renewed = await self._app.access.renewed(self.caller, token)
            self.renew_as(renewed, channels)
        except TidewireError as error:
            refusals.tell(self._connection, None, error)
            raise
        return renewed.expires

    def renew_as(self, caller: Caller, channels: Iterable[str]) -> None:
        """The same by a token that is known to be good: *caller* is what it says.

        Raises:
            Forbidden: if it does not let follow all *channels*.
        """
        self._app.access.rights.check(caller, "subscribe", channels)
        self.caller = caller
        if self._connection.stay is self:
            self._set_timer()

    def on_timer(self, now: float) -> None:
        expires = self.caller.expires
        if expires is None or self._left(expires) > 0:  # a new token, or a clock put back
            self._set_timer()
        else:
            reason = "the token has expired: come back with a new one"
            self._connection.turn_out(TokenExpired(reason, why="while connected"))

    def end_if_revoked(self) -> None:
        """Something was revoked: end if that is the caller, or its session."""
        access = self._app.access
        if access.revocations.refuses(self.caller) or (
            self.session is not None and access.revocations.has("session", self.session)
        ):
            reason = "this connection is no longer welcome"
            self._connection.turn_out(InvalidToken(reason, why="revoked while connected"))

    def end(self) -> None:
        """The connection has ended, or the poll was answered."""
        self._app.wheel.clear(self)
        if self._counted is not None:
            self._app.stays_by_user.leave(self._counted)
            self._counted = None

    def _left(self, expires: float) -> float:
        return expires + self._app.leeway - time.time()

    def _set_timer(self) -> None:
        expires = self.caller.expires
        if expires is not None:
            # The wheel's clock is not the wall's: look again once a day.
            self._app.wheel.set(self, min(max(self._left(expires), 0.0), 86_400.0))
        elif self.tick:
            self._app.wheel.clear(self)


def stay_of(app: App, request: Request, connection: Connection, session: str | None = None) -> Gate:
    """The gate for the stream of *session*, or for the held poll, that *request* asks for.

    Raises:
        TooManyRequests: if the user has as many as it may have.
    """
    if app.access.open:
        return OPEN_GATE
    if connection.stay is not None:
        connection.stay.end()
    connection.stay = Stay(app, connection, request.caller, session)
    return connection.stay


def _count_in(app: App, caller: Caller) -> str | None:
    """Count one more of a user's, if there is a limit; return by which name to count it out."""
    most = caller.limits.connections
    if most is None:
        most = app.settings.max_connections_per_user or None
    if caller.kind != "user" or most is None:
        return None
    if not app.stays_by_user.enter(caller.name, most):
        raise TooManyRequests(
            f"{most} connections are as many as you may have: close one",
            retry_after=jittered(1000, 5000) / 1000,
            refusal="connections_per_user",
        )
    return caller.name


def end_revoked(app: App) -> None:
    """Something was revoked: end the connections that it concerns."""
    for connection in list(app.connections):
        if connection.stay is not None:
            connection.stay.end_if_revoked()
