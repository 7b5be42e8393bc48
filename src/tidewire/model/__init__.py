"""Plain values that every other part speaks in: no I/O, no clock, no loop."""

from tidewire.model.channel import channel_names, check_channel, namespace_of
from tidewire.model.cursor import Cursor, parse_cursor
from tidewire.model.errors import (
    BadRequest,
    EngineUnavailable,
    Forbidden,
    InvalidChannel,
    InvalidCursor,
    MethodNotAllowed,
    NotFound,
    Replaced,
    TidewireError,
    TooLarge,
    TooManyRequests,
    TooManySingleAcks,
    Unavailable,
    UnknownConsumer,
)
from tidewire.model.message import Draft, Gap, Message, Page, Receipt
from tidewire.model.namespace import Flow, Namespaces, Retention
from tidewire.model.subscription import Since, Subscription

__all__ = [
    "BadRequest",
    "Cursor",
    "Draft",
    "EngineUnavailable",
    "Flow",
    "Forbidden",
    "Gap",
    "InvalidChannel",
    "InvalidCursor",
    "Message",
    "MethodNotAllowed",
    "Namespaces",
    "NotFound",
    "Page",
    "Receipt",
    "Replaced",
    "Retention",
    "Since",
    "Subscription",
    "TidewireError",
    "TooLarge",
    "TooManyRequests",
    "TooManySingleAcks",
    "Unavailable",
    "UnknownConsumer",
    "channel_names",
    "check_channel",
    "namespace_of",
    "parse_cursor",
]
