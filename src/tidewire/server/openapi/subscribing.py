"""The addresses of subscribers: the four transports, /subscribe, /negotiate and /echo."""

from __future__ import annotations

from tidewire.server.openapi.operations import (
    NOT_KEPT,
    Operation,
    Paths,
    always,
    answer,
    as_head,
    exactly,
    header,
    query,
    sent,
)
from tidewire.server.openapi.values import CURSOR, Json, ref
from tidewire.settings import Settings
from tidewire.transports.codecs import SUBPROTOCOLS
from tidewire.transports.query import MAX_WAIT, MIN_WAIT, MOST_DEVICE, POLICIES

_CHANNELS = query(
    "channels",
    ref("Channels"),
    "The channels, separated by commas; it may be given more than once, and names that are there "
    "twice count once. Needed, but for a session that is taken up, and for a WebSocket that "
    "subscribes later.",
    style="form",
    explode=False,
)

_COMMON = (
    _CHANNELS,
    query(
        "cursor",
        ref("CursorOrNone"),
        "Go on strictly after this position. Instead of one for all channels there may be as many "
        "as channels, in their order, separated by commas.",
    ),
    query("lastEventId", ref("CursorOrNone"), "The same by another name; `cursor` wins."),
    query(
        "last_event_id",
        ref("CursorOrNone"),
        "The same, for clients that append it to an address which may have a cursor; it wins.",
    ),
    header(
        "Last-Event-ID",
        ref("CursorOrNone"),
        "The same once more; it wins over all of them, if it is not empty.",
    ),
    query("since", ref("Since"), "Where to start without a cursor; without it: `now`."),
    query(
        "format",
        {"enum": ["envelope", "raw"], "default": "envelope"},
        "`raw`: the data alone, for exactly one channel.",
    ),
    query(
        "policy",
        {"enum": list(POLICIES)},
        "What is sent when this subscriber has fallen behind; without it, what the namespaces say.",
    ),
    query("session", ref("Session"), "The session of an earlier connection, to be taken up."),
    query(
        "device",
        {"type": "string"},
        f"Free text; its first {MOST_DEVICE} characters are kept with the session.",
    ),
    query("consumer", ref("Consumer"), "Read as this durable consumer."),
)

_FRAGMENTS = query("fragments", {"type": "boolean"}, "Large envelopes come in parts.")
_BESIDE = query(
    "beside",
    ref("Session"),
    "The session of a connection beside which this poll is made: it counts as that where it is "
    "kept who is there, and takes nothing else from it.",
)
_NAMED = query(
    "named",
    {"type": "boolean", "default": True},
    "`false`: no event has a name, so that `onmessage` hears all of them; not with `format=raw`.",
)
_ACK = query(
    "ack", {"const": "cursor"}, "The cursor of a consumer's poll acknowledges all up to it."
)
_WAIT = query(
    "wait",
    {"type": "number", "minimum": MIN_WAIT, "maximum": MAX_WAIT},
    "Seconds for which the poll is held when there is nothing.",
)
_IF_NONE_MATCH = header("If-None-Match", {"type": "string"}, "The `ETag` of the last answer.")
_IF_MODIFIED_SINCE = header("If-Modified-Since", {"type": "string"}, "Where no `ETag` is known.")
_PREFER = header("Prefer", {"type": "string"}, "`wait=N` (RFC 7240), where the URL has no `wait`.")

_REFUSED: dict[int, tuple[str, ...]] = {
    400: (
        "no_channels",
        "too_many_channels",
        "invalid_channel",
        "invalid_cursor",
        "invalid_since",
        "invalid_wait",
        "invalid_format",
        "invalid_policy",
        "invalid_consumer",
        "invalid_session",
    ),
    404: ("unknown_session",),
    503: ("engine_unavailable",),
}
_REFUSED_POLLS = _REFUSED | {409: ("replaced",)}
_REFUSED_HELD = _REFUSED_POLLS | {403: ("disconnected",)}
_REFUSED_UPGRADES: dict[int, tuple[str, ...]] = {
    400: ("websocket_key",),
    426: ("upgrade_required", "websocket_version"),
}
_REFUSED_WEBSOCKETS = (
    _REFUSED | {400: _REFUSED[400] + _REFUSED_UPGRADES[400]} | {426: _REFUSED_UPGRADES[426]}
)

