"""The addresses by which operators see the fleet and its connections, and end them."""

from __future__ import annotations

from tidewire.hub.node import ID_LENGTH
from tidewire.server.openapi.operations import (
    NOT_KEPT,
    Operation,
    Paths,
    answer,
    as_head,
    part_of_path,
    query,
)
from tidewire.server.openapi.values import ref, whole
from tidewire.server.operating import DEFAULT_LIMIT, MOST_LIMIT, MOST_RETRY, MOST_TEXT
from tidewire.settings import Settings

_TEXT = {"type": "string", "minLength": 1, "maxLength": MOST_TEXT}
_NODE = query("node", {"type": "string", "pattern": f"^[A-Za-z0-9]{{{ID_LENGTH}}}$"}, "A server.")
_FILTERS = (
    query("user", _TEXT, "The user that a token has named."),
    query("session", ref("Session"), "What `ready` said."),
    query("device", _TEXT, "What the client, or its token, has named so."),
    query("channel", ref("Channel"), "One of those that it follows."),
    query("transport", {"enum": ["websocket", "sse", "longpoll"]}),
    _NODE,
)
_ID = part_of_path("id", ref("ConnectionId"))
_RETRY = query(
    "retry",
    whole(1, MOST_RETRY),
    "Milliseconds after which the clients may come back; without it they are told not to.",
)
_LIST = Operation(
    "getConnections",
    "admin",
    "Streams and held polls of all servers, in pages",
    {200: answer("Those to which all that was given applies.", ref("Connections"), NOT_KEPT)},
    "Each server says what it has now. `missing` are those that did not answer in time.",
    parameters=(
        *_FILTERS,
        query("limit", whole(1, MOST_LIMIT) | {"default": DEFAULT_LIMIT}, "Of a page."),
        query("after", _TEXT, "What the page before has as `next`."),
    ),
    refusals={400: ("invalid_channel", "invalid_session")},
)
_LOOK = Operation(
    "getConnection",
    "admin",
    "One connection, with its channels",
    {200: answer("It is there.", ref("Connection"), NOT_KEPT)},
    parameters=(_ID,),
    refusals={404: ("unknown_connection",)},
)
_END = Operation(
    "deleteConnections",
    "admin",
    "The connections of a user, a session, a device or a channel end",
    {200: answer("So many were ended.", ref("Disconnected"), NOT_KEPT)},
    "At least one of these four is needed. Streams get `close` with code 4403, held polls 403 "
    "`disconnected`; with `retry` it is 1013, and 503. Nobody is kept from coming back: that is "
    "what `POST /revoke` is for.",
    parameters=(*_FILTERS, _RETRY),
    refusals={400: ("invalid_channel", "invalid_session")},
)
_END_ONE = Operation(
    "deleteConnection",
    "admin",
    "One connection ends, whichever server has it",
    {200: answer("It was ended.", ref("Disconnected"), NOT_KEPT)},
    parameters=(_ID, _RETRY),
    refusals={404: ("unknown_connection",)},
)
_NODES = Operation(
    "getNodes",
    "admin",
    "All servers of the log, with their load",
    {200: answer("Those whose lease has not ended.", ref("Nodes"), NOT_KEPT)},
    refusals={503: ("engine_unavailable",)},
)


def paths(settings: Settings) -> Paths:
    """The operations on these addresses."""
    return {
        "/connections": {"get": _LIST, "head": as_head(_LIST), "delete": _END},
        "/connections/{id}": {"get": _LOOK, "head": as_head(_LOOK), "delete": _END_ONE},
        "/nodes": {"get": _NODES, "head": as_head(_NODES)},
    }
