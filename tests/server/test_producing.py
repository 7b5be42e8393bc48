"""Publishing and reading back: answered when the log has it, in order, or refused in words."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tidewire.model import EngineUnavailable, Receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.server.conftest import Client, MakeServer, Server
    from tidewire.model import Draft


A, B = "203.0.113.1", "203.0.113.2"


def publish(client: Client, body: Any, target: str = "/publish") -> None:
    """Send a request to publish *body*."""
    client.send(target, method="POST", body=json.dumps(body).encode())


class HeldAppends:
    """Appends that the log does not answer until the test says so."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._append = server.engine.append
        self.waiting: list[tuple[asyncio.Future[list[Receipt]], Sequence[Draft]]] = []
        server.engine.append = self.append  # type: ignore[method-assign]

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        future: asyncio.Future[list[Receipt]] = self._server.loop.create_future()
        self.waiting.append((future, drafts))
        return future

    def let_go(self, error: Exception | None = None) -> None:
        """Answer the oldest."""
        future, drafts = self.waiting.pop(0)
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(self._append(drafts).result())
        self._server.turn()


def data_of(server: Server, channel: str) -> list[Any]:
    """The data that *channel* holds."""
    reply = server.get(f"/history?channel={channel}")
    return [message["data"] for message in reply.json["messages"]]


def statuses(client: Client, *bodies: Any) -> list[int]:
    """What becomes of each of these publishes."""
    found = []
    for body in bodies:
        publish(client, body)
        found.append(client.reply().status)
    return found


def test_a_publisher_keeps_its_pace(make_server: MakeServer) -> None:
    server = make_server(max_message_rate=0.05)  # a tenth of a message at once: only a full one
    one = {"channel": "a", "data": 1}
    assert statuses(server.client(A), one, one) == [200, 429]
    assert statuses(server.client(B), one) == [200]
    client = server.client(A)  # another connection of the same client
    publish(client, one)
    reply = client.reply()
    assert (reply.status, reply.json["code"]) == (429, "too_many_requests")
    assert 18 <= int(reply.headers["retry-after"]) <= 20
    assert len(data_of(server, "a")) == 2
    assert server.app.refusals == {"publish_rate": 2}


def test_a_batch_is_as_many_messages_as_it_has(make_server: MakeServer) -> None:
    server = make_server(max_message_rate=10)
    one = {"channel": "a", "data": 1}
    client = server.client()
    assert statuses(client, {"messages": [one] * 30}, one) == [200, 429]
    assert len(data_of(server, "a")) == 30


def test_bytes_a_second_of_a_publisher(make_server: MakeServer) -> None:
    server = make_server(max_byte_rate=1_000)
    large = {"channel": "a", "data": "x" * 1_900}
    assert statuses(server.client(), large, large, {"channel": "a", "data": 1}) == [200, 429, 200]
    assert server.client().get("/publish?channel=a", method="POST", body=b"x" * 1_900).status == 429


def test_a_body_that_is_refused_is_not_looked_at(make_server: MakeServer) -> None:
    server = make_server(max_message_rate=0.05)
    assert statuses(server.client(), {"channel": "a", "data": 1}, "nonsense") == [200, 429]


def test_a_publish(app_server: Server) -> None:
    client = app_server.client()
    publish(client, {"channel": "a", "data": {"x": 1}})
    reply = client.reply()
    assert reply.status == 200
    assert (reply.json["channel"], reply.json["seq"]) == ("a", 1)
    assert reply.headers["cache-control"] == "no-store"
    assert data_of(app_server, "a") == [{"x": 1}]


def test_a_publish_that_offers_http_2(app_server: Server) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAA"}
    body = b'{"channel":"a","data":1}'
    reply = app_server.get("/publish", headers, method="POST", body=body)
    assert (reply.status, reply.json["seq"]) == (200, 1)


def test_a_batch_is_answered_in_order(app_server: Server) -> None:
    client = app_server.client()
    messages = [{"channel": channel, "data": 1} for channel in ("a", "b", "a")]
    publish(client, {"messages": messages})
    results = client.reply().json["results"]
    assert [(result["channel"], result["seq"]) for result in results] == [
        ("a", 1),
        ("b", 1),
        ("a", 2),
    ]


def test_a_body_of_any_type(app_server: Server) -> None:
    client = app_server.client()
    client.send(
        "/publish?channel=a", {"Content-Type": "text/plain"}, method="POST", body=b"caf\xc3\xa9"
    )
    assert client.reply().status == 200
    assert data_of(app_server, "a") == ["café"]


