"""The values that requests and answers are made of, as JSON Schema (components of the document)."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

from tidewire.access.caller import RIGHTS
from tidewire.model.payload import MAX_EVENT, MAX_KEY, MAX_TTL, MAX_VERSION
from tidewire.settings import Settings
from tidewire.transports.publish import MAX_BATCH, MAX_RECIPIENTS, MAX_USER

Json = dict[str, Any]

CURSOR = "[A-Za-z0-9]{1,16}-(0|[1-9][0-9]{0,17})"
NAME = r"[A-Za-z0-9_\-.:/@#]"
_SAFE = r"[^\x00-\x1f\x7f-\x9f]"  # no control character
_SESSION = r"[A-Za-z0-9_\-]{1,64}"
_BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"


def ref(name: str) -> Json:
    """A reference to one of ``schemas``."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(pattern: str, description: str, *examples: str) -> Json:
    """A string that *pattern* describes whole."""
    schema = {"type": "string", "pattern": f"^{pattern}$", "description": description}
    return schema | {"examples": list(examples)} if examples else schema


def whole(least: int, most: int | None = None, description: str = "") -> Json:
    """A whole number in a range."""
    schema: Json = {"type": "integer", "minimum": least}
    if most is not None:
        schema["maximum"] = most
    return schema | {"description": description} if description else schema


