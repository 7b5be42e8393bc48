"""Every address, the methods that it takes, who answers them, and what a caller needs for it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from tidewire.console import static_files
from tidewire.model import Unavailable
from tidewire.server import (
    acknowledging,
    attending,
    choosing,
    granting,
    managing,
    metrics,
    negotiating,
    openapi,
    operating,
    polls,
    producing,
    streams,
)
from tidewire.server.request import Endpoint, Handler, Needs, Request
from tidewire.server.response import JSON, problem
from tidewire.settings import Settings

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

Routes = dict[bytes, dict[bytes, Endpoint]]


def routes_of(settings: Settings) -> Routes:
    """The endpoints by path, with the prefix, and by method."""
    prefix = settings.path_prefix.encode()
    routes: Routes = {
        b"/ws": {b"GET": Endpoint(streams.websocket, "subscribe")},
        b"/sse": _get(streams.event_stream, "subscribe"),
        b"/longpoll": _get(polls.long_poll, "subscribe"),
        b"/poll": _get(polls.short_poll, "subscribe"),
        b"/subscribe": _get(choosing.choose, "subscribe"),
        b"/negotiate": _post(negotiating.negotiate, "caller"),
        b"/publish": _post(producing.publish, "publish"),
        b"/history": _get(producing.history, "history")
        | {b"DELETE": Endpoint(managing.purge, "admin")},
        b"/presence": _get(attending.presence, "presence"),
        b"/channels": {b"DELETE": Endpoint(managing.forget, "admin")},
        b"/ack": _post(acknowledging.ack, "ack"),
        b"/nack": _post(acknowledging.nack, "ack"),
        b"/receipts": _get(acknowledging.receipts, "publish"),
        b"/tickets": _post(granting.tickets, "caller"),
        b"/refresh": _post(granting.refresh, "caller"),
        b"/revoke": _post(granting.revoke, "admin"),
        b"/connections": _get(operating.list_connections, "admin")
        | {b"DELETE": Endpoint(operating.disconnect, "admin")},
        b"/connections/{id}": _get(operating.look_up, "admin")
        | {b"DELETE": Endpoint(operating.disconnect_one, "admin")},
        b"/nodes": _get(operating.list_nodes, "admin"),
        b"/metrics": _get(metrics.metrics, "metrics"),
        b"/openapi.json": _get(openapi.serve(settings), "nothing"),
        b"/healthz": _get(_healthz, "nothing"),
        b"/readyz": _get(_readyz, "nothing"),
    }
    if settings.echo:
        routes[b"/echo"] = {b"GET": Endpoint(streams.echo, "nothing")}
    if settings.console or settings.client_script:
        for path, file in static_files(console=settings.console).items():
            routes[path.encode()] = _get(_static(file.headers, file.body, file.tag), "nothing")
    routes = {prefix + path: endpoints for path, endpoints in routes.items()}
    if prefix and settings.console:
        routes[prefix] = _get(_to_console, "nothing")
    return routes


def split(routes: Routes) -> tuple[Routes, Routes]:
    """Those at a path of their own, and those whose path ends with a name, by what is before it."""
    exact = {path: route for path, route in routes.items() if not path.endswith(b"/{id}")}
    named = {path.removesuffix(b"{id}"): routes[path] for path in routes if path not in exact}
    return exact, named


def options_of(route: Iterable[bytes]) -> Endpoint:
    """What answers ``OPTIONS`` to an address that takes the methods in *route*."""
    return Endpoint(partial(_options, frozenset(route)), "nothing")


def _get(handler: Handler, needs: Needs) -> dict[bytes, Endpoint]:
    return {b"GET": Endpoint(handler, needs), b"HEAD": Endpoint(handler, needs)}


def _post(handler: Handler, needs: Needs) -> dict[bytes, Endpoint]:
    return {b"POST": Endpoint(handler, needs)}


def _options(methods: frozenset[bytes], app: App, request: Request, connection: Connection) -> None:
    """The methods of an address, and what a page of another origin may send (Fetch, preflight)."""
    allowed = b", ".join(sorted(methods | {b"OPTIONS"}))
    headers = b"Allow: %b\r\nVary: Origin\r\n" % allowed
    if b"origin" in request.headers:
        headers += (
            b"Access-Control-Allow-Origin: %b\r\n%bAccess-Control-Allow-Methods: %b\r\n"
            b"Access-Control-Allow-Headers: Authorization, Cache-Control, Content-Type, "
            b"ETag, If-Modified-Since, If-None-Match, Last-Event-ID, Prefer, X-API-Key\r\n"
            b"Access-Control-Max-Age: 600\r\n"
            % (request.headers[b"origin"], app.cors_cookies, allowed)
        )
    connection.respond(204, headers, b"")


def _healthz(app: App, request: Request, connection: Connection) -> None:
    connection.respond(200, JSON + b"Cache-Control: no-store\r\n", b'{"status":"ok"}')


def _readyz(app: App, request: Request, connection: Connection) -> None:
    if app.draining:
        connection.respond(*problem(Unavailable("the server is going down")))
    else:
        connection.respond(200, JSON + b"Cache-Control: no-store\r\n", b'{"status":"ready"}')


#: Whatever state the server is in.
ALWAYS_ANSWERED: frozenset[Handler] = frozenset({_healthz, _readyz, metrics.metrics})


def _to_console(app: App, request: Request, connection: Connection) -> None:
    """The console's own addresses are relative: they need the slash behind the prefix."""
    location = f"Location: {app.settings.path_prefix}/\r\n".encode()
    connection.respond(308, location + b"Cache-Control: no-cache\r\n", b"")


def _static(headers: bytes, body: bytes, tag: bytes) -> Handler:
    def handler(app: App, request: Request, connection: Connection) -> None:
        if request.headers.get(b"if-none-match") == tag:
            connection.respond(304, headers, b"")
        else:
            connection.respond(200, headers, body)

    return handler
