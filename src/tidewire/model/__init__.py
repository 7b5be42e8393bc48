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
    TidewireError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from tidewire.model.message import Draft, Gap, Message, Page, Receipt
from tidewire.model.namespace import Namespaces, Retention
from tidewire.model.subscription import Since, Subscription

__all__ = [
    "BadRequest",
    "Cursor",
    "Draft",
    "EngineUnavailable",
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
    "Retention",
    "Since",
    "Subscription",
    "TidewireError",
    "TooLarge",
    "TooManyRequests",
    "Unavailable",
    "channel_names",
    "check_channel",
    "namespace_of",
    "parse_cursor",
]
