"""``session=ID``: what a request leaves out comes from the record of an earlier connection."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from tidewire.hub import SessionRecord
from tidewire.model import (
    BadRequest,
    Cursor,
    NotFound,
    Subscription,
    TidewireError,
    Unavailable,
)
from tidewire.server.request import Request
from tidewire.server.subscribing import check_channels
from tidewire.transports.addressing import joined_unasked
from tidewire.transports.query import Query

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection


class Resumed(NamedTuple):
    """A query made whole, the id of its session, and which holder of it the connection is."""

    query: Query
    id: str
    holder: int


def resume_stream(
    app: App,
    request: Request,
    connection: Connection,
    parsed: Query,
    then: Callable[[Resumed], None],
) -> None:
    """Pass to *then* the query of a stream with the session that it takes up, or a new one.

    That is done at once when no session was asked for.
    """
    if parsed.session is None:
        check_rights(app, request, parsed)
        then(Resumed(parsed, _new_id(), 0))
    else:
        take_up = _take_up(app, request, parsed, parsed.session)
        app.answer_later(request, connection, _later(app, request, connection, take_up, then))


def resume_poll(
    app: App,
    request: Request,
    connection: Connection,
    parsed: Query,
    then: Callable[[Query], None],
) -> None:
    """Pass to *then* the query of a poll, made whole from the session that it names."""
    if parsed.session is None:
        check_rights(app, request, parsed)
        then(parsed)
    else:
        look = _look(app, request, parsed, parsed.session)
        app.answer_later(request, connection, _later(app, request, connection, look, then))


async def _take_up(app: App, request: Request, parsed: Query, id: str) -> Resumed:
    if not await _is_own(app, request, id):
        _check_known(parsed)
        check_rights(app, request, parsed)
        return Resumed(parsed, _new_id(), 0)
    record = await app.sessions.take_up(id)
    if record is None:
        _check_known(parsed)
        check_rights(app, request, parsed)
        return Resumed(parsed, _new_id(), 0)
    completed = await _completed(app, parsed, record)
    check_rights(app, request, completed)
    return Resumed(completed, id, record.holder)


async def _look(app: App, request: Request, parsed: Query, id: str) -> Query:
    record = await app.sessions.look(id) if await _is_own(app, request, id) else None
    if record is None:
        _check_known(parsed)
        check_rights(app, request, parsed)
        return parsed
    completed = await _completed(app, parsed, record)
    check_channels(completed)
    check_rights(app, request, completed)
    return completed


async def _is_own(app: App, request: Request, id: str) -> bool:
    """Whether the session may be taken up by who asks: each user has only its own ones.

    One that is revoked, or somebody else's, is as one that is not known.
    """
    if app.access.open:
        return True
    if app.access.revocations.has("session", id):
        return False
    record = await app.sessions.look(id)
    return record is not None and record.terms.user == request.caller.user


def check_rights(app: App, request: Request, wanted: Query) -> None:
    """Let the caller follow these channels, and as many.

    Raises:
        Unauthorized, Forbidden: if it may not.
        BadRequest: ``too_many_channels``.
    """
    if app.access.open:
        return
    channels, most = wanted.subscription.channels, request.caller.limits.channels
    if most is not None and len(channels) > most + _unasked(app, request, wanted):
        raise BadRequest(f"your token allows {most} channels", code="too_many_channels")
    app.access.rights.check(request.caller, "subscribe", channels)


def _unasked(app: App, request: Request, wanted: Query) -> int:
    """How many of the channels the server joins by itself: they do not count."""
    auto = app.settings.auto_channels
    if not auto:
        return 0
    joined, _ = joined_unasked(auto, request.caller, wanted.device)
    return len(set(joined).intersection(wanted.subscription.channels))


async def _completed(app: App, parsed: Query, record: SessionRecord) -> Query:
    """*parsed* with what it leaves out of the record.

    Where a consumer goes on is for its own acknowledgements to say.
    """
    wanted, terms = parsed.subscription, record.terms
    channels = wanted.channels or tuple(record.channels)
    consumer = parsed.consumer or terms.consumer
    cursors = wanted.cursors
    if not cursors and channels and consumer is None:
        cursors = await _positions(app, wanted._replace(channels=channels), record)
    return parsed._replace(
        subscription=wanted._replace(channels=channels, cursors=cursors),
        consumer=consumer,
        policy=parsed.policy or terms.policy,
        device=parsed.device or terms.device,
    )


async def _positions(app: App, wanted: Subscription, record: SessionRecord) -> tuple[Cursor, ...]:
    """Where the session is in each channel; one that it did not have starts as is asked for."""
    known = {name: Cursor(record.epoch, id) for name, id in record.channels.items()}
    new = tuple(name for name in wanted.channels if name not in known)
    if new:
        start = await app.hub.start_of(Subscription(new, (), wanted.since))
        epoch = app.hub.engine.epoch
        known |= {name: Cursor(epoch, id) for name, id in start.after.items()}
    return tuple(known[name] for name in wanted.channels)


async def _later(
    app: App,
    request: Request,
    connection: Connection,
    work: Coroutine[Any, Any, Any],
    then: Callable[[Any], None],
) -> None:
    try:
        found = await work
        if connection.draining:
            raise Unavailable("the server is going down")
        if _waits(connection, request):
            then(found)
    except TidewireError as error:
        if not _waits(connection, request):
            return
        if isinstance(error, Unavailable):
            app.put_off(request, connection, error)
        else:
            connection.respond_error(error)


def _waits(connection: Connection, request: Request) -> bool:
    """Whether the client still waits for the answer."""
    return connection.current is request and not connection.transport.is_closing()


def _check_known(parsed: Query) -> None:
    """A session that is not known is no harm to a request that can do without it."""
    if not parsed.subscription.channels:
        raise NotFound(
            "this session is not known any more: subscribe to the channels by their names",
            code="unknown_session",
        )


def _new_id() -> str:
    while (id := secrets.token_urlsafe(12)).startswith("-"):
        pass  # a command would take it for an option
    return id
