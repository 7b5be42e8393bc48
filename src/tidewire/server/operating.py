"""What operators see and do over the whole fleet: /connections, /nodes.

Each server knows its own connections, and a request to any of them asks all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tidewire.access.audit import audit
from tidewire.hub import NodeInfo
from tidewire.model import BadRequest, NotFound, check_channel
from tidewire.server.connections import (
    TRANSPORTS,
    ConnectionInfo,
    Connections,
    Page,
    Which,
    merged,
)
from tidewire.server.journal import about
from tidewire.server.request import Request
from tidewire.server.response import JSON
from tidewire.transports.query import check_session, parameters

if TYPE_CHECKING:
    from tidewire.hub import Answers
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

LIST, LOOK, DISCONNECT = "connections", "connection", "disconnect"

DEFAULT_LIMIT = 100
MOST_LIMIT = 1_000
MOST_RETRY = 3_600_000
"""Milliseconds after which a client may come back."""

DISCONNECT_SECONDS = 8.0
"""To end many takes its time; clients wait for 10 s."""

_HEADERS = JSON + b"Cache-Control: no-store\r\n"
_FILTERS = frozenset({"user", "session", "device", "channel", "transport"})
_NODE = re.compile(r"[A-Za-z0-9]{8}", re.ASCII)  # see hub/node.py
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_ENOUGH = ("user", "session", "device", "channel")
MOST_TEXT = 1_024
"""Characters of a parameter."""


class _ListOf(msgspec.Struct, frozen=True):
    which: Which
    after: str
    limit: int


class _End(msgspec.Struct, frozen=True):
    which: Which
    retry: int | None


class _Connections(msgspec.Struct):
    """The answer to ``GET /connections``."""

    connections: list[ConnectionInfo]
    total: int
    next: str | None
    missing: list[str]


class _Disconnected(msgspec.Struct):
    """The answer to ``DELETE /connections``."""

    disconnected: int
    missing: list[str]


class _Nodes(msgspec.Struct):
    """The answer to ``GET /nodes``; ``node`` is who gives it."""

    node: str
    nodes: list[NodeInfo]


class _Wanted(NamedTuple):
    """Connections, on one server or ``None`` for all."""

    which: Which
    node: str | None


_encode = msgspec.json.Encoder().encode
_decode_list = msgspec.json.Decoder(_ListOf).decode
_decode_end = msgspec.json.Decoder(_End).decode
_decode_page = msgspec.json.Decoder(Page).decode
_decode_one = msgspec.json.Decoder(ConnectionInfo | None).decode
_decode_count = msgspec.json.Decoder(int).decode


def answer_questions(app: App) -> None:
    """Answer what other servers ask about the connections of this one."""
    here = Connections(app)

    async def list_(question: bytes) -> bytes:
        asked = _decode_list(question)
        return _encode(await here.page(asked.which, asked.after, asked.limit))

    async def look(question: bytes) -> bytes:
        return _encode(await here.one(question.decode()))

    async def disconnect(question: bytes) -> bytes:
        asked = _decode_end(question)
        return _encode(await here.disconnect(asked.which, asked.retry))

    app.fleet.answer(LIST, list_)
    app.fleet.answer(LOOK, look)
    app.fleet.answer(DISCONNECT, disconnect)


# Connections


def list_connections(app: App, request: Request, connection: Connection) -> None:
    """``GET /connections``: streams and held polls of all servers, in pages by id."""
    values = _values(request, {*_FILTERS, "node", "limit", "after"})
    limit = _number(values, "limit", 1, MOST_LIMIT, DEFAULT_LIMIT)
    question = _ListOf(_which(values), values.get("after", ""), limit)
    work = _list(app, request, connection, question, _node(values))
    app.answer_later(request, connection, work)


async def _list(
    app: App, request: Request, connection: Connection, question: _ListOf, node: str | None
) -> None:
    answers = await _ask(app, LIST, _encode(question), node)
    page = merged(map(_decode_page, answers.by_node.values()), question.limit)
    following = page.connections[-1].id if page.more and page.connections else None
    body = _encode(_Connections(page.connections, page.total, following, answers.missing))
    connection.respond(200, _HEADERS + app.cors(request), body)


def look_up(app: App, request: Request, connection: Connection) -> None:
    """``GET /connections/{id}``: one connection, with its channels."""
    _values(request, set())
    _check_name(request)
    app.answer_later(request, connection, _look_up(app, request, connection))


async def _look_up(app: App, request: Request, connection: Connection) -> None:
    answers = await _ask(app, LOOK, request.name.encode(), None)
    for answer in answers.by_node.values():
        found = _decode_one(answer)
        if found is not None:
            connection.respond(200, _HEADERS + app.cors(request), _encode(found))
            return
    raise _unknown(answers.missing)


def disconnect_one(app: App, request: Request, connection: Connection) -> None:
    """``DELETE /connections/{id}``: that connection ends, wherever it is."""
    retry = _retry(_values(request, {"retry"}))
    _check_name(request)
    wanted = _Wanted(Which(id=request.name), None)
    app.answer_later(
        request, connection, _disconnect(app, request, connection, wanted, retry, one=True)
    )


def disconnect(app: App, request: Request, connection: Connection) -> None:
    """``DELETE /connections``: all connections of a user, a session, a device or a channel end."""
    values = _values(request, {*_FILTERS, "node", "retry"})
    if not any(name in values for name in _ENOUGH):
        raise BadRequest("say whose connections: by user, session, device or channel")
    wanted = _Wanted(_which(values), _node(values))
    work = _disconnect(app, request, connection, wanted, _retry(values), one=False)
    app.answer_later(request, connection, work)


async def _disconnect(
    app: App,
    request: Request,
    connection: Connection,
    wanted: _Wanted,
    retry: int | None,
    *,
    one: bool,
) -> None:
    question = _encode(_End(wanted.which, retry))
    answers = await _ask(app, DISCONNECT, question, wanted.node, DISCONNECT_SECONDS)
    count = sum(map(_decode_count, answers.by_node.values()))
    which = msgspec.to_builtins(wanted.which)
    facts = about(connection, request)
    audit("disconnect", request.caller, **which, disconnected=count, **facts)
    if one and not count:
        raise _unknown(answers.missing)
    body = _encode(_Disconnected(count, answers.missing))
    connection.respond(200, _HEADERS + app.cors(request), body)


async def _ask(
    app: App, kind: str, question: bytes, node: str | None, seconds: float = 2.0
) -> Answers:
    return await app.fleet.ask(kind, question, seconds, None if node is None else [node])


def _check_name(request: Request) -> None:
    """Ask nobody for what is no connection's id.

    Raises:
        NotFound: ``unknown_connection``.
    """
    if _NAME.fullmatch(request.name) is None:
        raise _unknown([])


def _unknown(missing: list[str]) -> NotFound:
    silent = f"; {', '.join(missing)} did not answer" if missing else ""
    return NotFound(f"there is no such connection{silent}", code="unknown_connection")


def _values(request: Request, known: set[str]) -> dict[str, str]:
    """The parameters of the URL, each once and not empty.

    Raises:
        BadRequest: if there are others.
    """
    values: dict[str, str] = {}
    for name, given in parameters(request.query).items():
        if name not in known:
            names = ", ".join(sorted(known)) or "no parameters"
            raise BadRequest(f"{name[:40]!r} is not known here: use {names}")
        if len(given) > 1 or not 1 <= len(given[0]) <= MOST_TEXT:
            raise BadRequest(f"{name} takes one value, of 1 to {MOST_TEXT} characters")
        values[name] = given[0]
    return values


def _which(values: dict[str, str]) -> Which:
    transport = values.get("transport")
    if transport is not None and transport not in TRANSPORTS.values():
        raise BadRequest(f"transport is one of {', '.join(TRANSPORTS.values())}")
    if "channel" in values:
        check_channel(values["channel"])
    if "session" in values:
        check_session(values["session"])
    return Which(**{name: value for name, value in values.items() if name in _FILTERS})


def _node(values: dict[str, str]) -> str | None:
    node = values.get("node")
    if node is not None and _NODE.fullmatch(node) is None:
        raise BadRequest(f"node={node[:40]!r}: take an id that GET /nodes answers")
    return node


def _retry(values: dict[str, str]) -> int | None:
    return _number(values, "retry", 1, MOST_RETRY, 0) or None


def _number(values: dict[str, str], name: str, least: int, most: int, default: int) -> int:
    text = values.get(name)
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1
    if not least <= number <= most:
        raise BadRequest(f"{name} is a whole number from {least} to {most}")
    return number


# Nodes


def list_nodes(app: App, request: Request, connection: Connection) -> None:
    """``GET /nodes``: all servers of the log, with their load."""
    _values(request, set())
    app.answer_later(request, connection, _list_nodes(app, request, connection))


async def _list_nodes(app: App, request: Request, connection: Connection) -> None:
    nodes = await app.fleet.nodes()
    body = _encode(_Nodes(app.fleet.id, nodes))
    connection.respond(200, _HEADERS + app.cors(request), body)