_VARY = exactly("Accept, Authorization, Cookie, Last-Event-ID, Origin, Prefer, X-API-Key")
_TAG = {"type": "string", "pattern": f'^"{CURSOR}"$'}
_DATE = {"type": "string", "pattern": " GMT$"}

_HANDSHAKE = (
    header("Upgrade", {"const": "websocket"}, required=True),
    header("Connection", {"const": "Upgrade"}, required=True),
    header("Sec-WebSocket-Version", {"const": "13"}, required=True),
    header(
        "Sec-WebSocket-Key",
        {"type": "string", "pattern": "^[A-Za-z0-9+/]{21}[AQgw]==$"},
        "16 bytes, as Base64.",
        required=True,
    ),
    header(
        "Sec-WebSocket-Protocol",
        {"type": "string"},
        f"Out of {', '.join(SUBPROTOCOLS)}; the first is spoken when none is asked for.",
    ),
    header("Sec-WebSocket-Extensions", {"type": "string"}, "`permessage-deflate` (RFC 7692)."),
)
_SWITCHED = answer(
    "A WebSocket (RFC 6455): from here on envelopes one way, commands the other.",
    headers={
        "Upgrade": exactly("websocket"),
        "Connection": exactly("Upgrade"),
        "Sec-WebSocket-Accept": always({"type": "string"}),
        "Sec-WebSocket-Protocol": {"schema": {"enum": list(SUBPROTOCOLS)}},
        "Sec-WebSocket-Extensions": {"schema": {"type": "string"}},
    },
)
_EVENTS = answer(
    "A stream of events (WHATWG HTML): a message has `id`, `event` if its publisher set one, and "
    "its envelope as `data`; events named `tidewire.*` are the server's own. A server that is full "
    "or draining ends it with `tidewire.close` and a `retry`.",
    {"type": "string"},
    {
        "Cache-Control": exactly("no-cache"),
        "X-Accel-Buffering": exactly("no"),
        "Vary": _VARY,
    },
    media="text/event-stream",
)


def paths(settings: Settings) -> Paths:
    """The operations on these addresses."""
    kept = "no-cache" if not settings.has_credentials else "private, no-cache"
    poll = Operation(
        "getPoll",
        "subscribe",
        "Short polling: the answer comes at once",
        {
            200: answer("What is new, or nothing.", ref("PollPage"), _poll_headers(kept, _TAG)),
            304: answer("Nothing is new.", headers=_poll_headers(kept, _TAG)),
        },
        parameters=(
            *_COMMON,
            _FRAGMENTS,
            _BESIDE,
            _ACK,
            _IF_NONE_MATCH,
            _IF_MODIFIED_SINCE,
        ),
        refusals=_REFUSED_POLLS,
    )
    cursor = {"Tidewire-Cursor": always(ref("Cursor"))}
    held = {"Cache-Control": exactly(f"{kept}, no-store"), "Vary": _VARY} | cursor
    long_poll = Operation(
        "getLongpoll",
        "subscribe",
        "Long polling: the answer comes with the next message, or after `wait` seconds",
        {
            200: answer("What is new.", ref("PollPage"), held | {"ETag": always(_TAG)}),
            204: answer("Nothing came in time.", headers=held),
        },
        f"Without `wait` and `Prefer` it is held for {settings.longpoll_wait:g} seconds.",
        parameters=(
            *_COMMON,
            _FRAGMENTS,
            _BESIDE,
            _ACK,
            _WAIT,
            _PREFER,
            _IF_NONE_MATCH,
        ),
        refusals=_REFUSED_HELD,
    )
    stream = Operation(
        "getSse",
        "subscribe",
        "Server-Sent Events",
        {200: _EVENTS},
        parameters=(*_COMMON, _FRAGMENTS, _NAMED),
        refusals=_REFUSED,
    )
    websocket = Operation(
        "getWs",
        "subscribe",
        "WebSocket",
        {101: _SWITCHED},
        "The commands `subscribe`, `unsubscribe`, `publish`, `history`, `ack`, `nack`, `upload`, "
        "`refresh` and `ping` are JSON objects in text frames; in the other subprotocols they are "
        "binary.",
        parameters=(*_HANDSHAKE, *_COMMON),
        refusals=_REFUSED_WEBSOCKETS,
    )
    return {
        "/ws": {"get": websocket},
        "/sse": {"get": stream, "head": as_head(stream)},
        "/longpoll": {"get": long_poll, "head": as_head(long_poll)},
        "/poll": {"get": poll, "head": as_head(poll)},
        "/subscribe": _any_transport(kept),
        "/negotiate": {"post": _NEGOTIATE},
    } | ({"/echo": {"get": _ECHO}} if settings.echo else {})


