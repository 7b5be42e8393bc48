"""The application: from a request to its handler, and what every answer has in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from tidewire.access.origins import Origins, is_loopback
from tidewire.console import static_files
from tidewire.hub import Consumers, Hub, SessionRecords
from tidewire.model import Forbidden, MethodNotAllowed, NotFound, TidewireError, Unavailable
from tidewire.server import (
    acknowledging,
    choosing,
    managing,
    metrics,
    polls,
    producing,
    streams,
    subscribing,
)
from tidewire.server.request import Handler, HttpLimits, Request
from tidewire.server.response import JSON, NO_SNIFF, problem
from tidewire.server.wheel import Wheel
from tidewire.settings import Settings
from tidewire.transports.dialogue import Rules
from tidewire.transports.publish import Limits
from tidewire.transports.short_poll import ShortPolls
from tidewire.uploads import Intake

if TYPE_CHECKING:
    from tidewire.server.connection import Connection

logger = logging.getLogger("tidewire.server")

_SMALL_BODY = 64 << 10
_EXPOSED = b"ETag, Last-Modified, Retry-After, Tidewire-Cursor, Tidewire-Poll-Interval"


class App:
    """Everything that the connections of one worker share."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        loop: asyncio.AbstractEventLoop,
        uploads: Intake | None = None,
    ) -> None:
        self.settings = settings
        self.hub = hub
        self.loop = loop
        self.wheel = Wheel(loop)
        self.limits = HttpLimits(
            settings.max_head_size,
            settings.max_target_size,
            settings.head_timeout,
            settings.body_timeout,
            settings.keepalive_timeout,
        )
        self.publish_limits = Limits(settings.max_message_size, settings.max_json_depth)
        self.consumers = Consumers(
            hub,
            ack_wait=settings.ack_wait,
            max_deliver=settings.max_deliver,
            ttl=settings.consumer_ttl,
        )
        self.command_rules = Rules(
            self.publish_limits, settings.max_channels, uploads, self.consumers
        )
        self.stall_timeout = settings.stall_timeout
        self.draining = False
        self.connections: set[Connection] = set()
        self.nobody = asyncio.Event()  # set while there is no connection
        self.nobody.set()
        self.origins = Origins(
            settings.allowed_origins,
            settings.allowed_hosts,
            loopback_only=is_loopback(settings.host),
        )
        self.short_polls = ShortPolls(
            hub, settings.poll_interval, polls.POLL_HEADERS, settings.fragment_size
        )
        self.poll_answers = polls.PollAnswers(hub)
        self.subscribers = subscribing.Subscribers()
        self.sessions = SessionRecords(hub.engine, settings.session_ttl)
        self.metrics = metrics.Metrics(self)
        self._prefix = settings.path_prefix.encode()
        self._routes = self._make_routes()

    def _make_routes(self) -> dict[bytes, tuple[frozenset[bytes], Handler]]:
        get = frozenset({b"GET", b"HEAD"})
        post = frozenset({b"POST"})
        routes: dict[bytes, tuple[frozenset[bytes], Handler]] = {
            b"/ws": (frozenset({b"GET"}), streams.websocket),
            b"/sse": (get, streams.event_stream),
            b"/longpoll": (get, polls.long_poll),
            b"/poll": (get, polls.short_poll),
            b"/subscribe": (get, choosing.choose),
            b"/publish": (post, producing.publish),
            b"/history": (get | {b"DELETE"}, managing.history),
            b"/channels": (frozenset({b"DELETE"}), managing.forget),
            b"/ack": (post, acknowledging.ack),
            b"/nack": (post, acknowledging.nack),
            b"/receipts": (get, acknowledging.receipts),
            b"/metrics": (get, metrics.metrics),
            b"/healthz": (get, _healthz),
            b"/readyz": (get, _readyz),
        }
        if self.settings.echo:
            routes[b"/echo"] = (frozenset({b"GET"}), streams.echo)
        if self.settings.console:
            for path, handler in static_files().items():
                routes[path.encode()] = (get, _static(handler.headers, handler.body, handler.tag))
        routes = {self._prefix + path: route for path, route in routes.items()}
        if self._prefix and self.settings.console:
            routes[self._prefix] = (get, _to_console)
        return routes

    # Connections

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in; ``False`` when there are too many to serve it."""
        self.connections.add(connection)
        self.nobody.clear()
        return len(self.connections) <= self.settings.max_connections

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.nobody.set()

    def count_stalled(self) -> None:
        """Count a client that was ended because it took no bytes."""
        self.hub.drops["stalled"] += 1

    def drain(self) -> None:
        """Answer what is held, end the streams, and take nothing new."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    # Requests

    def body_limit(self, request: Request) -> int:
        """Bytes that the body of *request* may have."""
        if request.target.partition(b"?")[0] == self._prefix + b"/publish":
            return max(self.settings.max_batch_size, self.settings.max_message_size)
        return _SMALL_BODY

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer *request* on *connection*, now or later. Raises nothing."""
        try:
            handler = request.handler
            if handler is None:
                handler = request.handler = self._resolve(request)
            if (self.draining or connection.refused) and handler not in (_healthz, _readyz):
                self._turn_away(request, connection)
            else:
                handler(self, request, connection)
        except TidewireError as error:
            connection.respond_error(error)
        except Exception:
            logger.exception("a request to %s failed", _shown(request.target))
            connection.respond_error(TidewireError("something went wrong here; the log has more"))

    def answer_later(
        self, request: Request, connection: Connection, work: Coroutine[Any, Any, None]
    ) -> None:
        """Have *work* answer *request*. If it fails, that is the answer: a request has one."""
        self.hub.spawn(self._answer_later(request, connection, work))

    async def _answer_later(
        self, request: Request, connection: Connection, work: Coroutine[Any, Any, None]
    ) -> None:
        try:
            await work
            return
        except TidewireError as error:
            answer = error
        except Exception:
            logger.exception("a request to %s failed", _shown(request.target))
            answer = TidewireError("something went wrong here; the log has more")
        if connection.current is request:
            connection.respond_error(answer)

    def _resolve(self, request: Request) -> Handler:
        """The handler of a request, which its head alone decides.

        Raises:
            NotFound, MethodNotAllowed, Forbidden: if it has none.
        """
        path, _, request.query = request.target.partition(b"?")
        route = self._routes.get(path)
        if route is None:
            raise NotFound(f"there is nothing at {_shown(path)}")
        self._check_source(request)
        methods, handler = route
        if request.method in methods:
            return handler
        if request.method == b"OPTIONS":
            return partial(_options, methods)
        allowed = b", ".join(sorted(methods | {b"OPTIONS"})).decode()
        raise MethodNotAllowed(f"{_shown(path)} takes {allowed}", allowed=allowed)

    def _check_source(self, request: Request) -> None:
        headers = request.headers
        host = headers.get(b"host", b"").decode("latin-1")
        if not self.origins.host_allowed(host):
            raise Forbidden(
                f"this server does not answer to the host {host[:100]!r}: see allowed_hosts",
                code="wrong_host",
            )
        origin = headers.get(b"origin")
        if origin is not None and not self.origins.allowed(origin.decode("latin-1"), host):
            raise Forbidden(
                f"the origin {origin[:100].decode('latin-1')!r} may not use this server: "
                "see allowed_origins",
                code="wrong_origin",
            )

    def _turn_away(self, request: Request, connection: Connection) -> None:
        request.keep_alive = False
        why = "the server is going down" if self.draining else "the server is full"
        self.put_off(request, connection, Unavailable(why))

    def put_off(self, request: Request, connection: Connection, error: Unavailable) -> None:
        """Have a client come back later: an EventSource would give up for good on a 503."""
        if (
            request.handler in (streams.event_stream, choosing.choose)
            and request.method == b"GET"
            and streams.wants_events(request)
        ):
            streams.turn_away(self, request, connection, error.detail)
        else:
            connection.respond_error(error)

    def with_cors(
        self, request: Request | None, answer: tuple[int, bytes, bytes]
    ) -> tuple[int, bytes, bytes]:
        """*answer* with the headers that let the page that asked read it."""
        if request is None:
            return answer
        return answer[0], answer[1] + self.cors(request), answer[2]

    def cors(self, request: Request) -> bytes:
        """Header lines that let the page that asked read the answer; none for other clients."""
        origin = request.headers.get(b"origin")
        if origin is None:
            return b""
        host = request.headers.get(b"host", b"").decode("latin-1")
        if not self.origins.allowed(origin.decode("latin-1"), host):
            return b""
        return b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Expose-Headers: %b\r\n" % (
            origin,
            _EXPOSED,
        )


def _shown(path: bytes) -> str:
    return repr(path[:100].decode("latin-1"))


def _options(methods: frozenset[bytes], app: App, request: Request, connection: Connection) -> None:
    """The methods of an address, and what a page of another origin may send (Fetch, preflight)."""
    allowed = b", ".join(sorted(methods | {b"OPTIONS"}))
    headers = b"Allow: %b\r\nVary: Origin\r\n" % allowed
    if b"origin" in request.headers:
        headers += (
            b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Allow-Methods: %b\r\n"
            b"Access-Control-Allow-Headers: Authorization, Cache-Control, Content-Type, "
            b"If-Modified-Since, If-None-Match, Last-Event-ID, Prefer, X-API-Key\r\n"
            b"Access-Control-Max-Age: 600\r\n" % (request.headers[b"origin"], allowed)
        )
    connection.respond(204, headers, b"")


def _healthz(app: App, request: Request, connection: Connection) -> None:
    connection.respond(200, JSON + b"Cache-Control: no-store\r\n", b'{"status":"ok"}')


def _readyz(app: App, request: Request, connection: Connection) -> None:
    if app.draining:
        connection.respond(*problem(Unavailable("the server is going down")))
    else:
        connection.respond(200, JSON + b"Cache-Control: no-store\r\n", b'{"status":"ready"}')


def _to_console(app: App, request: Request, connection: Connection) -> None:
    """The console's own addresses are relative: they need the slash behind the prefix."""
    location = f"Location: {app.settings.path_prefix}/\r\n".encode()
    connection.respond(308, location + b"Cache-Control: no-cache\r\n", b"")


def _static(headers: bytes, body: bytes, tag: bytes) -> Handler:
    def handler(app: App, request: Request, connection: Connection) -> None:
        if request.headers.get(b"if-none-match") == tag:
            connection.respond(304, headers, b"")
        else:
            connection.respond(200, headers + NO_SNIFF, body)

    return handler
