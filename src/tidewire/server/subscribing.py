"""The addresses of subscribers: /ws, /sse, /longpoll, /poll, /subscribe."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidewire.hub import Hub, Opening, Session
from tidewire.model import BadRequest, Subscription, TidewireError, TooManyRequests, Unavailable
from tidewire.model.envelope import Close
from tidewire.server.request import Request
from tidewire.server.response import JSON, answer, date, jittered
from tidewire.transports.echo import Echo
from tidewire.transports.frames import SUBPROTOCOLS, frames_form
from tidewire.transports.framing import FrameParser
from tidewire.transports.handshake import Deflate, accept_key, agree_deflate, choose_subprotocol
from tidewire.transports.long_poll import LongPoll
from tidewire.transports.query import DEFAULT_WAIT, Query, parameters, parse_query, preferred_wait
from tidewire.transports.short_poll import Answer
from tidewire.transports.sse import Events, EventStream, events_form
from tidewire.transports.websocket import Heartbeat, WebSocket

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

# Besides the URL, what a poll's answer depends on
_POLL_KEY_HEADERS = (b"last-event-id", b"if-none-match", b"if-modified-since", b"origin", b"host")

_Poller = tuple[str, bytes | None, tuple[str, ...]]
_Then = Callable[[Opening], None]

VARY = b"Vary: Accept, Authorization, Last-Event-ID, Origin, Prefer\r\n"
POLL_HEADERS = JSON + b"Cache-Control: no-cache\r\n" + VARY
_EVENT_HEADERS = (
    b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
    + VARY
)

# What a publish command may have around its data.
ENVELOPE_ALLOWANCE = 512

_MOST_QUERIES = 1_024
_SHARED_BYTES = 4_096  # of an answer: those with messages are for few, and large
_MOST_POLLERS = 100_000


class UpgradeRequired(BadRequest):
    """A plain request to the WebSocket's address (RFC 9110 section 15.5.22)."""

    status = 426
    title = "Upgrade required"
    code = "upgrade_required"


class PollAnswers:
    """Whole answers to polls, good while no message comes and the second lasts.

    *most* bounds their number.
    """

    def __init__(self, hub: Hub, most: int = 10_000) -> None:
        self._hub = hub
        self._most = most
        self._head = -1
        self._second = 0
        self._answers: dict[tuple[bytes | None, ...], bytes] = {}

    def get(self, key: tuple[bytes | None, ...]) -> bytes | None:
        """The answer to the same poll, if nothing has changed since."""
        head = self._hub.recent.head
        second = int(time.time())
        if head != self._head or second != self._second:
            self._head = head
            self._second = second
            self._answers.clear()
            return None
        return self._answers.get(key)

    def put(self, key: tuple[bytes | None, ...], whole: bytes) -> None:
        """Keep an answer that was made just after ``get`` had none."""
        if len(self._answers) < self._most and len(whole) <= _SHARED_BYTES:
            self._answers[key] = whole


class Subscribers:
    """What requests of subscribers share: parsed queries, and when each poller last came."""

    def __init__(self) -> None:
        self._queries: dict[tuple[bytes, bytes | None], Query] = {}
        self._last_polls: dict[_Poller, float] = {}

    def query(self, request: Request, most_channels: int) -> Query:
        """The request's parameters; the same ones are parsed once.

        Raises:
            BadRequest: if they are malformed.
        """
        last_event_id = request.headers.get(b"last-event-id")
        known = self._queries.get((request.query, last_event_id))
        if known is not None:
            return known
        header = None if last_event_id is None else last_event_id.decode("latin-1")
        parsed = parse_query(parameters(request.query), header, most_channels)
        if len(self._queries) >= _MOST_QUERIES:
            self._queries.clear()
        self._queries[request.query, last_event_id] = parsed
        return parsed

    def check_interval(self, poller: _Poller, now: float, least: float) -> None:
        """Refuse a poller that comes back before *least* seconds have passed.

        Raises:
            TooManyRequests: saying when it may.
        """
        polls = self._last_polls
        last = polls.pop(poller, None)
        if last is not None and now - last < least:
            polls[poller] = last
            raise TooManyRequests(
                f"poll at most every {least:g} s", retry_after=least - (now - last)
            )
        polls[poller] = now
        while len(polls) > _MOST_POLLERS or now - next(iter(polls.values())) > least:
            del polls[next(iter(polls))]

    def welcome_back(self, poller: _Poller) -> None:
        """The poller's answer had more behind it: let it come for that at once."""
        self._last_polls.pop(poller, None)


def _query_of(app: App, request: Request, *, required: bool = True) -> Query:
    parsed = app.subscribers.query(request, app.settings.max_channels)
    if required and not parsed.subscription.channels:
        raise BadRequest("name at least one channel, as in ?channels=news", code="no_channels")
    return parsed