def _poll_headers(kept: str, tag: Json) -> dict[str, Json]:
    return {
        "Cache-Control": exactly(kept),
        "Vary": _VARY,
        "ETag": always(tag),
        # A consumer's poll has a cursor in their place.
        "Last-Modified": {"schema": _DATE},
        "Tidewire-Poll-Interval": {
            "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "Seconds until the next poll should come.",
        },
        "Tidewire-Cursor": {"schema": ref("Cursor")},
    }


def _any_transport(kept: str) -> dict[str, Operation]:
    """One address for all four: it answers as the one that the request's form asks for."""
    page = _poll_headers(kept, _TAG) | {"Cache-Control": always({"type": "string"})}
    both = answer("A page, or a stream of events.", ref("PollPage"), page)
    both["headers"]["ETag"] = {"schema": _TAG}
    both["content"] |= _EVENTS["content"]
    operation = Operation(
        "getSubscribe",
        "subscribe",
        "Any of the four transports, chosen by the request",
        {
            101: _SWITCHED,
            200: both,
            204: answer("A long poll: nothing came in time.", headers=_LONG_POLL_CURSOR),
            304: answer("A short poll: nothing is new.", headers=_poll_headers(kept, _TAG)),
        },
        "`Upgrade: websocket`: as `/ws`; `Accept` names `text/event-stream`: as `/sse`; `wait` or "
        "`Prefer: wait=N`: as `/longpoll`; else as `/poll`.",
        parameters=(
            *_COMMON,
            _FRAGMENTS,
            _NAMED,
            _BESIDE,
            _ACK,
            _WAIT,
            _PREFER,
            _IF_NONE_MATCH,
            _IF_MODIFIED_SINCE,
        ),
        refusals=_REFUSED_WEBSOCKETS | {403: ("disconnected",), 409: ("replaced",)},
    )
    head = as_head(operation)
    answers = {status: found for status, found in head.answers.items() if status != 101}
    return {"get": operation, "head": head._replace(answers=answers)}


_LONG_POLL_CURSOR = {"Tidewire-Cursor": always(ref("Cursor"))}

_NEGOTIATE = Operation(
    "postNegotiate",
    "caller",
    "Which transports this server and this client can use, best first",
    {200: answer("Addresses, times in ms and limits in bytes.", ref("Offer"), NOT_KEPT)},
    "Of `channels` it is seen to that the caller may subscribe to all of them.",
    body=sent(ref("Wishes"), required=False),
    refusals={400: ("invalid_channel", "too_many_channels")},
)

_ECHO = Operation(
    "getEcho",
    "nothing",
    "A WebSocket that returns every message, for conformance suites",
    {101: _SWITCHED},
    parameters=_HANDSHAKE,
    refusals=_REFUSED_UPGRADES,
)
