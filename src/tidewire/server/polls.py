"""The addresses of polls: /longpoll and /poll."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tidewire.hub import PAGE_MESSAGES, Consumer, Hub, Opening
from tidewire.model import Subscription, TidewireError
from tidewire.server.attending import attend
from tidewire.server.consuming import as_consumer
from tidewire.server.request import Request
from tidewire.server.response import JSON, NO_SNIFF, answer
from tidewire.server.resuming import check_rights, resume_poll
from tidewire.server.staying import stay_of
from tidewire.server.subscribing import VARY, Poller, open_subscription, query_of
from tidewire.transports.fragments import WHOLE
from tidewire.transports.long_poll import LongPoll
from tidewire.transports.polling import gone_on
from tidewire.transports.query import Query, preferred_wait
from tidewire.transports.short_poll import Answer

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

# Besides the URL, what a poll's answer depends on
_POLL_KEY_HEADERS = (b"last-event-id", b"if-none-match", b"if-modified-since", b"origin", b"host")

_SHARED_BYTES = 4_096  # of an answer: those with messages are for few, and large


class PollHeaders(NamedTuple):
    """The constant lines of the answers to short and to long polls."""

    short: bytes
    long: bytes


def poll_headers(*, private: bool) -> PollHeaders:
    """*private*: what one caller may see is not for others, so no shared cache may keep it.

    Answers to long polls are not to be stored at all: a cache that asked whether it may give one
    again would send the tag of one that its client never got, and the tag says what the client has.
    """
    lines = JSON + NO_SNIFF + VARY
    kept = b"private, no-cache" if private else b"no-cache"
    return PollHeaders(
        lines + b"Cache-Control: %b\r\n" % kept, lines + b"Cache-Control: %b, no-store\r\n" % kept
    )


class PollAnswers:
    """Whole answers to polls, good while no message comes and the second lasts.

    *most* bounds their number.
    """

    def __init__(self, hub: Hub, most: int = 10_000) -> None:
        self._hub = hub
        self._most = most
        self._head = -1
        self._begins = self._ends = 0.0  # the second that they are good in
        self._answers: dict[tuple[bytes | None, ...], bytes] = {}

    def get(self, key: tuple[bytes | None, ...]) -> bytes | None:
        """The answer to the same poll, if nothing has changed since."""
        head = self._hub.recent.head
        now = time.time()
        if head != self._head or not self._begins <= now < self._ends:
            self._head = head
            self._begins = float(int(now))
            self._ends = self._begins + 1.0
            self._answers.clear()
            return None
        return self._answers.get(key)

    def put(self, key: tuple[bytes | None, ...], whole: bytes) -> None:
        """Keep an answer that was made just after ``get`` had none."""
        if len(self._answers) < self._most and len(whole) <= _SHARED_BYTES:
            self._answers[key] = whole


def long_poll(app: App, request: Request, connection: Connection) -> None:
    """``GET /longpoll``: answered when there is something, or after ``wait`` seconds."""
    open_it = partial(_long_poll, app, request, connection)
    resume_poll(app, request, connection, query_of(app, request), open_it)


def _long_poll(app: App, request: Request, connection: Connection, parsed: Query) -> None:
    wait = parsed.wait
    if wait is None:
        prefer = request.header(b"prefer")
        wait = (preferred_wait(prefer) if prefer else None) or app.settings.longpoll_wait
    if (tag := request.headers.get(b"if-none-match")) is not None:
        parsed = parsed._replace(subscription=gone_on(parsed.subscription, tag))
    answer_it = partial(_hold, app, request, connection, parsed, wait, None)
    as_consumer(app, request, connection, parsed, answer_it, claims=False)


def _hold(
    app: App,
    request: Request,
    connection: Connection,
    parsed: Query,
    wait: float,
    extra: bytes | None,
    wanted: Subscription,
    consumer: Consumer | None,
) -> None:
    """Answer a poll when there is something, or with *extra* at once."""

    def start(opening: Opening) -> None:
        stay_of(app, request, connection)
        poll = LongPoll(
            connection,
            app.hub,
            raw=parsed.raw,
            recovered=bool(wanted.cursors),
            policy=parsed.policy,
            headers=(app.poll_headers.short if extra else app.poll_headers.long)
            + app.cors(request),
            deadline=app.loop.time() + wait,
            fragment_size=app.settings.fragment_size if parsed.fragments else WHOLE,
            consumer=consumer,
            extra=extra,
        )
        if extra is None:
            poll.session.ended = attend(app, request, connection, parsed, "longpoll", held=True)
        connection.hold(poll, wait)
        poll.begin(opening)

    head = app.hub.recent.head
    open_subscription(app, connection, wanted, head, PAGE_MESSAGES, start, parsed.policy)


def short_poll(app: App, request: Request, connection: Connection) -> None:
    """``GET /poll``: answered at once.

    Equal polls get equal answers until the next message or second: those bytes are made once.
    """
    if app.min_poll_interval:
        app.subscribers.check_interval(
            _poller(app, request, connection), app.loop.time(), app.min_poll_interval
        )
    personal = False  # where nobody is asked who they are, it cannot be
    if not app.access.open:
        asked = query_of(app, request)
        check_rights(app, request, asked)  # before what others were answered
        personal = asked.personal
    if app.presence is not None:
        asked = query_of(app, request)
        if asked.session is None:
            attend(app, request, connection, asked, "poll", held=False)
    headers = request.headers
    key = request.poll_key
    if key is None:
        key = request.poll_key = (request.query, *map(headers.get, _POLL_KEY_HEADERS))
    shared = (
        request.keep_alive and request.method == b"GET" and not connection.draining and not personal
    )
    if shared and (ready := app.poll_answers.get(key)) is not None:
        connection.respond_whole(ready)
        return
    parsed = query_of(app, request)
    own = parsed.session or parsed.consumer
    keep = key if shared and own is None else None
    answer_it = partial(_short_poll, app, request, connection, keep)
    resume_poll(app, request, connection, parsed, answer_it)


def _short_poll(
    app: App,
    request: Request,
    connection: Connection,
    key: tuple[bytes | None, ...] | None,
    parsed: Query,
) -> None:
    """Answer a poll; *key* is that of its answer among those that can be shared."""
    if parsed.session is not None:  # only now its channels are known
        attend(app, request, connection, parsed, "poll", held=False)
    if parsed.consumer is not None:
        answer_it = partial(_hold, app, request, connection, parsed, 0, app.short_polls.extra)
        as_consumer(app, request, connection, parsed, answer_it, claims=False)
        return
    tag = request.headers.get(b"if-none-match")
    found = app.short_polls.answer_now(parsed, tag, request.header(b"if-modified-since"))
    if found is None:
        app.answer_later(request, connection, _short_poll_later(app, request, connection, parsed))
    elif key is not None and not found.more and not found.brief:
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
    if found.more and app.min_poll_interval:
        app.subscribers.welcome_back(_poller(app, request, connection))
    connection.respond(found.status, found.headers + app.cors(request), found.body)


def _poller(app: App, request: Request, connection: Connection) -> Poller:
    """Who polls what: the user, or the address and the program; the channels, not the cursor."""
    parsed = query_of(app, request)
    polled = frozenset(parsed.subscription.channels or (parsed.session or "",))
    program = None if request.caller.name else request.headers.get(b"user-agent")
    return app.doors.client_of(request, connection), program, polled
