"""The Python client: subscribing over four transports, publishing, reading history.

So far it is what the command line stands on; the parts are those of the full client to come:

    eventsource   the event stream format           position     where a subscriber is in the log
    envelope      what is received                  subscriber   receiving across connections
    websocket, sse, long_poll, short_poll           one connection attempt each
    publisher     publishing, safely tried again    history      kept messages, page after page
    backoff       when to try again                 errors       what can go wrong
"""

from tidewire.client.address import DEFAULT_URL, ServerAddress
from tidewire.client.backoff import Backoff
from tidewire.client.envelope import (
    Close,
    Envelope,
    Event,
    Gap,
    Message,
    Other,
    Reached,
    Ready,
    Received,
)
from tidewire.client.errors import ClientError, Interrupted, Refused, Unanswered
from tidewire.client.history import history
from tidewire.client.http import open_http
from tidewire.client.long_poll import LongPollTransport
from tidewire.client.position import Position
from tidewire.client.publisher import Publication, Publisher, Receipt
from tidewire.client.short_poll import ShortPollTransport
from tidewire.client.sse import SseTransport
from tidewire.client.subscriber import Watcher, receive
from tidewire.client.transport import Transport
from tidewire.client.websocket import WebSocketTransport

__all__ = [
    "DEFAULT_URL",
    "Backoff",
    "ClientError",
    "Close",
    "Envelope",
    "Event",
    "Gap",
    "Interrupted",
    "LongPollTransport",
    "Message",
    "Other",
    "Position",
    "Publication",
    "Publisher",
    "Reached",
    "Ready",
    "Receipt",
    "Received",
    "Refused",
    "ServerAddress",
    "ShortPollTransport",
    "SseTransport",
    "Transport",
    "Unanswered",
    "Watcher",
    "WebSocketTransport",
    "history",
    "open_http",
    "receive",
]