def record(required: Json, optional: Json | None = None, **more: Any) -> Json:
    """An object with these properties."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        **more,
    }


def list_of(items: Json, **more: Any) -> Json:
    """An array of *items*."""
    return {"type": "array", "items": items, **more}


def schemas(settings: Settings) -> dict[str, Json]:
    """All of them, by name."""
    parts = (_NAMES, _ENVELOPES, _PAGES, _ATTENDANCE, _PUBLICATIONS, _RECEIPTS, _ACCESS, _FLEET)
    return dict(ChainMap(*parts, _limited(settings)))


def _id(description: str) -> Json:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_USER,
        "description": description,
    }


_NAMES = {
    "Channel": text(NAME + "{1,255}", "A channel's name.", "news", "chat:room-7"),
    "User": _id("A user's id."),
    "Device": _id("A device of the user."),
    "Consumer": text(NAME + "{1,128}", "A durable consumer's name.", "billing"),
    "Cursor": text(
        CURSOR,
        "A position in the log: everything up to and including a message. Opaque to clients.",
        "q7Zf9a-1795392012345678",
    ),
    "CursorOrNone": text(f"({CURSOR})?", "A cursor; empty is as good as none."),
    "Session": text(_SESSION, "The id of a session, as `ready` said it.", "Jx2mD0bVtHk5Qw8R"),
    "Since": text(
        "(now|start|-[1-9][0-9]{0,8}|0|[1-9][0-9]{0,14})",
        "`now`, `start` (the oldest message kept), `-N` (the last N of each channel), "
        "or a Unix time in ms.",
        "-10",
    ),
    "Event": text(
        rf"(?!tidewire\.){_SAFE}{{1,{MAX_EVENT}}}", "A type of the publisher's choice.", "headline"
    ),
    "Key": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY,
        "description": f"An idempotency key: up to {MAX_KEY} bytes of UTF-8.",
    },
    "Version": whole(1, MAX_VERSION, "Of the messages of a channel only newer ones are taken."),
    "Headers": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "Chosen by the publisher.",
    },
}

_GAP = record(
    {
        "type": {"const": "gap"},
        "id": ref("Cursor"),
        "channel": ref("Channel"),
        "reason": {"enum": ["expired", "reset", "slow"]},
    },
    {"skipped": whole(1, None, "How many messages it stands for, where that is known.")},
    description="Messages of a channel that should stand here do not.",
)

_ENVELOPES = {
    "Message": record(
        {
            "type": {"const": "message"},
            "id": ref("Cursor"),
            "channel": ref("Channel"),
            "seq": whole(1, None, "1, 2, 3 … in its channel."),
            "time": whole(0, None, "When it was accepted: Unix time in ms."),
            "data": {"description": "Any JSON value."},
        },
        {
            "event": ref("Event"),
            "encoding": {"const": "base64", "description": "`data` is a string of bytes."},
            "headers": ref("Headers"),
            "deliveries": whole(2, None, "How often this consumer was sent it."),
        },
        description="The envelope of a message, the same on all transports.",
    ),
    "Fragment": record(
        {
            "type": {"const": "fragment"},
            "of": ref("Cursor"),
            "index": whole(0),
            "count": whole(2),
            "data": {"type": "string"},
        },
        {"id": ref("Cursor")},
        description="A part of a large envelope, for who asks for `fragments`.",
    ),
    "Gap": _GAP,
}

_PAGES = {
    "PollPage": record(
        {
            "messages": list_of(
                {"anyOf": [ref("Message"), ref("Fragment"), {}]},
                description="Envelopes, or parts of them; with `format=raw` their data alone.",
            ),
            "cursor": ref("Cursor"),
            "hasNew": {"type": "boolean", "description": "Whether `messages` has any."},
            "recovered": {
                "type": "boolean",
                "description": "A cursor was given, and nothing after it is missing.",
            },
            "gaps": list_of(ref("Gap")),
        },
        {
            "more": {"const": True, "description": "The log has more than fitted."},
            "interval": whole(0, None, "Short polls: ms until the next one should come."),
        },
    ),
    "HistoryPage": record(
        {
            "messages": list_of(ref("Message")),
            "cursor": ref("Cursor"),
            "more": {"type": "boolean", "description": "Whether there is a next page."},
            "gaps": list_of(ref("Gap")),
        }
    ),
}

_ATTENDANCE = {
    "Attendance": record(
        {
            "channel": ref("Channel"),
            "count": whole(0, None, "Members; of other servers up to a second old."),
            "cursor": ref("Cursor"),
        },
        {
            "members": list_of(
                record(
                    {
                        "client": {"type": "string", "description": "Tells clients apart."},
                        "transport": {"enum": ["websocket", "sse", "longpoll", "poll"]},
                        "since": whole(0, None, "Unix ms."),
                    },
                    {
                        "user": {"type": "string"},
                        "device": {"type": "string"},
                        "node": {"type": "string", "description": "For operators."},
                    },
                )
            ),
            "next": {"type": "string", "description": "`after` of the next page."},
        },
    )
}

_TTL = {
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": MAX_TTL,
    "description": "Seconds until the message is withdrawn.",
}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


_ABOUT = {
    "event": _or_null(ref("Event")),
    "headers": _or_null(ref("Headers")),
    "key": _or_null(ref("Key")),
    "ttl": _or_null(_TTL),
    "version": _or_null(ref("Version")),
}

_WAYS: tuple[tuple[Json, Json], ...] = (
    ({"channel": ref("Channel")}, {}),
    ({"channels": list_of(ref("Channel"), minItems=1, maxItems=MAX_RECIPIENTS)}, {}),
    ({"user": ref("User")}, {"device": _or_null(ref("Device"))}),
    ({"users": list_of(ref("User"), minItems=1, maxItems=MAX_RECIPIENTS)}, {}),
    ({"all": {"const": True, "description": "Everybody."}}, {}),
)
"""The ways to say where a publication goes: what must be there, and what may be beside it."""

_NO_WAY: Json = {name: {"type": "null"} for name in ("channel", "channels", "user", "users")} | {
    "device": {"type": "null"},
    "all": {"const": False},
}


def _publication(to: Json, beside: Json, data: Json, about: Json) -> Json:
    """A publication of *data* that goes one way, and no other."""
    others = {name: schema for name, schema in _NO_WAY.items() if name not in to}
    return record(to | data, others | beside | about, additionalProperties=False)


_PUBLICATIONS = {
    "Publication": {
        "oneOf": [
            _publication(*way, data, about)
            for way in _WAYS
            for data, about in (
                (
                    {"data": {"description": "Any JSON value."}},
                    _ABOUT | {"encoding": {"type": "null"}},
                ),
                (
                    {
                        "data": text(_BASE64, "Bytes, as padded Base64."),
                        "encoding": {"const": "base64"},
                    },
                    _ABOUT,
                ),
            )
        ]
    },
    "Receipt": record(
        {"channel": ref("Channel"), "id": ref("Cursor"), "seq": whole(1)},
        description="The log holds the message as safely as its engine promises.",
    ),
    "Receipts": record({"results": list_of(ref("Receipt"), description="In the batch's order.")}),
    "Discarded": record(
        {"channel": ref("Channel"), "id": ref("Cursor")}, description="`id` is that of the gap."
    ),
}

_RECEIPTS = {
    "Standings": record(
        {
            "id": ref("Cursor"),
            "channel": ref("Channel"),
            "consumers": list_of(
                record(
                    {"consumer": {"type": "string"}, "acknowledged": {"type": "boolean"}},
                    {
                        "deliveries": whole(1, None, "How often it was sent, where known."),
                        "user": {"type": "string", "description": "Whose it is."},
                    },
                )
            ),
            "acknowledged": whole(0, None, "How many on this page."),
            "pending": whole(0, None, "How many on this page."),
            "more": {"type": "boolean"},
        },
        {"next": {"type": "string", "description": "`after` of the next page."}},
    )
}

_ORIGIN = {"origin": {"type": ["string", "null"], "description": "The only one that can use it."}}

_ACCESS = {
    "TicketFor": {
        "oneOf": [
            record(
                {},
                _ORIGIN
                | {name: {"type": "null"} for name in ("user", "channels", "device", "expires")},
                additionalProperties=False,
                description="For who asks.",
            ),
            record(
                {"user": text(rf"{_SAFE}{{1,255}}", "Whom it is for.", "42")},
                _ORIGIN
                | {
                    "channels": _or_null(
                        {
                            "type": "object",
                            "propertyNames": {"pattern": r"^[A-Za-z0-9_\-.:/@#*]{1,255}$"},
                            "additionalProperties": list_of({"enum": sorted(RIGHTS)}),
                            "description": "Rights by channel name or pattern.",
                        }
                    ),
                    "device": _or_null(text(rf"{_SAFE}{{1,255}}", "Kept with the session.")),
                    "expires": _or_null(whole(0, 253_402_300_799, "Unix seconds.")),
                },
                additionalProperties=False,
                description="For a user of the back end that asks.",
            ),
        ]
    },
    "Ticket": record(
        {
            "ticket": {"type": "string", "description": "For the query: good once."},
            "expires_in": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds."},
        }
    ),
    "Renewed": record(
        {
            "session": ref("Session"),
            "expires": {"type": ["number", "null"], "description": "Unix seconds."},
        }
    ),
    "Revocation": {
        "oneOf": [
            record({name: {"type": "string", "minLength": 1, "maxLength": 255}})
            | {"additionalProperties": False}
            for name in ("user", "session", "token")
        ]
    },
    "Problem": record(
        {
            "title": {"type": "string"},
            "status": whole(400, 599),
            "detail": {"type": "string", "description": "For people; it may change."},
            "code": {"type": "string", "description": "For programs; it is stable."},
        },
        {"instance": {"type": "string", "description": "Where the operator's log has more."}},
        description="RFC 9457.",
    ),
}


_TRANSPORTS = ("websocket", "sse", "longpoll")
_NODE = text("[A-Za-z0-9]{8}", "A server's id, which it has from its start to its end.")
_MISSING = list_of(_NODE, description="Servers that did not answer in time.")
_SINCE = whole(0, None, "Unix ms.")

_FLEET = {
    "ConnectionId": text(_SESSION, "That of its session, where it has one.", "Jx2mD0bVtHk5Qw8R"),
    "Connection": record(
        {
            "id": ref("ConnectionId"),
            "node": _NODE,
            "transport": {"enum": list(_TRANSPORTS)},
            "since": _SINCE,
            "address": {"type": "string", "description": "The client's, behind trusted proxies."},
            "subscriptions": whole(0, None, "How many channels it follows."),
        },
        {
            "user": {"type": "string"},
            "device": {"type": "string"},
            "channels": list_of(ref("Channel"), description="Where one connection is asked for."),
        },
    ),
    "Connections": record(
        {
            "connections": list_of(ref("Connection")),
            "total": whole(0, None, "On all pages."),
            "next": {
                "type": ["string", "null"],
                "description": "For `after` of the next page; null: this is the last.",
            },
            "missing": _MISSING,
        }
    ),
    "Disconnected": record({"disconnected": whole(0), "missing": _MISSING}),
    "Node": record(
        {
            "id": _NODE,
            "host": {"type": "string"},
            "pid": whole(0),
            "version": {"type": "string"},
            "started": _SINCE,
            "address": {"type": "string", "description": "Where it listens."},
            "draining": {"type": "boolean", "description": "It takes nobody any more."},
            "connections": whole(0),
            "capacity": whole(0, None, "How many connections it takes."),
            "transports": record({name: whole(0) for name in (*_TRANSPORTS, "http")}),
            "messages": {"type": "number", "description": "From the log, each second."},
            "cpu": {"type": "number", "description": "Share of one core."},
            "memory": whole(0, None, "Bytes."),
        }
    ),
    "Nodes": record({"node": _NODE, "nodes": list_of(ref("Node"))}),
}


def _limited(settings: Settings) -> dict[str, Json]:
    """Those with a limit of the settings."""
    limits = ("max_message_size", "max_batch_size", "max_channels", "fragment_size")
    transports = ["websocket", "sse", "longpoll", "poll"]
    times = {"heartbeat", "retry", "wait", "interval"}
    return {
        "Channels": list_of(ref("Channel"), minItems=1, maxItems=settings.max_channels),
        "Batch": record(
            {"messages": list_of(ref("Publication"), maxItems=MAX_BATCH)},
            additionalProperties=False,
            description=f"Taken whole or not at all; up to {settings.max_batch_size} bytes.",
        ),
        "Wishes": record(
            {},
            {
                "channels": list_of(ref("Channel"), maxItems=settings.max_channels),
                "transports": list_of({"enum": transports}),
            },
            additionalProperties=False,
        ),
        "Offer": record(
            {
                "transports": list_of(
                    record(
                        {
                            "transport": {"enum": transports},
                            "path": {"type": "string"},
                            "url": {"type": "string"},
                        },
                        {"subprotocols": list_of({"type": "string"})}
                        | {name: whole(0, None, "ms") for name in sorted(times)},
                    ),
                    description="Best first.",
                ),
                "limits": record({name: whole(0) for name in limits}),
                "user": {"type": ["string", "null"], "description": "Who asks."},
            }
        ),
    }
