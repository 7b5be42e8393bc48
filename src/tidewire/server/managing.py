"""The addresses that discard channels: DELETE /history, DELETE /channels."""

from __future__ import annotations

from asyncio import Future
from functools import partial
from typing import TYPE_CHECKING

from tidewire.access.audit import audit
from tidewire.model import BadRequest, Receipt, TidewireError, check_channel
from tidewire.server.journal import about, failed
from tidewire.server.request import Request
from tidewire.server.response import JSON
from tidewire.transports.query import parameters

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

_HEADERS = JSON + b"Cache-Control: no-store\r\n"


def purge(app: App, request: Request, connection: Connection) -> None:
    """``DELETE /history``: the end of all that is kept of a channel."""
    _purge(app, request, connection, forget=False)


def forget(app: App, request: Request, connection: Connection) -> None:
    """``DELETE /channels``: the channel begins anew."""
    _purge(app, request, connection, forget=True)


def _purge(app: App, request: Request, connection: Connection, *, forget: bool) -> None:
    values = parameters(request.query)
    if list(values) != ["channel"]:
        raise BadRequest("name one channel and nothing else, as in ?channel=news")
    future = app.hub.engine.purge(check_channel(values["channel"][-1]), forget=forget)
    then = partial(_purged, app, request, connection, "forget" if forget else "purge")
    if future.done():
        then(future)
    else:
        future.add_done_callback(then)


def _purged(
    app: App, request: Request, connection: Connection, action: str, future: Future[Receipt]
) -> None:
    error = future.exception()
    if error is None:
        receipt = future.result()
        facts = about(connection, request)
        audit(action, request.caller, channel=receipt.channel, id=receipt.id, **facts)
        body = f'{{"channel":"{receipt.channel}","id":"{app.hub.cursor(receipt.id)}"}}'.encode()
        connection.respond(200, _HEADERS + app.cors(request), body)
    elif isinstance(error, TidewireError):
        connection.respond_error(error)
    else:
        failed(connection, request, error)
        connection.respond_error(TidewireError("nothing was discarded; the log has more"))
