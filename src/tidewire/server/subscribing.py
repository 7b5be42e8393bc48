"""What all subscribers' addresses share: the query, and the way to an opening."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING

from tidewire.hub import Opening
from tidewire.model import BadRequest, Subscription, TidewireError, TooManyRequests, Unavailable
from tidewire.server.request import Request
from tidewire.transports.addressing import addressed
from tidewire.transports.query import Query, parameters, parse_query

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

VARY = b"Vary: Accept, Authorization, Cookie, Last-Event-ID, Origin, Prefer, X-API-Key\r\n"

Poller = tuple[Hashable, bytes | None, frozenset[str]]
_Then = Callable[[Opening], None]

_MOST_QUERIES = 1_024
_MOST_POLLERS = 100_000


class Subscribers:
    """What requests of subscribers share: parsed queries, and when each poller last came."""

    def __init__(self) -> None:
        self._queries: dict[tuple[bytes, bytes | None], Query] = {}
        self._last_polls: dict[Poller, float] = {}

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

    def check_interval(self, poller: Poller, now: float, least: float) -> None:
        """Refuse a poller that comes back before *least* seconds have passed.

        Raises:
            TooManyRequests: saying when it may.
        """
        polls = self._last_polls
        last = polls.pop(poller, None)
        if last is not None and now - last < least:
            polls[poller] = last
            raise TooManyRequests(
                f"poll at most every {least:g} s",
                retry_after=least - (now - last),
                refusal="poll_rate",
            )
        polls[poller] = now
        while len(polls) > _MOST_POLLERS or now - next(iter(polls.values())) > least:
            del polls[next(iter(polls))]

    def welcome_back(self, poller: Poller) -> None:
        """The poller's answer had more behind it: let it come for that at once."""
        self._last_polls.pop(poller, None)


def query_of(app: App, request: Request, *, required: bool = True) -> Query:
    """The request's parameters; *required*: channels, or a session that has some.

    Raises:
        BadRequest: if they are malformed, or channels are missing.
        NoCredentials, Forbidden: if they name ``@me``, and the caller is no user.
    """
    parsed = app.subscribers.query(request, app.settings.max_channels)
    auto = app.settings.auto_channels
    if parsed.personal or auto:
        parsed = addressed(parsed, request.caller, auto)
    if required and parsed.session is None:
        check_channels(parsed)
    return parsed


def check_channels(parsed: Query) -> None:
    """Refuse a query without channels, where there must be one.

    Raises:
        BadRequest: ``no_channels``.
    """
    if not parsed.subscription.channels:
        raise BadRequest("name at least one channel, as in ?channels=news", code="no_channels")


def open_subscription(
    app: App,
    connection: Connection,
    wanted: Subscription,
    upto: int,
    most: int,
    then: _Then,
    policy: str | None = None,
) -> None:
    """Open *wanted* and pass the opening, with up to *most* messages, to *then*.

    That is done at once when memory knows it. With the *policy* ``latest`` the opening has what is
    left of all that came meanwhile.
    """
    opening = app.hub.open_now(wanted, upto, most, policy)
    if opening is not None:
        then(opening)
    else:
        request = connection.current
        assert request is not None
        opening_later = app.hub.open(wanted, upto, most, policy)
        work = _open_later(app, request, connection, opening_later, then)
        app.answer_later(request, connection, work)


async def _open_later(
    app: App,
    request: Request,
    connection: Connection,
    opening_later: Awaitable[Opening],
    then: _Then,
) -> None:
    try:
        opening = await opening_later
        if connection.draining:
            raise Unavailable("the server is going down")
    except TidewireError as error:
        if connection.current is None or connection.transport.is_closing():
            return
        if isinstance(error, Unavailable):
            app.put_off(request, connection, error)
        else:
            connection.respond_error(error)
    else:
        if connection.current is not None and not connection.transport.is_closing():
            then(opening)
