"""What the server remembers of earlier requests never changes an answer.

Heads, handlers, parsed queries and whole answers are remembered. Two servers get the same requests:
one on a single connection in any pieces, the other each whole on a connection of its own. All they
may differ in is the time.
"""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.conftest import Client, Server
from tests.server.stub_app import get, post
from tidewire.server.app import App

EPOCH = "epoch1"
FIRST = 1_000_000  # the first id, and a time in µs


def cursor(number: int) -> bytes:
    """The cursor behind the message of this number, from 1."""
    return b"%b-%d" % (EPOCH.encode(), FIRST - 1 + number)


ORIGIN = b"Origin: http://localhost:3000"
PUBLISH = b"/publish"
MESSAGE = post(PUBLISH, b'{"channel":"a","data":1}')

REQUESTS = [
    get(b"/poll?channels=a"),
    get(b"/poll?channels=b"),
    get(b"/poll?channels=a,b"),
    get(b"/poll?channels=a&format=raw"),
    get(b"/subscribe?channels=a"),
    get(b"/poll?channels=a", ORIGIN),
    get(b"/poll?channels=a", b"Origin: http://elsewhere.example"),
    get(b"/poll?channels=a", b'If-None-Match: "%b"' % cursor(1)),
    get(b"/poll?channels=a", b'If-None-Match: "%b"' % cursor(3)),
    get(b"/poll?channels=a", b"Last-Event-ID: %b" % cursor(1)),
    get(b"/poll?channels=a", b"Last-Event-ID: %b" % cursor(3)),
    get(b"/poll?channels=a&cursor=%b" % cursor(1)),
    get(b"/poll?channels=a&cursor=%b" % cursor(3)),
    get(b"/poll?channels=a&cursor=nonsense!"),
    get(b"/poll?channels=a", b"If-Modified-Since: Thu, 01 Jan 1970 00:00:01 GMT"),
    get(b"/poll?channels="),
    get(b"/poll?channels=a").replace(b"GET", b"HEAD"),
    get(b"/poll?channels=a").replace(b"GET", b"PUT"),
    get(b"/poll?channels=a").replace(b"GET", b"OPTIONS"),
    get(b"/poll?channels=a", b"Host: localhost").replace(b"Host: localhost\r\n", b"", 1),
    get(b"/poll?channels=a").replace(b"localhost", b"elsewhere.example"),
    get(b"/healthz"),
    get(b"/nowhere"),
    MESSAGE,
    post(PUBLISH, b'{"channel":"a","data":2}'),
    post(PUBLISH, b'{"channel":"b","data":1}'),
    post(PUBLISH, b'{"channel":"b","data":}'),
    post(PUBLISH, b'{"channel":"a","data":1,"key":"k"}'),
    post(PUBLISH + b"?channel=a", b"text", b"Content-Type: text/plain"),
    post(PUBLISH + b"?channel=a", b"more", b"Content-Type: text/plain"),
]


class Twin(Server):
    """A server whose log has a fixed name, a clock that stands still, and three messages."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.engine.epoch = EPOCH
        self.engine._clock = self.hub.recent._clock = lambda: FIRST / 1_000_000
        self.hub._prefix = EPOCH + "-"
        for channel in "aba":
            self.publish(channel)

    def forgetful(self, request: bytes) -> Client:
        """Send *request* to an application that has seen no other; return who gets the answer."""
        self.app = App(self.settings, self.hub, self.loop)
        client = self.client()
        client.connection.data_received(request)
        client.connection.connection_lost(None)
        self.app.wheel.stop()
        return client


def without_time(answers: bytes) -> bytes:
    """*answers* without their dates, and without the ids of those that were refused."""
    return re.sub(rb"\r\nDate: [^\r]*|urn:tidewire:request:\w+", b"", answers)


@st.composite
def related(draw: st.DrawFn) -> list[list[bytes]]:
    """Batches of the same few requests, which have much in common."""
    begin = draw(st.integers(0, len(REQUESTS) - 2))
    few = REQUESTS[begin : begin + 2]
    batch = st.lists(st.sampled_from([REQUESTS[0], *few, MESSAGE]), min_size=1, max_size=6)
    return draw(st.lists(batch, min_size=1, max_size=3))


@settings(max_examples=300)
@given(related(), st.data())
def test_what_is_remembered_changes_no_answer(
    batches: list[list[bytes]], data: st.DataObject
) -> None:
    loop = asyncio.new_event_loop()
    one, other = Twin(loop), Twin(loop)
    try:
        client = one.client()
        expected = b""
        for batch in batches:  # between batches the hub has its turn
            stream = b"".join(batch)
            borders = [len(b"".join(batch[:count])) for count in range(len(batch))]
            if data.draw(st.booleans(), label="in any pieces"):
                borders = data.draw(st.lists(st.integers(0, len(stream)), max_size=8), label="cuts")
            for begin, end in pairwise(sorted({0, *borders, len(stream)})):
                client.connection.data_received(stream[begin:end])
            one.turn()
            answers = [other.forgetful(request) for request in batch]
            other.turn()
            expected += b"".join(map(Client.read, answers))
        assert without_time(client.read()) == without_time(expected)
    finally:
        one.end()
        other.end()
        loop.close()
