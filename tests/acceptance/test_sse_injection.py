"""No data, event name or id can break an event stream, and its bytes keep the careful profile."""

from __future__ import annotations

import base64
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.acceptance.eventsource import Event, EventStream
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
HOSTILE = [
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "\0",
    "\u2028",
    "\u2029",
    "\x85",
    "\x0b",
    "\x0c",
    "\x1c",
    "\ufeff",
]
FIELDS = [
    "data: x",
    "id: evil",
    "event: evil",
    "retry: 1",
    ":",
    " ",
    ": comment",
    "data",
    "}\n\ndata:",
]

hostile_text = st.lists(st.sampled_from(HOSTILE + FIELDS) | st.text(max_size=8), max_size=12).map(
    "".join
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | hostile_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile_text, inner, max_size=4),
    max_leaves=8,
)
good_events = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128
).filter(lambda event: not event.startswith("tidewire."))

channels = (f"stream-{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def connection(server: ServerProcess) -> Iterator[RawConnection]:
    """A kept-alive connection for publishing."""
    with RawConnection(server.address) as connection:
        yield connection


def publish(connection: RawConnection, commands: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Publish a batch and return its results."""
    answer = connection.post("/publish", {"messages": commands})
    assert answer.status == 200, answer
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def stream_bytes(
    server: ServerProcess, channel: str, count: int, **parameters: str
) -> tuple[dict[str, str], bytes]:
    """The head and body of a stream from its start up to the end of its ``count``-th message."""
    extra = "".join(f"&{name}={value}" for name, value in parameters.items())
    with RawConnection(server.address) as connection:
        target = f"/sse?channels={channel}&since=start{extra}"
        connection.request("GET", target, {"Accept": "text/event-stream"})
        status, headers = connection.head()
        assert status == 200
        chunked = headers.get("transfer-encoding") == "chunked"
        body = b""
        while body.count(b"\nid:") + body.startswith(b"id:") < count + 1 or body[-2:] != b"\n\n":
            body += connection.chunk() if chunked else connection.receive()
        return headers, body


def with_httpx_sse(body: bytes) -> list[Event]:
    """What the library ``httpx-sse`` makes of a stream."""
    headers = {"Content-Type": "text/event-stream"}
    events = EventSource(httpx.Response(200, headers=headers, content=body)).iter_sse()
    return [Event(event.event, event.data, event.id) for event in events]


def parsed(body: bytes) -> list[Event]:
    """The events of a stream, on which both parsers agree; ``tidewire.ready`` left out."""
    ready, *events = EventStream().feed(body)
    assert ready.type == "tidewire.ready"
    assert [ready, *events] == with_httpx_sse(body)
    return events


def check_profile(body: bytes) -> None:
    """The rules that keep common parsers right, byte for byte."""
    assert not body.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in body
    assert body.endswith(b"\n\n")
    assert b"\n\n\n" not in body
    blocks = body.removesuffix(b"\n\n").split(b"\n\n")
    for index, block in enumerate(blocks):
        lines = [line for line in block.split(b"\n") if line != b":"]
        names = [line.partition(b":")[0] for line in lines]
        assert set(names) <= {b"event", b"id", b"retry", b"data"}, block
        assert names.count(b"id") == 1, block
        assert names[-1] == b"id", block
        assert names.count(b"event") <= 1, block
        assert b"data" in names, block
        assert (b"retry" in names) == (index == 0), block
        (identifier,) = (line for line in lines if line.startswith(b"id:"))
        assert ID.fullmatch(identifier.removeprefix(b"id:").removeprefix(b" ")), block


@given(data=st.lists(json_values, min_size=1, max_size=5))
@settings(max_examples=150)
def test_any_data_arrives_in_one_event_each(
    server: ServerProcess, connection: RawConnection, data: list[Any]
) -> None:
    channel = next(channels)
    results = publish(connection, [{"channel": channel, "data": value} for value in data])
    _, body = stream_bytes(server, channel, len(data))
    check_profile(body)
    events = parsed(body)
    assert [event.type for event in events] == ["message"] * len(data)
    assert [event.last_event_id for event in events] == [result["id"] for result in results]
    envelopes = [json.loads(event.data) for event in events]
    assert [envelope["data"] for envelope in envelopes] == data
    assert [envelope["id"] for envelope in envelopes] == [result["id"] for result in results]


def as_stream_text(value: object) -> str:
    """What a client of ``format=raw`` gets of a value: an event stream has one kind of line end."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return json.dumps(value)


@given(data=st.lists(hostile_text | json_values, min_size=1, max_size=5))
@settings(max_examples=150)
def test_any_raw_data_arrives_in_one_event_each(
    server: ServerProcess, connection: RawConnection, data: list[Any]
) -> None:
    channel = next(channels)
    results = publish(connection, [{"channel": channel, "data": value} for value in data])
    _, body = stream_bytes(server, channel, len(data), format="raw")
    check_profile(body)
    events = parsed(body)
    assert [event.last_event_id for event in events] == [result["id"] for result in results]
    for event, value in zip(events, data, strict=True):
        if isinstance(value, str):
            assert event.data == as_stream_text(value)
        else:
            assert json.loads(event.data) == value


@given(data=st.lists(st.binary(max_size=300), min_size=1, max_size=3))
@settings(max_examples=50)
def test_raw_binary_data_is_base64(
    server: ServerProcess, connection: RawConnection, data: list[bytes]
) -> None:
    channel = next(channels)
    encoded = [base64.b64encode(value).decode() for value in data]
    publish(connection, [{"channel": channel, "data": d, "encoding": "base64"} for d in encoded])
    _, body = stream_bytes(server, channel, len(data), format="raw")
    check_profile(body)
    assert [event.data for event in parsed(body)] == encoded


@given(events=st.lists(good_events, min_size=1, max_size=5), text=hostile_text)
@settings(max_examples=150)
def test_any_allowed_event_name_arrives(
    server: ServerProcess, connection: RawConnection, events: list[str], text: str
) -> None:
    channel = next(channels)
    publish(connection, [{"channel": channel, "data": text, "event": event} for event in events])
    for shape in ("envelope", "raw"):
        _, body = stream_bytes(server, channel, len(events), format=shape)
        check_profile(body)
        seen = parsed(body)
        # A space after the colon is not part of the value; one that belongs to it must survive.
        assert [event.type for event in seen] == events
        if shape == "envelope":
            assert [json.loads(event.data)["event"] for event in seen] == events


BAD_EVENTS = [
    "",
    "a\rb",
    "a\nb",
    "a\r\nid: evil",
    "\0",
    "a\0b",
    "tab\there",
    "\x1b[31m",
    "\x7f",
    "x" * 129,
    "é" * 129,
    "tidewire.ready",
    "tidewire.close",
    "tidewire.",
]


@pytest.mark.parametrize("event", BAD_EVENTS, ids=ascii)
def test_a_bad_event_name_is_refused(connection: RawConnection, event: str) -> None:
    channel = next(channels)
    command = {"channel": channel, "data": 1, "event": event}
    answer = connection.post("/publish", command)
    assert answer.status == 400
    assert answer.problem["code"] == "invalid_event"
    answer = connection.post("/publish", {"messages": [{**command, "event": "fine"}, command]})
    assert answer.status == 400
    history = connection.get(f"/history?channel={channel}")
    assert history.json()["messages"] == []


@pytest.mark.parametrize(
    "event", ["x" * 128, "é" * 128, "\U0001f30a" * 128, "tidewire", "Tidewire.x"]
)
def test_an_event_name_at_the_limit_is_taken(
    server: ServerProcess, connection: RawConnection, event: str
) -> None:
    channel = next(channels)
    publish(connection, [{"channel": channel, "data": 1, "event": event}])
    (seen,) = parsed(stream_bytes(server, channel, 1)[1])
    assert seen.type == event


@pytest.mark.parametrize("name", ["cursor", "lastEventId", "since", "format", "channels", "device"])
@pytest.mark.parametrize("value", ["%0Adata:%20evil%0A%0A", "%0D%0A%0D%0A", "%00", "%E2%80%A8"])
def test_nothing_of_the_request_is_injected(server: ServerProcess, name: str, value: str) -> None:
    parameters = {"channels": "a", name: value}
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    with RawConnection(server.address) as connection:
        connection.request("GET", f"/sse?{query}")
        status, headers = connection.head()
        assert "evil" not in str(headers)
        if status == 200:  # a parameter that is not looked at
            assert name == "device"
            assert b"evil" not in connection.read_until(b"\n\n")
        else:
            assert status == 400
            assert headers["content-type"] == "application/problem+json"


def test_the_head_of_a_stream(server: ServerProcess, connection: RawConnection) -> None:
    publish(connection, [{"channel": "head", "data": 1}])
    headers, body = stream_bytes(server, "head", 1)
    assert headers["content-type"].split(";")[0] == "text/event-stream"
    assert "no-cache" in headers["cache-control"] or "no-store" in headers["cache-control"]
    assert headers["x-accel-buffering"] == "no"
    assert "content-length" not in headers
    assert "content-encoding" not in headers
    first = body.split(b"\n\n")[0].split(b"\n")
    assert b"event: tidewire.ready" in first
    assert any(line.startswith(b"retry: ") for line in first)
    ready = EventStream().feed(body)[0]
    envelope = json.loads(ready.data)
    assert envelope["type"] == "ready"
    assert envelope["id"] == ready.last_event_id
    assert envelope["channels"] == ["head"]
    assert isinstance(envelope["session"], str)
    assert envelope["recovered"] is False


def test_retry_and_heartbeat_as_set(start: StartServer) -> None:
    server = start(sse_retry=1234, sse_heartbeat=0.2)
    with RawConnection(server.address) as connection:
        connection.request("GET", "/sse?channels=quiet")
        _, headers = connection.head()
        chunked = headers.get("transfer-encoding") == "chunked"
        body = b""
        while body.count(b"\n:\n") + body.count(b"\n:\n:\n") < 2:
            body += connection.chunk() if chunked else connection.receive()
        with RawConnection(server.address) as publisher:
            publish(publisher, [{"channel": "quiet", "data": "after heartbeats"}])
        while b"after heartbeats" not in body or not body.endswith(b"\n\n"):
            body += connection.chunk() if chunked else connection.receive()
    check_profile(body)
    stream = EventStream()
    events = stream.feed(body)
    assert stream.retry_ms == 1234
    assert [event.type for event in events] == ["tidewire.ready", "message"]
    ready = json.loads(events[0].data)
    assert ready["heartbeat"] == 200
    assert "timeout" not in ready  # an event stream's client cannot answer
    assert events == with_httpx_sse(body)
    assert re.search(rb"\n\n(:\n)+data: ", body), "a heartbeat has a blank line after it"


def test_a_vanished_listener_is_noticed(start: StartServer) -> None:
    server = start()  # whose connections are those of this test only
    listeners = [RawConnection(server.address) for _ in range(20)]
    for listener in listeners:
        listener.request("GET", "/sse?channels=vanish")
        assert listener.head()[0] == 200
    wait_until(lambda: server.connections() == 20)
    for listener in listeners:
        listener.socket.close()
    wait_until(lambda: server.connections() == 0)


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(
    server: ServerProcess, connection: RawConnection
) -> None:
    publish(connection, [{"channel": "old", "data": "for an old client"}])
    with RawConnection(server.address) as old:
        old.send(b"GET /sse?channels=old&since=start HTTP/1.0\r\nHost: localhost\r\n\r\n")
        head = old.read_until(b"\r\n\r\n").lower()
        assert b" 200 " in head.split(b"\r\n")[0]
        assert b"transfer-encoding" not in head
        body = old.read_until(b"for an old client") + old.read_until(b"\n\n")
    check_profile(body)
    assert len(parsed(body)) == 1
