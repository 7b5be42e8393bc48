"""The Python client: subscribing over four transports, consumers, publishing, history, uploads.

:class:`Client` has it all; the command line stands on its parts:

    eventsource   the event stream format           position     where a subscriber is in the log
    envelope      what is received                  fragments    large envelopes from their parts
    websocket, sse, long_poll, short_poll           one connection attempt each
    subscriber    receiving across connections      commands     answers to WebSocket commands
    consuming     messages one after the other      ledger       what a consumer is finished with
    acknowledging telling the server of it          operations   single HTTP requests
    publisher     publishing, safely tried again    history      kept messages, page after page
    uploading     files in chunks                   http         the HTTP client of all
    credentials   what is shown of who asks         lifetime     how long a token says it is good
    opening       WebSockets, from first to last    staying      the next token, told in time
    fleet         connections and servers
    backoff       when to try again                 errors       what can go wrong
"""

from tidewire.client.acknowledging import Acknowledger
from tidewire.client.address import DEFAULT_URL, ServerAddress
from tidewire.client.backoff import Backoff
from tidewire.client.client import Client, make_transport
from tidewire.client.consuming import Delivery, Subscription
from tidewire.client.credentials import Credentials, GetToken
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
from tidewire.client.errors import (
    ClientError,
    Forbidden,
    Interrupted,
    Refused,
    Replaced,
    Unanswered,
    Unauthorized,
)
from tidewire.client.fleet import ConnectionOf, Connections, Disconnected, Node, Nodes
from tidewire.client.history import history
from tidewire.client.http import open_http
from tidewire.client.long_poll import LongPollTransport
from tidewire.client.operations import (
    Attendance,
    Member,
    Operations,
    Purged,
    ReceiptOf,
    Receipts,
    Revocable,
)
from tidewire.client.position import Position
from tidewire.client.publisher import Publication, Publisher, Receipt
from tidewire.client.short_poll import ShortPollTransport
from tidewire.client.sse import SseTransport
from tidewire.client.subscriber import Watcher, receive
from tidewire.client.transport import Transport
from tidewire.client.uploading import File, upload
from tidewire.client.websocket import WebSocketTransport

__all__ = [
    "DEFAULT_URL",
    "Acknowledger",
    "Attendance",
    "Backoff",
    "Client",
    "ClientError",
    "Close",
    "ConnectionOf",
    "Connections",
    "Credentials",
    "Delivery",
    "Disconnected",
    "Envelope",
    "Event",
    "File",
    "Forbidden",
    "Gap",
    "GetToken",
    "Interrupted",
    "LongPollTransport",
    "Member",
    "Message",
    "Node",
    "Nodes",
    "Operations",
    "Other",
    "Position",
    "Publication",
    "Publisher",
    "Purged",
    "Reached",
    "Ready",
    "Receipt",
    "ReceiptOf",
    "Receipts",
    "Received",
    "Refused",
    "Replaced",
    "Revocable",
    "ServerAddress",
    "ShortPollTransport",
    "SseTransport",
    "Subscription",
    "Transport",
    "Unanswered",
    "Unauthorized",
    "Watcher",
    "WebSocketTransport",
    "history",
    "make_transport",
    "open_http",
    "receive",
    "upload",
]