def test_it_is_answered_when_the_log_has_it(app_server: Server) -> None:
    held = HeldAppends(app_server)
    client = app_server.client()
    publish(client, {"channel": "a", "data": 1})
    client.send("/healthz")
    assert client.read() == b""
    held.let_go()
    first, second = client.read().split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b'"seq":1' in first
    assert b'"ok"' in second


def test_publishes_in_a_pipeline_are_those_that_were_sent(app_server: Server) -> None:
    # Their heads are equal to the byte, and they come one by one while the first is stored.
    held = HeldAppends(app_server)
    client = app_server.client()
    for n in range(5):
        publish(client, {"channel": "a", "data": n})
    for _ in range(5):
        held.let_go()
    assert client.read().count(b"HTTP/1.1 200 OK\r\n") == 5
    assert data_of(app_server, "a") == [0, 1, 2, 3, 4]


def test_a_log_that_is_away(app_server: Server) -> None:
    held = HeldAppends(app_server)
    client = app_server.client()
    publish(client, {"channel": "a", "data": 1})
    held.let_go(EngineUnavailable("the disk is full"))
    reply = client.reply()
    assert (reply.status, reply.json["code"]) == (503, "engine_unavailable")
    assert "retry-after" in reply.headers
    assert not client.closed()


def test_a_log_that_fails_is_told_and_not_hidden(
    app_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    held = HeldAppends(app_server)
    client = app_server.client()
    publish(client, {"channel": "a", "data": 1})
    held.let_go(ZeroDivisionError("a bug"))
    reply = client.reply()
    assert (reply.status, reply.json["code"]) == (500, "internal")
    assert "a bug" not in reply.body.decode()
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [
        ZeroDivisionError
    ]


def test_a_client_that_left_does_not_matter(app_server: Server) -> None:
    held = HeldAppends(app_server)
    client = app_server.client()
    publish(client, {"channel": "a", "data": 1})
    client.leave()
    held.let_go()
    assert client.read() == b""
    assert data_of(app_server, "a") == [1]


def test_a_publish_while_draining_is_answered(app_server: Server) -> None:
    held = HeldAppends(app_server)
    client = app_server.client()
    publish(client, {"channel": "a", "data": 1})
    app_server.app.drain()
    assert not client.closed()
    held.let_go()
    reply = client.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert client.closed()


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        ("/publish", b"", "malformed"),
        ("/publish", b"{", "malformed"),
        ("/publish", b'{"channel":"a b","data":1}', "invalid_channel"),
        ("/publish?channel=", b"x", "invalid_channel"),
        ("/publish?channel=a&colour=red", b"x", "malformed"),
    ],
)
def test_what_cannot_be_published(app_server: Server, target: str, body: bytes, code: str) -> None:
    reply = app_server.get(target, method="POST", body=body)
    assert (reply.status, reply.json["code"]) == (400, code)


def test_pages_of_history(app_server: Server) -> None:
    for n in range(5):
        app_server.publish("a", b"%d" % n)
    first = app_server.get("/history?channel=a&limit=3").json
    assert [message["data"] for message in first["messages"]] == [0, 1, 2]
    rest = app_server.get(f"/history?channel=a&cursor={first['cursor']}").json
    assert [message["data"] for message in rest["messages"]] == [3, 4]
    last = app_server.get("/history?channel=a&since=-2").json
    assert [message["data"] for message in last["messages"]] == [3, 4]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "invalid_channel"),
        ("channel=a&limit=0", "invalid_limit"),
        ("channel=a&limit=-1", "invalid_limit"),
        ("channel=a&limit=1e3", "invalid_limit"),
        ("channel=a&limit=%D9%A5", "invalid_limit"),
        ("channel=a&limit=99999999999999999999", "invalid_limit"),
        ("channel=a&limit=0000000010000000", "invalid_limit"),
        ("channel=a&limit=000000001" + "0" * 5_000, "invalid_limit"),
        ("channel=a&cursor=nonsense!", "invalid_cursor"),
        ("channel=%FF", "malformed"),
    ],
)
def test_history_that_cannot_be_read(app_server: Server, query: str, code: str) -> None:
    reply = app_server.get(f"/history?{query}")
    assert (reply.status, reply.json["code"]) == (400, code)
