"""The application: from a request to its handler, and what every answer has in common."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

from tidewire.access.access import Access
from tidewire.access.breaker import ThisProcess
from tidewire.access.caller import Caller
from tidewire.access.counts import Counts
from tidewire.access.origins import Origins, is_loopback
from tidewire.access.paces import Meters, paces_of
from tidewire.access.rates import Buckets, rate_of
from tidewire.hub import Consumers, Fleet, Hub, Presence, SessionRecords
from tidewire.hub.presence import Times
from tidewire.model import (
    Forbidden,
    MethodNotAllowed,
    NoCredentials,
    NotFound,
    TidewireError,
    Unavailable,
)
from tidewire.server import choosing, metrics, polls, streams, subscribing
from tidewire.server.admitting import access_of
from tidewire.server.doors import Doors
from tidewire.server.draining import Drain
from tidewire.server.granting import answer_refreshes
from tidewire.server.identifying import take_credentials
from tidewire.server.journal import failed
from tidewire.server.load import Load
from tidewire.server.operating import answer_questions
from tidewire.server.request import Endpoint, HttpLimits, Request
from tidewire.server.returning import FleetPace, Returns
from tidewire.server.routes import ALWAYS_ANSWERED, options_of, routes_of, split
from tidewire.server.turns import Turns
from tidewire.server.wheel import Wheel
from tidewire.settings import Settings
from tidewire.transports.dialogue import Rules
from tidewire.transports.pacing import Pacing
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
        self.turns = Turns(loop)
        self.limits = HttpLimits(
            settings.max_head_size,
            settings.max_target_size,
            settings.head_timeout,
            settings.body_timeout,
            settings.keepalive_timeout,
        )
        #: What was refused, by reason: every limit and rule counts here.
        self.refusals: Counter[str] = Counter()
        self.doors = Doors(settings, self.refusals, loop.time, ThisProcess())
        self.pacing = Pacing(
            self.refusals,
            rate_of(settings.max_control_rate),
            paces_of(settings.max_message_rate, settings.max_byte_rate),
            loop.time,
        )
        self.publishers = Meters()  # over HTTP
        self.refreshes = Buckets()  # by way of another server
        self.stays_by_user = Counts(settings.max_connections_per_user)
        self.publish_limits = Limits(
            settings.max_message_size,
            settings.max_json_depth,
            copies=max(settings.max_batch_size, settings.max_message_size),
        )
        self.consumers = Consumers(
            hub,
            ack_wait=settings.ack_wait,
            max_deliver=settings.max_deliver,
            ttl=settings.consumer_ttl,
        )
        self.access: Access = access_of(self)
        self.leeway = settings.token_leeway
        self.poll_headers = polls.poll_headers(private=not self.access.open)
        self.command_rules = Rules(
            self.publish_limits,
            # What is joined unasked takes nobody's place: @me is two channels.
            settings.max_channels + 2 * len(settings.auto_channels),
            self.pacing,
            uploads,
            self.consumers,
        )
        self.stall_timeout = settings.stall_timeout
        self.draining = False
        self.drainage: Drain | None = None
        self.connections: set[Connection] = set()
        self.nobody = asyncio.Event()  # set while there is no connection
        self.nobody.set()
        self.origins = Origins(
            settings.allowed_origins,
            settings.allowed_hosts,
            loopback_only=is_loopback(settings.host),
            secure=bool(settings.tls_certificate),
        )
        self.short_polls = ShortPolls(
            hub, settings.poll_interval, self.poll_headers.short, settings.fragment_size
        )
        self.poll_answers = polls.PollAnswers(hub)
        # Asked for by each poll: an attribute of the settings takes three times as long to find.
        self.min_poll_interval = settings.min_poll_interval
        self.subscribers = subscribing.Subscribers()
        self.sessions = SessionRecords(hub.engine, settings.session_ttl)
        self.returns = Returns(FleetPace(self), loop.time)
        self.load = Load(self)
        self.fleet = Fleet(hub, self.load.describe)
        #: Who is on the channels; ``None``: no namespace has that.
        self.presence: Presence | None = None
        if hub.engine.namespaces.any_has_presence:
            times = Times(
                settings.presence_grace,
                settings.poll_presence_ttl,
                max(settings.presence_grace, 2 * settings.poll_interval),
            )
            self.presence = self.sessions.presence = Presence(hub, self.fleet, times, loop=loop)
            self.command_rules = self.command_rules._replace(presence=self.presence)
        answer_questions(self)
        answer_refreshes(self)
        self.metrics = metrics.Metrics(self)
        #: What lets a page's requests bring cookies, and the page see the answers to those.
        self.cors_cookies = (
            b"Access-Control-Allow-Credentials: true\r\n" if settings.token_cookie else b""
        )
        self._prefix = settings.path_prefix.encode()
        self._routes = routes_of(settings)
        self._exact, self._by_name = split(self._routes)

    # Connections

    def admit(self, connection: Connection, file: int) -> TidewireError | None:
        """Count a new connection in, whose descriptor is *file*; or say why it is refused."""
        self.connections.add(connection)
        self.nobody.clear()
        return self.doors.enter(connection, file)

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self.connections.discard(connection)
        self.doors.leave(connection)
        if not self.connections:
            self.nobody.set()

    def stream_retry(self) -> int:
        """In how many ms the client of a stream that ends may come back."""
        retry = self.settings.sse_retry
        return self.returns.ms(retry // 2, retry * 3 // 2)

    def count_stalled(self) -> None:
        """Count a client that was ended because it took no bytes."""
        self.hub.drops["stalled"] += 1

    def count_refusal(self, error: TidewireError) -> None:
        """Count what a client is told, if it is a limit or a rule that refuses it."""
        if error.refusal is not None:
            self.refusals[error.refusal] += 1

    def count_bad_tls(self) -> None:
        """Count a client that did not get through its TLS handshake."""
        self.hub.drops["tls"] += 1

    def drain(self) -> None:
        """Take nothing new, and send away all who are there, now or over a while."""
        self.draining = True
        self.fleet.announce()
        self.drainage = Drain(self)
        self.drainage.begin()

    # Requests

    def body_limit(self, request: Request) -> int:
        """Bytes that the body of *request* may have."""
        if request.target.partition(b"?")[0] == self._prefix + b"/publish":
            return max(self.settings.max_batch_size, self.settings.max_message_size)
        return _SMALL_BODY

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer *request* on *connection*, now or later. Raises nothing."""
        try:
            endpoint = request.endpoint
            if endpoint is None:
                endpoint = request.endpoint = self._resolve(request)
            refusal = None
            if self.draining or connection.refused is not None or connection.proxied:
                refusal = self._refusal(request, connection, endpoint)
            if refusal is not None:
                if isinstance(refusal, Unavailable) and refusal.retry_after is None:
                    refusal.retry_after = self.returns.ms(1_000, 4_000) / 1000
                self.put_off(request, connection, refusal)
            elif self.access.open or endpoint.needs == "nothing":
                endpoint.handler(self, request, connection)
            else:
                self._identify(request, connection, endpoint)
        except TidewireError as error:
            connection.respond_error(error)
        except Exception as error:
            failed(connection, request, error)
            connection.respond_error(TidewireError("something went wrong here; the log has more"))

    def _identify(self, request: Request, connection: Connection, endpoint: Endpoint) -> None:
        """Find out who asks, and go on when that is known."""
        assert request.credentials is not None
        caller = self.access.caller_now(request.credentials)
        if caller is None:
            self.answer_later(request, connection, self._identify_later(request, connection))
        else:
            request.caller = caller
            self._let_in(request, connection, endpoint)

    async def _identify_later(self, request: Request, connection: Connection) -> None:
        assert request.credentials is not None
        assert request.endpoint is not None
        request.caller = await self.access.caller_later(request.credentials)
        if connection.current is request and not connection.transport.is_closing():
            self._let_in(request, connection, request.endpoint)

    def _let_in(self, request: Request, connection: Connection, endpoint: Endpoint) -> None:
        """Handle the request of a known caller; what it needs in channels the handler sees to."""
        needs = endpoint.needs
        if needs in ("admin", "metrics") and not request.caller.has(needs):
            refuse_scope(request.caller, needs)
        endpoint.handler(self, request, connection)

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
        except Exception as error:
            failed(connection, request, error)
            answer = TidewireError("something went wrong here; the log has more")
        if connection.current is request:
            connection.respond_error(answer)

    def _resolve(self, request: Request) -> Endpoint:
        """What answers a request, which its head alone decides; what it shows is taken out of it.

        Raises:
            NotFound, MethodNotAllowed, Forbidden: if nothing does.
            BadRequest, Unauthorized: if what it shows cannot be read.
        """
        path, _, request.query = request.target.partition(b"?")
        route = self._exact.get(path) or self._named(path, request)
        self._check_source(request)
        endpoint = route.get(request.method)
        if endpoint is not None:
            if endpoint.needs != "nothing":
                request.credentials = take_credentials(request, self.settings.token_cookie)
            return endpoint
        if request.method == b"OPTIONS":
            return options_of(route)
        allowed = b", ".join(sorted({*route, b"OPTIONS"})).decode()
        raise MethodNotAllowed(f"{_shown(path)} takes {allowed}", allowed=allowed)

    def _named(self, path: bytes, request: Request) -> dict[bytes, Endpoint]:
        """The endpoints of an address whose last part is the name of a thing.

        Raises:
            NotFound: if there is none.
        """
        folder, slash, name = path.rpartition(b"/")
        route = self._by_name.get(folder + slash)
        if route is None or not name:
            raise NotFound(f"there is nothing at {_shown(path)}")
        request.name = name.decode("latin-1")
        return route

    def _check_source(self, request: Request) -> None:
        headers = request.headers
        host = headers.get(b"host", b"").decode("latin-1")
        if not self.origins.host_allowed(host):
            raise Forbidden(
                f"this server does not answer to the host {host[:100]!r}: see allowed_hosts",
                code="wrong_host",
                refusal="host",
            )
        origin = headers.get(b"origin")
        if origin is not None and not self.origins.allowed(origin.decode("latin-1"), host):
            raise Forbidden(
                f"the origin {origin[:100].decode('latin-1')!r} may not use this server: "
                "see allowed_origins",
                code="wrong_origin",
                refusal="origin",
            )

    def _refusal(
        self, request: Request, connection: Connection, endpoint: Endpoint
    ) -> TidewireError | None:
        """Why this request is not even looked at."""
        if endpoint.handler in ALWAYS_ANSWERED:
            return None
        if self.draining:
            request.keep_alive = False
            return Unavailable("the server is going down")
        if connection.refused is not None:
            return connection.refused
        return self.doors.serve(request, connection)

    def put_off(self, request: Request, connection: Connection, error: TidewireError) -> None:
        """Have a client come back later: an EventSource would give up for good on a 503."""
        if (
            request.endpoint is not None
            and request.endpoint.handler in (streams.event_stream, choosing.choose)
            and request.method == b"GET"
            and streams.wants_events(request)
        ):
            self.count_refusal(error)
            streams.turn_away(self, request, connection, error)
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
        return b"Access-Control-Allow-Origin: %b\r\n%bAccess-Control-Expose-Headers: %b\r\n" % (
            origin,
            self.cors_cookies,
            _EXPOSED,
        )


def refuse_scope(caller: Caller, scope: str) -> NoReturn:
    """Tell *caller* that this is for keys with a *scope*."""
    why = f"it has no scope {scope}"
    if caller.kind == "anonymous":
        raise NoCredentials("show who you are: send a key", why=why)
    raise Forbidden("this is for keys of back ends that have the scope for it", why=why)


def _shown(path: bytes) -> str:
    return repr(path[:100].decode("latin-1"))
