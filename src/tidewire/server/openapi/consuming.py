"""The addresses of durable consumers: acknowledging, and who has."""

from __future__ import annotations

from tidewire.server.acknowledging import MAX_RECEIPTS
from tidewire.server.openapi.operations import (
    CHANNEL,
    NOT_KEPT,
    Operation,
    Paths,
    answer,
    as_head,
    query,
)
from tidewire.server.openapi.values import NAME, list_of, ref, text, whole
from tidewire.settings import Settings
from tidewire.transports.acknowledging import MAX_DELAY, MAX_IDS

_DONE = answer("It is kept.", headers=NOT_KEPT)
_CONSUMER = query("consumer", ref("Consumer"), required=True)
_IDS = query(
    "eventId",
    list_of(ref("Cursor"), minItems=1, maxItems=MAX_IDS),
    "The ids of messages, as their envelopes have them.",
    required=True,
    style="form",
    explode=True,
)
_REFUSED: dict[int, tuple[str, ...]] = {
    400: ("invalid_consumer", "invalid_cursor"),
    404: ("unknown_consumer",),
    409: ("too_many_single_acks",),
    503: ("engine_unavailable",),
}

_ACK = Operation(
    "postAck",
    "ack",
    "Acknowledge all messages up to one, or single ones",
    {204: _DONE},
    "In every channel that the consumer reads.",
    parameters=(
        _IDS,
        _CONSUMER,
        query("single", {"type": "boolean", "default": False}, "These messages only."),
    ),
    refusals=_REFUSED,
)

_NACK = Operation(
    "postNack",
    "ack",
    "Ask for messages again, or never again",
    {204: _DONE},
    parameters=(
        _IDS,
        _CONSUMER,
        query(
            "delay",
            {"type": "number", "minimum": 0, "maximum": MAX_DELAY // 1000, "default": 0},
            "Seconds until they come again.",
        ),
        query(
            "reject",
            {"type": "boolean", "default": False},
            "Never send them again: they become dead letters.",
        ),
    ),
    refusals=_REFUSED | {400: (*_REFUSED[400], "invalid_delay")},
)

_RECEIPTS = Operation(
    "getReceipts",
    "publish",
    "Which consumers have acknowledged a message, by name, in pages",
    {200: answer("A page.", ref("Standings"), NOT_KEPT)},
    parameters=(
        CHANNEL,
        query("eventId", ref("Cursor"), "The message's id.", required=True),
        query(
            "after",
            text(rf"([A-Za-z0-9_.\-%]{{1,3072}}~)?{NAME}{{1,128}}", "`next` of the page before."),
        ),
        query("limit", whole(1, MAX_RECEIPTS) | {"default": 100}, "Consumers on the page."),
    ),
    refusals={
        400: ("invalid_channel", "invalid_cursor", "invalid_consumer", "invalid_limit"),
        503: ("engine_unavailable",),
    },
)


def paths(settings: Settings) -> Paths:
    """The operations on these addresses."""
    return {
        "/ack": {"post": _ACK},
        "/nack": {"post": _NACK},
        "/receipts": {"get": _RECEIPTS, "head": as_head(_RECEIPTS)},
    }
