"""Letting in and out: POST /tickets, POST /refresh, POST /revoke."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tidewire.access.access import caller_of
from tidewire.access.audit import audit
from tidewire.access.caller import Caller
from tidewire.access.claims import claims_of
from tidewire.access.passing import passed_on, taken_over
from tidewire.access.rates import Rate
from tidewire.model import (
    BadRequest,
    Forbidden,
    NoCredentials,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from tidewire.server.connection import Connection
from tidewire.server.journal import about
from tidewire.server.request import Request
from tidewire.server.response import JSON
from tidewire.transports.query import check_session, parameters

if TYPE_CHECKING:
    from tidewire.access.revocations import What
    from tidewire.server.app import App

_NO_STORE = b"Cache-Control: no-store\r\n"
_MOST_NAME = 255

REFRESH = "refresh"
REFRESH_RATE = Rate(per_second=5, seconds=10)
"""How often one client may have other servers asked for its streams."""

_NO_STREAM = "no stream of yours has this session"

T = TypeVar("T")


class _TicketFor(msgspec.Struct, forbid_unknown_fields=True):
    """What a ticket is asked for: a back end names the user, and what it would put into a token."""

    origin: str | None = None
    user: str | None = None
    channels: dict[str, list[str]] | None = None
    device: str | None = None
    expires: int | None = None


class _Ticket(msgspec.Struct):
    ticket: str
    expires_in: float


class _Renewed(msgspec.Struct):
    session: str
    expires: float | None


class _Renewal(msgspec.Struct):
    """What another server is asked for: *caller* wants the stream of *session* to stay."""

    session: str
    caller: bytes


class _Outcome(msgspec.Struct):
    """``refused`` says why, where the stream is there and that is not allowed."""

    renewed: bool
    refused: str | None = None


class _Revoked(msgspec.Struct, forbid_unknown_fields=True):
    """Exactly one of them."""

    user: str | None = None
    session: str | None = None
    token: str | None = None


_decode_ticket = msgspec.json.Decoder(_TicketFor).decode
_decode_revoked = msgspec.json.Decoder(_Revoked).decode
_decode_outcome = msgspec.json.Decoder(_Outcome).decode
_encode = msgspec.json.Encoder().encode
_encode_renewal = msgspec.msgpack.Encoder().encode
_decode_renewal = msgspec.msgpack.Decoder(_Renewal).decode


def tickets(app: App, request: Request, connection: Connection) -> None:
    """``POST /tickets``: a ticket for who asks, or for a user of the back end that asks."""
    wanted = _read(request.body, _decode_ticket, _TicketFor())
    caller = request.caller
    if wanted.user is not None:
        if not caller.has("tickets"):
            raise Forbidden("tickets for others are for keys of back ends that have the scope")
        caller = _user(wanted)
    elif wanted.channels is not None or wanted.device is not None or wanted.expires is not None:
        raise BadRequest("channels, device and expires are for a ticket with a user")
    elif caller.kind == "anonymous":
        raise NoCredentials("a ticket stands for who you are: show it", why="a stranger")
    origin = wanted.origin if wanted.origin is not None else request.header(b"origin")
    app.answer_later(request, connection, _issue(app, request, connection, caller, origin))


def _user(wanted: _TicketFor) -> Caller:
    claims = {
        "sub": wanted.user,
        "channels": wanted.channels or {},
        "device": wanted.device,
        "exp": wanted.expires,
    }
    return caller_of(claims_of({name: one for name, one in claims.items() if one is not None}))


async def _issue(
    app: App, request: Request, connection: Connection, caller: Caller, origin: str | None
) -> None:
    ticket = await app.access.tickets.issue(caller, origin)
    body = _encode(_Ticket(ticket, app.access.tickets.ttl))
    connection.respond(200, JSON + _NO_STORE + app.cors(request), body)


def refresh(app: App, request: Request, connection: Connection) -> None:
    """``POST /refresh``: an open stream stays for as long as the token of this request lasts.

    It may be another server's, which is told who asks; the token itself goes nowhere.
    """
    values = parameters(request.query)
    session = check_session(values.get("session", [""])[-1])
    if _renew(app, session, request.caller):
        _renewed(app, request, connection, session)
    elif not app.fleet.others:
        raise NotFound(_NO_STREAM, code="unknown_session")
    else:
        _check_pace(app, request, connection)
        app.answer_later(request, connection, _refresh(app, request, connection, session))


async def _refresh(app: App, request: Request, connection: Connection, session: str) -> None:
    others = [node.id for node in app.fleet.others]
    question = _encode_renewal(_Renewal(session, passed_on(request.caller)))
    answers = await app.fleet.ask(REFRESH, question, nodes=others)
    for answer in map(_decode_outcome, answers.by_node.values()):
        if answer.refused is not None:
            raise Forbidden(answer.refused)
        if answer.renewed:
            _renewed(app, request, connection, session)
            return
    if answers.missing:
        raise Unavailable("a server did not answer that may have the stream: try again")
    raise NotFound(_NO_STREAM, code="unknown_session")


def _check_pace(app: App, request: Request, connection: Connection) -> None:
    """Each question goes to all servers: who asks again and again has to wait.

    Raises:
        TooManyRequests: saying for how long.
    """
    who = app.doors.client_of(request, connection)
    wait = app.refreshes.take(who, REFRESH_RATE, app.loop.time())
    if wait:
        raise TooManyRequests(
            "too many tokens are renewed by way of this server",
            retry_after=wait,
            refusal="refresh_rate",
        )


def answer_refreshes(app: App) -> None:
    """Let streams of this server stay that other servers are asked for."""

    def answer(question: bytes) -> bytes:
        asked = _decode_renewal(question)
        try:
            return _encode(_Outcome(_renew(app, asked.session, taken_over(asked.caller))))
        except Forbidden as error:
            return _encode(_Outcome(False, error.detail))

    app.fleet.answer(REFRESH, answer)


def _renew(app: App, session: str, caller: Caller) -> bool:
    """Let the stream of *session* stay as *caller* says; whether it is here, and is its own.

    Raises:
        Forbidden: if *caller* may not follow all that it follows.
    """
    found = app.sessions.open_here(session)
    sink = None if found is None else found.session.sink
    stay = sink.stay if isinstance(sink, Connection) else None
    if found is None or stay is None or not stay.caller.is_same_as(caller):
        return False
    stay.renew_as(caller, found.session.channels)
    return True


def _renewed(app: App, request: Request, connection: Connection, session: str) -> None:
    body = _encode(_Renewed(session, request.caller.expires))
    connection.respond(200, JSON + _NO_STORE + app.cors(request), body)


def revoke(app: App, request: Request, connection: Connection) -> None:
    """``POST /revoke``: a user, a session or a token is let in no more, and is put out."""
    wanted = _read(request.body, _decode_revoked, _Revoked())
    given: list[tuple[What, str]] = []
    if wanted.user is not None:
        given.append(("user", wanted.user))
    if wanted.session is not None:
        given.append(("session", wanted.session))
    if wanted.token is not None:
        given.append(("token", wanted.token))
    if len(given) != 1 or not 1 <= len(given[0][1]) <= _MOST_NAME:
        raise BadRequest(
            'send one of {"user":ID}, {"session":ID} and {"token":JTI}, of 1 to 255 characters'
        )
    app.answer_later(request, connection, _revoke(app, request, connection, *given[0]))


def _read(body: bytes, decode: Callable[[bytes], T], otherwise: T) -> T:
    """What *body* says; *otherwise* if it is empty."""
    if not body.strip():
        return otherwise
    try:
        return decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not understood: {error}") from None


async def _revoke(
    app: App, request: Request, connection: Connection, what: What, name: str
) -> None:
    await app.access.revocations.revoke(what, name)
    audit("revoke", request.caller, **{what: name}, **about(connection, request))
    connection.respond(204, _NO_STORE + app.cors(request), b"")