def _open(app: App, connection: Connection, wanted: Subscription, upto: int, then: _Then) -> None:
    """Open *wanted* and pass the opening to *then*, at once when memory knows it."""
    opening = app.hub.open_now(wanted, upto)
    if opening is not None:
        then(opening)
    else:
        app.hub.spawn(_open_later(app, connection, wanted, upto, then))


async def _open_later(
    app: App, connection: Connection, wanted: Subscription, upto: int, then: _Then
) -> None:
    request = connection.current
    try:
        opening = await app.hub.open(wanted, upto)
        if connection.draining:
            raise Unavailable("the server is going down")
    except TidewireError as error:
        if connection.current is None or connection.transport.is_closing():
            return
        if isinstance(error, Unavailable) and request is not None:
            app.put_off(request, connection, error)
        else:
            connection.respond_error(error)
    else:
        if connection.current is not None and not connection.transport.is_closing():
            then(opening)


# Streams


def websocket(app: App, request: Request, connection: Connection) -> None:
    """``GET /ws``: the handshake, and from then on envelopes in frames."""
    key, deflate, subprotocol = _handshake(app, request)
    parsed = _query_of(app, request, required=False)
    form = frames_form(
        batch=SUBPROTOCOLS[subprotocol] if subprotocol else False,
        raw=parsed.raw,
        window_bits=deflate.window_bits if deflate else 0,
    )
    session = Session(app.hub, connection, form, _session_id())

    def start(opening: Opening | None) -> None:
        settings = app.settings
        now = app.loop.time()
        stream = WebSocket(
            connection,
            app.hub,
            form,
            _frame_parser(app, deflate),
            session=session,
            rules=app.command_rules,
            heartbeat=Heartbeat(settings.ping_interval, settings.pong_timeout),
            now=now,
            retry=lambda: jittered(settings.sse_retry // 2, settings.sse_retry * 3 // 2),
        )
        head = _switching(key, deflate, subprotocol)
        first = session.begin(opening)
        taken = connection.start_stream(stream, head + first, seconds=settings.ping_interval)
        session.go_on(more=opening is not None and opening.page.more, congested=not taken)

    if parsed.subscription.channels:
        _open(app, connection, parsed.subscription, app.hub.position, start)
    else:
        start(None)


def _handshake(app: App, request: Request) -> tuple[str, Deflate | None, str | None]:
    if not _wants_websocket(request):
        raise UpgradeRequired("this address speaks WebSocket: send Upgrade: websocket")
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()
    }
    key = accept_key(headers)
    deflate = None
    if app.settings.compression:
        deflate = agree_deflate(headers.get("sec-websocket-extensions"))
    return key, deflate, choose_subprotocol(headers.get("sec-websocket-protocol"), SUBPROTOCOLS)


def _wants_websocket(request: Request) -> bool:
    if request.version != "1.1" or request.headers.get(b"upgrade", b"").lower() != b"websocket":
        return False
    # Firefox sends "keep-alive, Upgrade"
    tokens = request.headers.get(b"connection", b"").lower().split(b",")
    return any(token.strip() == b"upgrade" for token in tokens)


def _switching(key: str, deflate: Deflate | None, subprotocol: str | None) -> bytes:
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {key}",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if deflate:
        lines.append(f"Sec-WebSocket-Extensions: {deflate.header}")
    return "\r\n".join(lines).encode() + b"\r\n" + date.line() + b"\r\n"


def _frame_parser(app: App, deflate: Deflate | None) -> FrameParser:
    settings = app.settings
    return FrameParser(
        max_size=settings.max_message_size + ENVELOPE_ALLOWANCE,
        max_fragments=settings.max_fragments,
        deflated=deflate is not None,
    )


def echo(app: App, request: Request, connection: Connection) -> None:
    """``GET /echo``: for conformance suites."""
    key, deflate, _ = _handshake(app, request)
    parser = FrameParser(
        max_size=app.settings.max_message_size,
        max_fragments=app.settings.max_fragments,
        deflated=deflate is not None,
    )
    stream = Echo(connection, parser, deflate.window_bits if deflate else 0)
    connection.start_stream(stream, _switching(key, deflate, None), seconds=3600)


