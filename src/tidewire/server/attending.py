"""Who is on a channel: the address /presence, and pollers as members.

A poller has no connection by which it could be told apart. It is, in this order: the session beside
which it polls, or that it names; its user and device; the device that it names, at its address; its
address and program.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from tidewire.hub import Presence
from tidewire.hub.presence_records import Who, client_of, client_of_session
from tidewire.model import BadRequest, TidewireError
from tidewire.server.request import Request
from tidewire.server.response import JSON
from tidewire.transports.addressing import one_channel
from tidewire.transports.presence import MEMBERS, Wanted, check_wanted, read_presence
from tidewire.transports.query import Query, parameters

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

_HEADERS = JSON + b"Cache-Control: no-store\r\n"
_LIMIT = re.compile(r"[0-9]{1,9}", re.ASCII)
_PARAMETERS = {"channel", "members", "after", "limit"}
_encode = msgspec.json.Encoder().encode


def presence(app: App, request: Request, connection: Connection) -> None:
    """``GET /presence``: how many are on a channel, and who in pages."""
    wanted = _wanted(request)
    app.access.rights.check(request.caller, "presence", (wanted.channel,))
    asked = check_wanted(app.presence, wanted)
    app.answer_later(request, connection, _answer(app, request, connection, asked, wanted))


def _wanted(request: Request) -> Wanted:
    values = parameters(request.query)
    if unknown := values.keys() - _PARAMETERS:
        raise BadRequest(
            f"/presence takes channel, members, after and limit, not {', '.join(sorted(unknown))}"
        )
    given = {name: texts[-1] for name, texts in values.items()}
    members = given.get("members", "false")
    if members not in ("true", "false"):
        raise BadRequest("members: use true or false")
    limit = given.get("limit", str(MEMBERS))
    return Wanted(
        one_channel(given.get("channel", ""), request.caller),
        members == "true",
        given.get("after", ""),
        int(limit) if _LIMIT.fullmatch(limit) else 0,
        request.caller.has("admin"),
    )


async def _answer(
    app: App, request: Request, connection: Connection, asked: Presence, wanted: Wanted
) -> None:
    try:
        found = await read_presence(asked, wanted)
    except TidewireError as error:
        connection.respond_error(error)
    else:
        connection.respond(200, _HEADERS + app.cors(request), _encode(found))


def attend(
    app: App, request: Request, connection: Connection, query: Query, transport: str, *, held: bool
) -> Callable[[], None] | None:
    """The poller is on the channels of *query*. *held*: call what is returned when it is answered.

    Nothing is returned where nobody keeps who is there, which is found out by a look-up.
    """
    presence = app.presence
    if presence is None or request.method == b"HEAD":
        return None
    channels = presence.of(query.subscription.channels)
    if not channels:
        return None
    who = _who(app, request, connection, query, presence.secret, transport)
    beside = query.beside is not None
    presence.poll(channels, who, held=held, beside=beside)
    return partial(presence.polled, channels, who, beside=beside) if held else None


def _who(
    app: App,
    request: Request,
    connection: Connection,
    query: Query,
    secret: bytes,
    transport: str,
) -> Who:
    """Who polls, and what is shown of it."""
    caller = request.caller
    device = query.device or caller.device
    session = query.beside or query.session
    if session is not None:
        client = client_of_session(session)
    elif caller.user is not None:
        client = client_of(secret, "user", caller.user, device or "")
    else:
        address = str(app.doors.client_of(request, connection))
        program = device or request.header(b"user-agent") or ""
        kind = "device" if device else "program"
        client = client_of(secret, kind, caller.name, address, program)
    return Who(client, transport, caller.user, device)
