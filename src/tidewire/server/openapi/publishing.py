"""The addresses of publishers, and of those who read and discard what is kept."""

from __future__ import annotations

from tidewire.model.payload import MAX_TTL
from tidewire.server.openapi.operations import (
    CHANNEL,
    NOT_KEPT,
    Operation,
    Paths,
    answer,
    as_head,
    query,
)
from tidewire.server.openapi.values import Json, ref, whole
from tidewire.settings import Settings
from tidewire.transports.history import MAX_HISTORY
from tidewire.transports.presence import MEMBERS, MOST_MEMBERS

_DISCARDED = answer("The log has done it.", ref("Discarded"), NOT_KEPT)


def _publish(settings: Settings) -> Operation:
    content: Json = {
        "application/json": {"schema": {"oneOf": [ref("Publication"), ref("Batch")]}},
        "text/plain": {"schema": {"type": "string"}},
        "application/octet-stream": {"schema": {}},
    }
    return Operation(
        "postPublish",
        "publish",
        "Publish one message, or a batch",
        {
            200: answer(
                "The log holds it: a receipt; receipts for a batch, `users` and `channels`.",
                {"oneOf": [ref("Receipt"), ref("Receipts")]},
                NOT_KEPT,
            )
        },
        "Without parameters the body is a publication or a batch, whatever its content type. With "
        "`channel`, `user` or `all`, one of which must be there then, it is the data itself: JSON "
        "as it is, text as a string, everything else as bytes, of which there may be none. A "
        f"message may have {settings.max_message_size} bytes, and JSON {settings.max_json_depth} "
        "levels.",
        parameters=(
            query("channel", ref("Channel"), "Take the body as the data of one message."),
            query("user", ref("User"), "In place of `channel`: the user's own channel."),
            query("device", ref("Device"), "Beside `user`: that of this device."),
            query("all", {"enum": ["true"]}, "In place of `channel`: everybody's."),
            query("event", ref("Event")),
            query("key", ref("Key")),
            query("ttl", {"type": "number", "minimum": 0.001, "maximum": MAX_TTL}, "Seconds."),
            query("version", ref("Version")),
        ),
        body={"required": False, "content": content},
        refusals={
            400: (
                "invalid_channel",
                "invalid_recipient",
                "invalid_event",
                "invalid_key",
                "invalid_ttl",
                "invalid_version",
                "invalid_base64",
                "too_deep",
            ),
            503: ("engine_unavailable",),
        },
    )


_HISTORY = Operation(
    "getHistory",
    "history",
    "Kept messages of a channel, oldest first, in pages",
    {200: answer("A page; it ends at 4 MiB, too.", ref("HistoryPage"), NOT_KEPT)},
    parameters=(
        CHANNEL,
        query("cursor", ref("CursorOrNone"), "Where the page begins: that of the page before."),
        query("since", ref("Since"), "Where to begin without a cursor; without it: `start`."),
        query("limit", whole(1, MAX_HISTORY) | {"default": 100}, "Messages on the page."),
    ),
    refusals={
        400: ("invalid_channel", "invalid_cursor", "invalid_since", "invalid_limit"),
        503: ("engine_unavailable",),
    },
)


_PRESENCE = Operation(
    "getPresence",
    "presence",
    "How many are on a channel, and who, in pages",
    {200: answer("What is known now.", ref("Attendance"), NOT_KEPT)},
    "Where the namespace has presence. `cursor` is where to follow `@presence:CHANNEL` from, in "
    "which joins and leaves are told, to know who is there from then on.",
    parameters=(
        CHANNEL,
        query("members", {"enum": ["true", "false"]}, "Whether to list them, by client."),
        query("limit", whole(1, MOST_MEMBERS) | {"default": MEMBERS}, "Members on the page."),
        query("after", {"type": "string", "maxLength": 64}, "The `next` of the page before."),
    ),
    refusals={
        400: ("invalid_channel", "invalid_limit"),
        404: ("no_presence",),
        503: ("engine_unavailable",),
    },
)


def paths(settings: Settings) -> Paths:
    """The operations on these addresses."""
    refused: dict[int, tuple[str, ...]] = {400: ("invalid_channel",), 503: ("engine_unavailable",)}
    purge = Operation(
        "deleteHistory",
        "admin",
        "Discard every message of a channel; `seq` counts on",
        {200: _DISCARDED},
        parameters=(CHANNEL,),
        refusals=refused,
    )
    forget = Operation(
        "deleteChannels",
        "admin",
        "Forget a channel: `seq` begins at 1 again",
        {200: _DISCARDED},
        parameters=(CHANNEL,),
        refusals=refused,
    )
    return {
        "/publish": {"post": _publish(settings)},
        "/history": {"get": _HISTORY, "head": as_head(_HISTORY), "delete": purge},
        "/presence": {"get": _PRESENCE, "head": as_head(_PRESENCE)},
        "/channels": {"delete": forget},
    }
