"""``/subscribe``: one address for all transports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidewire.server.polls import long_poll, short_poll
from tidewire.server.request import Request
from tidewire.server.streams import event_stream, wants_events, wants_websocket, websocket
from tidewire.server.subscribing import query_of
from tidewire.transports.query import preferred_wait

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection


def choose(app: App, request: Request, connection: Connection) -> None:
    """``GET /subscribe``: the transport that the request's own form asks for."""
    if wants_websocket(request):
        websocket(app, request, connection)
    elif wants_events(request):
        event_stream(app, request, connection)
    elif query_of(app, request).wait is not None or preferred_wait(request.header(b"prefer") or ""):
        long_poll(app, request, connection)
    else:
        short_poll(app, request, connection)
