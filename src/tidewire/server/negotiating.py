"""``POST /negotiate``: which transports this server and this client can use, best first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tidewire.model import BadRequest, check_channel
from tidewire.model.address import ME, resolved
from tidewire.server.request import Request
from tidewire.server.response import JSON
from tidewire.transports.codecs import SUBPROTOCOLS

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

TRANSPORTS = ("websocket", "sse", "longpoll", "poll")
_PATHS = {"websocket": "/ws", "sse": "/sse", "longpoll": "/longpoll", "poll": "/poll"}
_HEADERS = JSON + b"Cache-Control: no-store\r\n"


class _Wishes(msgspec.Struct, forbid_unknown_fields=True):
    """What a client says of itself: the channels that it wants, and the transports it can use."""

    channels: list[str] = []
    transports: tuple[str, ...] = TRANSPORTS


class _Offer(msgspec.Struct):
    """What the server offers: ``transports`` best first, limits in bytes and counts."""

    transports: list[dict[str, Any]]
    limits: dict[str, int]
    user: str | None


_decode = msgspec.json.Decoder(_Wishes).decode
_encode = msgspec.json.Encoder().encode


def negotiate(app: App, request: Request, connection: Connection) -> None:
    """Answer with what can be used, each transport with its address and its times in ms."""
    wishes = _wishes_of(request.body)
    most = app.settings.max_channels
    if len(wishes.channels) > most:
        raise BadRequest(f"a subscription may hold {most} channels", code="too_many_channels")
    own = request.caller.own_channels() if ME in wishes.channels else ()
    channels = [check_channel(name) for name in resolved(wishes.channels, own)]
    app.access.rights.check(request.caller, "subscribe", channels)
    usable = [name for name in TRANSPORTS if name in wishes.transports and _knows(request, name)]
    settings = app.settings
    offer = _Offer(
        [_described(app, request, name) for name in usable],
        {
            "max_message_size": settings.max_message_size,
            "max_batch_size": settings.max_batch_size,
            "max_channels": settings.max_channels,
            "fragment_size": settings.fragment_size,
        },
        request.caller.user,
    )
    connection.respond(200, _HEADERS + app.cors(request), _encode(offer))


def _wishes_of(body: bytes) -> _Wishes:
    if not body.strip():
        return _Wishes()
    try:
        wishes = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is no wish: {error}") from None
    for name in wishes.transports:
        if name not in TRANSPORTS:
            raise BadRequest(f"{name[:40]!r} is no transport: use {', '.join(TRANSPORTS)}")
    return wishes


def _knows(request: Request, transport: str) -> bool:
    """Whether the client can be expected to have *transport*; Internet Explorer has no SSE."""
    agent = request.headers.get(b"user-agent", b"")
    old = b"MSIE " in agent or b"Trident/" in agent
    return not (old and transport == "sse")


def _described(app: App, request: Request, transport: str) -> dict[str, Any]:
    settings = app.settings
    secure = bool(settings.tls_certificate)
    scheme = "ws" if transport == "websocket" else "http"
    host = request.headers.get(b"host", b"").decode("latin-1")
    path = settings.path_prefix + _PATHS[transport]
    # Behind a proxy the scheme may be another one; whoever asks knows how it came here.
    address: dict[str, Any] = {
        "transport": transport,
        "path": path,
        "url": f"{scheme}{'s' if secure else ''}://{host}{path}",
    }
    if transport == "websocket":
        address |= {"subprotocols": list(SUBPROTOCOLS), "heartbeat": _ms(settings.ping_interval)}
    elif transport == "sse":
        address |= {"retry": settings.sse_retry, "heartbeat": _ms(settings.sse_heartbeat)}
    elif transport == "longpoll":
        address |= {"wait": _ms(settings.longpoll_wait)}
    else:
        address |= {"interval": _ms(settings.poll_interval)}
    return address


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
