"""The addresses of streams: /ws, /sse, and /echo."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from tidewire.hub import FIRST_MESSAGES, Consumer, Holding, Opening, Session, Terms
from tidewire.model import BadRequest, Subscription, TidewireError
from tidewire.model.envelope import Close
from tidewire.server.consuming import as_consumer
from tidewire.server.request import Request
from tidewire.server.response import NO_SNIFF, date, jittered
from tidewire.server.resuming import Resumed, check_rights, resume_stream
from tidewire.server.staying import stay_of
from tidewire.server.subscribing import VARY, check_channels, open_subscription, query_of
from tidewire.transports.codecs import DEFAULT, SUBPROTOCOLS
from tidewire.transports.echo import Echo
from tidewire.transports.fragments import WHOLE
from tidewire.transports.frames import frames_form
from tidewire.transports.framing import FrameParser
from tidewire.transports.handshake import Deflate, accept_key, agree_deflate, choose_subprotocol
from tidewire.transports.query import named_in
from tidewire.transports.sse import Events, EventStream, events_form
from tidewire.transports.websocket import Heartbeat, WebSocket

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

_EVENT_HEADERS = (
    b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
    + NO_SNIFF
    + VARY
)

# What a publish command may have around its data.
ENVELOPE_ALLOWANCE = 512


_terms = lru_cache(1024)(Terms)  # most connections have the same ones, and keep them


class UpgradeRequired(BadRequest):
    """A plain request to the WebSocket's address (RFC 9110 section 15.5.22)."""

    status = 426
    title = "Upgrade required"
    code = "upgrade_required"


def websocket(app: App, request: Request, connection: Connection) -> None:
    """``GET /ws``: the handshake, and from then on envelopes in frames."""
    key, deflate, subprotocol = _handshake(app, request)
    parsed = query_of(app, request, required=False)
    codec, batch = SUBPROTOCOLS[subprotocol] if subprotocol else DEFAULT
    form = frames_form(
        batch=batch,
        raw=parsed.raw,
        window_bits=deflate.window_bits if deflate else 0,
        codec=codec,
        fragment_size=app.settings.fragment_size,
    )
    settings = app.settings

    def open_it(resumed: Resumed) -> None:
        open_as = partial(open_for, resumed)
        as_consumer(app, request, connection, resumed.query, open_as, claims=True)

    def open_for(resumed: Resumed, wanted: Subscription, consumer: Consumer | None) -> None:
        policy = resumed.query.policy
        session = Session(app.hub, connection, form, resumed.id, policy, consumer)

        def start(opening: Opening | None) -> None:
            stream = WebSocket(
                connection,
                app.hub,
                form,
                _frame_parser(app, deflate),
                holding=_hold(app, request, connection, session, "ws", resumed, opening),
                gate=stay_of(app, request, connection, session.id),
                rules=app.command_rules,
                heartbeat=Heartbeat(settings.ping_interval, settings.pong_timeout),
                now=app.loop.time(),
                retry=app.stream_retry,
            )
            head = _switching(key, deflate, subprotocol)
            first = session.begin(
                opening, heartbeat=_ms(settings.ping_interval), timeout=_ms(settings.pong_timeout)
            )
            taken = connection.start_stream(
                stream, head, first, seconds=settings.ping_interval, framed=True
            )
            session.go_on(more=opening is not None and opening.page.more, congested=not taken)

        if wanted.channels:
            open_subscription(
                app, connection, wanted, app.hub.position, FIRST_MESSAGES, start, policy
            )
        else:
            start(None)

    resume_stream(app, request, connection, parsed, open_it)


def _hold(
    app: App,
    request: Request,
    connection: Connection,
    session: Session,
    transport: str,
    resumed: Resumed,
    opening: Opening | None,
) -> Holding:
    query, caller = resumed.query, request.caller
    connection.client = app.doors.client_behind(request, connection)
    terms = _terms(
        transport,
        query.consumer,
        query.policy,
        query.device or caller.device,
        query.raw,
        query.fragments,
        caller.user,
    )
    after = {} if opening is None else opening.start.after
    return app.sessions.hold(session, terms, after, holder=resumed.holder)


def _handshake(app: App, request: Request) -> tuple[str, Deflate | None, str | None]:
    if not wants_websocket(request):
        raise UpgradeRequired("this address speaks WebSocket: send Upgrade: websocket")
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()
    }
    key = accept_key(headers)
    deflate = None
    if app.settings.compression:
        deflate = agree_deflate(headers.get("sec-websocket-extensions"))
    return key, deflate, choose_subprotocol(headers.get("sec-websocket-protocol"), SUBPROTOCOLS)


def wants_websocket(request: Request) -> bool:
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
    stream = Echo(connection, parser, deflate.window_bits if deflate else 0, app.pacing)
    connection.start_stream(stream, _switching(key, deflate, None), b"", seconds=3600)


def event_stream(app: App, request: Request, connection: Connection) -> None:
    """``GET /sse``: envelopes as server-sent events."""
    parsed = query_of(app, request)
    if request.method == b"HEAD":
        check_rights(app, request, parsed)
        connection.respond(200, _EVENT_HEADERS, b"")
        return
    form = _events_form(
        app, request, raw=parsed.raw, fragments=parsed.fragments, named=parsed.named
    )
    settings = app.settings

    def open_it(resumed: Resumed) -> None:
        check_channels(resumed.query)
        open_as = partial(open_for, resumed)
        as_consumer(app, request, connection, resumed.query, open_as, claims=True)

    def open_for(resumed: Resumed, wanted: Subscription, consumer: Consumer | None) -> None:
        policy = resumed.query.policy

        def start(opening: Opening) -> None:
            session = Session(app.hub, connection, form, resumed.id, policy, consumer)
            stay_of(app, request, connection, session.id)
            stream = EventStream(
                connection,
                form,
                _hold(app, request, connection, session, "sse", resumed, opening),
                heartbeat=settings.sse_heartbeat,
                now=app.loop.time(),
                retry=app.stream_retry,
            )
            head = _event_head(app, request)
            first = session.begin(opening, heartbeat=_ms(settings.sse_heartbeat))
            taken = connection.start_stream(stream, head, first, seconds=settings.sse_heartbeat)
            session.go_on(more=opening.page.more, congested=not taken)

        open_subscription(app, connection, wanted, app.hub.position, FIRST_MESSAGES, start, policy)

    resume_stream(app, request, connection, parsed, open_it)


def _events_form(
    app: App,
    request: Request,
    *,
    raw: bool = False,
    fragments: bool = False,
    named: bool = True,
) -> Events:
    return events_form(
        chunked=request.version == "1.1",
        raw=raw,
        retry=app.settings.sse_retry,
        fragment_size=app.settings.fragment_size if fragments else WHOLE,
        named=named,
    )


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


def turn_away(app: App, request: Request, connection: Connection, error: TidewireError) -> None:
    """A stream of one event that says when to come back."""
    form = _events_form(app, request, named=named_in(request.query))
    settings = app.settings
    code = 4429 if error.status == 429 else 1013
    after = getattr(error, "retry_after", None) or 0
    retry = max(jittered(settings.sse_retry, settings.sse_retry * 3), round(after * 1000))
    close = Close(code, error.detail, retry)
    cursor = request.header(b"last-event-id") or app.hub.cursor(app.hub.position)
    body = form.control(close, cursor if cursor.isascii() and cursor.isprintable() else "")
    connection.write(_event_head(app, request) + body + form.end())
    connection.current = None
    connection.close()


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
