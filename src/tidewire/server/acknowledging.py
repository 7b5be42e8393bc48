"""The addresses of durable consumers' acknowledgements: /ack, /nack, /receipts."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING

import msgspec

from tidewire.access.caller import Caller
from tidewire.hub import Standing
from tidewire.model import BadRequest, Cursor, TidewireError, check_channel, parse_cursor
from tidewire.model.owner import whose
from tidewire.server.request import Request
from tidewire.server.response import JSON
from tidewire.transports.acknowledging import check_delay, check_ids, refuse_messages
from tidewire.transports.query import check_consumer, check_key, parameters

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

MAX_RECEIPTS = 1_000

_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?", re.ASCII)
_LIMIT = re.compile(r"[0-9]{1,9}", re.ASCII)
_NO_STORE = b"Cache-Control: no-store\r\n"

_Answer = tuple[int, bytes, bytes]


class _Reader(msgspec.Struct, omit_defaults=True):
    """What a consumer, of a ``user`` or of nobody, made of the message."""

    consumer: str
    acknowledged: bool
    deliveries: int = 0
    user: str | None = None


class _Receipts(msgspec.Struct, omit_defaults=True):
    """What ``GET /receipts`` answers; ``acknowledged`` and ``pending`` count this page.

    If there is ``more``, ``next`` is what the next request says as ``after``.
    """

    id: str
    channel: str
    consumers: list[_Reader]
    acknowledged: int
    pending: int
    more: bool
    next: str | None = None


_encode = msgspec.json.Encoder().encode


def ack(app: App, request: Request, connection: Connection) -> None:
    """``POST /ack``: all up to a message is done with, or single messages are."""
    values = _values(request, {"eventId", "consumer", "single"})
    name, cursors = _consumer(request, values), check_ids(values.get("eventId", []))
    single = _flag(values, "single")
    work = _ack(app, request.caller, name, cursors, single=single)
    _answer_later(app, request, connection, work)


async def _ack(
    app: App, caller: Caller, name: str, cursors: list[Cursor], *, single: bool
) -> _Answer:
    await _check_rights(app, caller, name)
    ids = await app.consumers.ids_of(cursors)
    await app.consumers.records.acknowledge(name, ids, single=single)
    return 204, _NO_STORE, b""


def nack(app: App, request: Request, connection: Connection) -> None:
    """``POST /nack``: a message is wanted again, at once or later; or never again."""
    values = _values(request, {"eventId", "consumer", "delay", "reject"})
    name, cursors = _consumer(request, values), check_ids(values.get("eventId", []))
    delay = values.get("delay", ["0"])[-1]
    delay_ms = check_delay(float(delay) * 1000 if _SECONDS.fullmatch(delay) else -1)
    reject = _flag(values, "reject")
    work = _nack(app, request.caller, name, cursors, delay_ms, reject=reject)
    _answer_later(app, request, connection, work)


async def _nack(
    app: App, caller: Caller, name: str, cursors: list[Cursor], delay_ms: int, *, reject: bool
) -> _Answer:
    await _check_rights(app, caller, name)
    await refuse_messages(app.consumers, name, cursors, delay_ms, reject)
    return 204, _NO_STORE, b""


async def _check_rights(app: App, caller: Caller, name: str) -> None:
    """Let *caller* acknowledge in every channel of its consumer that is kept as *name*."""
    if not app.access.open:
        state = await app.consumers.records.get(name)
        app.access.rights.check(caller, "ack", state.channels)


def receipts(app: App, request: Request, connection: Connection) -> None:
    """``GET /receipts``: which consumers have acknowledged a message, in pages."""
    values = _values(request, {"channel", "eventId", "after", "limit"})
    channel = check_channel(values.get("channel", [""])[-1])
    app.access.rights.check(request.caller, "publish", (channel,))
    cursor = parse_cursor(values.get("eventId", [""])[-1])
    after = check_key(values["after"][-1]) if "after" in values else ""
    limit = values.get("limit", ["100"])[-1]
    if _LIMIT.fullmatch(limit) is None or not 1 <= int(limit) <= MAX_RECEIPTS:
        raise BadRequest(f"limit={limit[:40]!r}: use 1 to {MAX_RECEIPTS}", code="invalid_limit")
    work = _receipts(app, channel, cursor, after, int(limit))
    _answer_later(app, request, connection, work)


async def _receipts(app: App, channel: str, cursor: Cursor, after: str, limit: int) -> _Answer:
    (id,) = await app.consumers.ids_of([cursor])
    found = await app.consumers.standings(channel, id, after, limit + 1)
    shown = found[:limit]
    done = sum(standing.acknowledged for standing in shown)
    more = len(found) > limit
    readers = [_reader(standing) for standing in shown]
    last = shown[-1].consumer if more else None
    page = _Receipts(str(cursor), channel, readers, done, len(shown) - done, more, last)
    return 200, JSON + _NO_STORE, _encode(page)


def _reader(standing: Standing) -> _Reader:
    user, name = whose(standing.consumer)
    return _Reader(name, standing.acknowledged, standing.deliveries, user)


def _answer_later(
    app: App, request: Request, connection: Connection, work: Coroutine[None, None, _Answer]
) -> None:
    app.answer_later(request, connection, _answer(app, request, connection, work))


async def _answer(
    app: App, request: Request, connection: Connection, work: Coroutine[None, None, _Answer]
) -> None:
    try:
        status, headers, body = await work
    except TidewireError as error:
        connection.respond_error(error)
    else:
        connection.respond(status, headers + app.cors(request), body)


def _values(request: Request, known: set[str]) -> dict[str, list[str]]:
    values = parameters(request.query)
    if unknown := values.keys() - known:
        raise BadRequest(f"there is no parameter {', '.join(sorted(unknown))} here")
    return values


def _consumer(request: Request, values: dict[str, list[str]]) -> str:
    return request.caller.own(check_consumer(values.get("consumer", [""])[-1]))


def _flag(values: dict[str, list[str]], name: str) -> bool:
    text = values.get(name, ["false"])[-1]
    if text not in ("true", "false"):
        raise BadRequest(f"{name}={text[:40]!r}: use true or false")
    return text == "true"