def event_stream(app: App, request: Request, connection: Connection) -> None:
    """``GET /sse``: envelopes as server-sent events."""
    parsed = _query_of(app, request)
    if request.method == b"HEAD":
        connection.respond(200, _EVENT_HEADERS, b"")
        return
    form = _events_form(app, request, raw=parsed.raw)

    def start(opening: Opening) -> None:
        settings = app.settings
        session = Session(app.hub, connection, form, _session_id())
        stream = EventStream(
            connection,
            form,
            session,
            heartbeat=settings.sse_heartbeat,
            now=app.loop.time(),
            retry=lambda: jittered(settings.sse_retry // 2, settings.sse_retry * 3 // 2),
        )
        head = _event_head(app, request)
        first = session.begin(opening)
        taken = connection.start_stream(stream, head + first, seconds=settings.sse_heartbeat)
        session.go_on(more=opening.page.more, congested=not taken)

    _open(app, connection, parsed.subscription, app.hub.position, start)


def _events_form(app: App, request: Request, *, raw: bool) -> Events:
    return events_form(chunked=request.version == "1.1", raw=raw, retry=app.settings.sse_retry)


def _event_head(app: App, request: Request) -> bytes:
    if request.version == "1.1":
        framing = b"Transfer-Encoding: chunked\r\n"
    else:
        framing = b"Connection: close\r\n"
    return b"HTTP/1.1 200 OK\r\n%b%b%b%b\r\n" % (
        date.line(),
        _EVENT_HEADERS,
        app.cors(request),
        framing,
    )


def wants_events(request: Request) -> bool:
    """Whether the client is an EventSource, which gives up for good on any status but 200."""
    return b"text/event-stream" in request.headers.get(b"accept", b"")


def turn_away(app: App, request: Request, connection: Connection, why: str) -> None:
    """A stream of one event that says when to come back."""
    form = _events_form(app, request, raw=False)
    settings = app.settings
    close = Close(1013, why, jittered(settings.sse_retry, settings.sse_retry * 3))
    cursor = request.header(b"last-event-id") or app.hub.cursor(app.hub.position)
    body = form.control(close, cursor if cursor.isascii() and cursor.isprintable() else "")
    connection.write(_event_head(app, request) + body + form.end())
    connection.current = None
    connection.close()


def _session_id() -> str:
    return secrets.token_urlsafe(12)


# Polls


def long_poll(app: App, request: Request, connection: Connection) -> None:
    """``GET /longpoll``: answered when there is something, or after ``wait`` seconds."""
    parsed = _query_of(app, request)
    wait = parsed.wait
    if wait is None:
        prefer = request.header(b"prefer")
        wait = (preferred_wait(prefer) if prefer else None) or DEFAULT_WAIT
    wanted = parsed.subscription
    if (tag := request.headers.get(b"if-none-match")) is not None:
        wanted = app.short_polls.from_tag(wanted, tag)

    def start(opening: Opening) -> None:
        poll = LongPoll(
            connection,
            app.hub,
            raw=parsed.raw,
            recovered=bool(wanted.cursors),
            headers=POLL_HEADERS + app.cors(request),
            deadline=app.loop.time() + wait,
        )
        connection.hold(poll, wait)
        poll.begin(opening)

    _open(app, connection, wanted, app.hub.recent.head, start)


def short_poll(app: App, request: Request, connection: Connection) -> None:
    """``GET /poll``: answered at once.

    Equal polls get equal answers until the next message or second: those bytes are made once.
    """
    if app.settings.min_poll_interval:
        app.subscribers.check_interval(
            _poller(app, request, connection), app.loop.time(), app.settings.min_poll_interval
        )
    headers = request.headers
    key = request.poll_key
    if key is None:
        key = request.poll_key = (request.query, *map(headers.get, _POLL_KEY_HEADERS))
    shared = request.keep_alive and request.method == b"GET" and not connection.draining
    if shared and (ready := app.poll_answers.get(key)) is not None:
        connection.respond_whole(ready)
        return
    parsed = _query_of(app, request)
    tag = headers.get(b"if-none-match")
    found = app.short_polls.answer_now(parsed, tag, request.header(b"if-modified-since"))
    if found is None:
        app.hub.spawn(_short_poll_later(app, request, connection, parsed))
    elif shared and not found.more:
        lines = found.headers + app.cors(request)
        whole = answer(found.status, lines, found.body, keep_alive=True)
        app.poll_answers.put(key, whole)
        connection.respond_whole(whole)
    else:
        _respond_poll(app, request, connection, found)


async def _short_poll_later(
    app: App, request: Request, connection: Connection, parsed: Query
) -> None:
    tag = request.headers.get(b"if-none-match")
    try:
        found = await app.short_polls.answer(parsed, tag, request.header(b"if-modified-since"))
    except TidewireError as error:
        connection.respond_error(error)
    else:
        _respond_poll(app, request, connection, found)


def _respond_poll(app: App, request: Request, connection: Connection, found: Answer) -> None:
    if found.more and app.settings.min_poll_interval:
        app.subscribers.welcome_back(_poller(app, request, connection))
    connection.respond(found.status, found.headers + app.cors(request), found.body)


def _poller(app: App, request: Request, connection: Connection) -> _Poller:
    """Who polls what: the address, the program and the channels, not the cursor."""
    peer = connection.transport.get_extra_info("peername")
    channels = _query_of(app, request).subscription.channels
    return str(peer[0]), request.headers.get(b"user-agent"), channels


def choose(app: App, request: Request, connection: Connection) -> None:
    """``GET /subscribe``: the transport that the request's own form asks for."""
    if _wants_websocket(request):
        websocket(app, request, connection)
    elif wants_events(request):
        event_stream(app, request, connection)
    elif _query_of(app, request).wait is not None or preferred_wait(
        request.header(b"prefer") or ""
    ):
        long_poll(app, request, connection)
    else:
        short_poll(app, request, connection)
