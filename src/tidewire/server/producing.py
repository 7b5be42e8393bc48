"""The addresses of producers and readers of the log: /publish, /history."""

from __future__ import annotations

import re
from asyncio import Future
from typing import TYPE_CHECKING

from tidewire.access.paces import UNPACED
from tidewire.model import BadRequest, Draft, Receipt, Subscription, TidewireError, check_channel
from tidewire.model.subscription import START, parse_since
from tidewire.server.journal import failed
from tidewire.server.request import Request
from tidewire.server.response import JSON
from tidewire.transports.addressing import one_channel
from tidewire.transports.history import MAX_HISTORY, history_json, read_history
from tidewire.transports.publish import (
    draft_of_body,
    drafts_of_json,
    receipt_json,
    recipient_of,
    results_json,
)
from tidewire.transports.query import parameters, parse_cursors

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

_LIMIT = re.compile(r"[0-9]{1,9}", re.ASCII)
_PUBLISH_PARAMETERS = {"channel", "user", "device", "all", "event", "key", "ttl", "version"}
_HEADERS = JSON + b"Cache-Control: no-store\r\n"


def publish(app: App, request: Request, connection: Connection) -> None:
    """``POST /publish``: answered when the engine holds the message."""
    many = False
    paces = app.pacing.paces.of(request.caller)
    client = None if paces is UNPACED else app.doors.client_of(request, connection)
    if client is not None:  # before the body is looked at
        app.publishers.check(client, paces, app.loop.time(), len(request.body))
    if request.query:
        drafts = [_draft_of_query(app, request)]
    else:
        drafts, many = drafts_of_json(request.body, app.publish_limits)
        if client is not None and many:
            app.publishers.charge(client, paces, app.loop.time(), len(drafts) - 1)
    if not app.access.open:
        app.access.rights.check(
            request.caller, "publish", dict.fromkeys(draft.channel for draft in drafts)
        )
    future = app.hub.engine.append(drafts)
    app.hub.answers.when_done(future, _published, app, request, connection, many)


def _draft_of_query(app: App, request: Request) -> Draft:
    values = parameters(request.query)
    if unknown := values.keys() - _PUBLISH_PARAMETERS:
        raise BadRequest(
            "/publish takes channel, user, device, all, event, key, ttl and version in its URL, "
            f"not {', '.join(sorted(unknown))}"
        )
    given = {name: texts[-1] for name, texts in values.items()}
    content_type = request.header(b"content-type") or "application/octet-stream"
    return draft_of_body(
        recipient_of(given),
        content_type,
        request.body,
        app.publish_limits,
        event=given.get("event"),
        key=given.get("key"),
        ttl=given.get("ttl"),
        version=given.get("version"),
    )


def _published(
    app: App, request: Request, connection: Connection, many: bool, future: Future[list[Receipt]]
) -> None:
    error = future.exception()
    if error is None:
        receipts = future.result()
        epoch = app.hub.engine.epoch
        body = results_json(epoch, receipts) if many else receipt_json(epoch, receipts[0])
        connection.respond(200, _HEADERS + app.cors(request), body)
    elif isinstance(error, TidewireError):
        connection.respond_error(error)
    else:
        failed(connection, request, error)
        connection.respond_error(TidewireError("the message was not published; the log has more"))


def history(app: App, request: Request, connection: Connection) -> None:
    """``GET /history``: a page of one channel's messages."""
    values = parameters(request.query)
    name = values.get("channel", values.get("channels", [""]))[-1]
    channel = check_channel(one_channel(name, request.caller))
    app.access.rights.check(request.caller, "history", (channel,))
    limit = _limit(values.get("limit", ["100"])[-1])
    cursors = parse_cursors(values["cursor"][-1]) if "cursor" in values else ()
    since = parse_since(values["since"][-1]) if "since" in values else START
    wanted = Subscription((channel,), cursors, since)
    work = _history_later(app, request, connection, wanted, limit)
    app.answer_later(request, connection, work)


def _limit(text: str) -> int:
    limit = int(text) if _LIMIT.fullmatch(text) else 0
    if not 1 <= limit <= MAX_HISTORY:
        raise BadRequest(f"limit={text[:40]!r}: use 1 to {MAX_HISTORY}", code="invalid_limit")
    return limit


async def _history_later(
    app: App, request: Request, connection: Connection, wanted: Subscription, limit: int
) -> None:
    try:
        page = await read_history(app.hub, wanted, limit)
    except TidewireError as error:
        connection.respond_error(error)
    else:
        connection.respond(200, _HEADERS + app.cors(request), history_json(page))
