"""HTTP/1.1 on a bare socket: what a proxy, an old client or an attacker may send."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_http import RawConnection
from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
SOON = 8.0
"""Seconds for what takes one: less than any time of a server that no test has set, and more than a
machine stands still for a moment.
"""


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[RawConnection]:
    """A connection of the test's own; afterwards the server must still serve others."""
    with RawConnection(server.address) as connection:
        yield connection
    with RawConnection(server.address) as witness:
        assert witness.get("/healthz").status == 200


def data_of(connection: RawConnection, channel: str) -> list[object]:
    """What is kept in a channel."""
    messages = connection.get(f"/history?channel={channel}").json()["messages"]
    return [message["data"] for message in messages]


def test_a_connection_is_kept(connection: RawConnection) -> None:
    for n in range(100):
        answer = connection.post("/publish", {"channel": "kept", "data": n})
        assert answer.status == 200
        assert answer.headers.get("connection", "keep-alive").lower() == "keep-alive"
    assert len(data_of(connection, "kept")) == 100


def test_a_connection_is_closed_on_request(connection: RawConnection) -> None:
    answer = connection.get("/healthz", {"Connection": "close"})
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert connection.ended


def test_http_1_0(connection: RawConnection) -> None:
    connection.send(b"GET /poll?channels=a HTTP/1.0\r\n" + HOST + b"\r\n")
    head, _, body = connection.read_to_end().partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0]
    assert b"transfer-encoding" not in head.lower()
    assert b'"hasNew":false' in body


def test_http_1_0_without_host_and_kept_alive(server: ServerProcess) -> None:
    with RawConnection(server.address) as connection:
        connection.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n" + HOST + b"\r\n")
        answer = connection.response()
        assert answer.status == 200
        if answer.headers.get("connection", "").lower() == "keep-alive":
            connection.send(b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n")
            assert connection.response().status == 200
        else:
            assert connection.ended


def test_pipelined_requests_are_answered_in_order(connection: RawConnection) -> None:
    requests = []
    for n in range(50):
        body = b'{"channel":"pipe","data":%d}' % n
        head = b"POST /publish HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n" % (HOST, JSON, len(body))
        requests.append(head + body)
        requests.append(b"GET /nothing/%d HTTP/1.1\r\n%b\r\n" % (n, HOST))
    connection.send(b"".join(requests))
    for n in range(50):
        assert connection.response().json()["seq"] == n + 1
        missing = connection.response()
        assert missing.status == 404
        assert f"/nothing/{n}" in missing.problem["detail"]


def test_requests_behind_a_held_poll_wait_their_turn(server: ServerProcess) -> None:
    with RawConnection(server.address) as held, RawConnection(server.address) as other:
        cursor = held.get("/poll?channels=turn").json()["cursor"]
        held.request("GET", f"/longpoll?channels=turn&cursor={cursor}&wait=20")
        held.request("GET", "/healthz")
        held.request("GET", "/nothing")
        held.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            held.receive()
        held.socket.settimeout(10)
        assert other.post("/publish", {"channel": "turn", "data": 1}).status == 200
        assert held.response().json()["messages"][0]["data"] == 1
        assert held.response().json() == {"status": "ok"}
        assert held.response().status == 404


def test_a_pipeline_of_many_held_polls(server: ServerProcess) -> None:
    with RawConnection(server.address) as held:
        for _ in range(3):
            held.request("GET", "/longpoll?channels=quiet&wait=1")
        begin = time.monotonic()
        assert [held.response().status for _ in range(3)] == [204, 204, 204]
        assert time.monotonic() - begin < 3 + SOON


@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
def test_a_request_in_pieces(connection: RawConnection, size: int) -> None:
    body = b'{"channel":"pieces","data":"x"}'
    head = b"POST /publish HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n" % (HOST, JSON, len(body))
    request = head + body + b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    for begin in range(0, len(request), size):
        connection.send(request[begin : begin + size])
    assert connection.response().status == 200
    assert connection.response().status == 200


def test_a_chunked_body(connection: RawConnection) -> None:
    head = b"POST /publish HTTP/1.1\r\n" + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    body = b'a;ext="x"\r\n{"channel"\r\n011\r\n:"chunks","data":\r\n3\r\n[1]\r\n1\r\n}\r\n0\r\n'
    connection.send(head + body + b"Trailer-Field: ignored\r\n\r\nGET /healthz HTTP/1.1\r\n" + HOST)
    answer = connection.response()
    assert answer.status == 200, answer
    connection.send(b"\r\n")
    assert connection.response().json() == {"status": "ok"}
    assert data_of(connection, "chunks") == [[1]]


def test_expect_100_continue(connection: RawConnection) -> None:
    body = b'{"channel":"expect","data":1}'
    head = b"POST /publish HTTP/1.1\r\n%b%bContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    connection.send(head % (HOST, JSON, len(body)))
    status, headers = connection.head()
    assert (status, headers) == (100, {})
    connection.send(body)
    assert connection.response().status == 200


def test_expect_100_continue_is_refused_where_the_body_would_be(connection: RawConnection) -> None:
    head = b"POST /publish HTTP/1.1\r\n%b%bContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    connection.send(head % (HOST, JSON, 100 << 20))
    assert connection.response().status == 413
    assert connection.ended


def test_an_unknown_expectation(connection: RawConnection) -> None:
    body = b'{"channel":"expect","data":1}'
    head = b"POST /publish HTTP/1.1\r\n%b%bContent-Length: %d\r\nExpect: magic\r\n\r\n"
    connection.send(head % (HOST, JSON, len(body)) + body)
    assert connection.response().status in (200, 417)  # RFC 9110 10.1.1 lets a server choose


@pytest.mark.parametrize("path", ["/poll?channels=a", "/history?channel=a", "/healthz", "/readyz"])
def test_head(connection: RawConnection, path: str) -> None:
    connection.request("HEAD", path)
    answer = connection.response(to_head=True)
    assert answer.status == 200
    full = connection.get(path)  # on the same connection: so the answer had no body
    assert full.status == 200
    if "content-length" in answer.headers:
        assert answer.headers["content-length"] == full.headers["content-length"]
    assert answer.headers["content-type"] == full.headers["content-type"]


def test_head_of_a_stream_does_not_begin_one(connection: RawConnection) -> None:
    connection.request("HEAD", "/sse?channels=a")
    answer = connection.response(to_head=True)
    assert answer.status in (200, 405)
    if answer.status == 200:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert connection.get("/healthz").json() == {"status": "ok"}


def test_a_path_prefix(start: StartServer) -> None:
    server = start(path_prefix="/real/time")
    with RawConnection(server.address) as connection:
        assert connection.get("/real/time/readyz").status == 200
        assert connection.get("/real/time/poll?channels=a").status == 200
        for outside in ("/poll?channels=a", "/real/timepoll?channels=a", "/real/time2/poll"):
            assert connection.get(outside).status == 404


# Options and CORS


@pytest.mark.parametrize(
    "path", ["/sse", "/poll", "/longpoll", "/subscribe", "/publish", "/history"]
)
def test_a_preflight(connection: RawConnection, path: str) -> None:
    method = "POST" if path == "/publish" else "GET"
    origin = "http://localhost:3000"
    asked = "last-event-id, authorization, if-none-match, content-type"
    connection.request(
        "OPTIONS",
        path,
        {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": asked,
        },
    )
    answer = connection.response()
    assert answer.status in (200, 204)
    assert answer.headers["access-control-allow-origin"] == origin
    assert "credentials" not in str(answer.headers)
    assert method in answer.headers["access-control-allow-methods"].replace(" ", "").split(",")
    allowed = answer.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    assert set(asked.replace(" ", "").split(",")) <= set(allowed)
    assert "origin" in answer.headers["vary"].lower()


def test_a_preflight_of_a_foreign_origin(connection: RawConnection) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    connection.request("OPTIONS", "/sse", headers)
    answer = connection.response()
    assert "access-control-allow-origin" not in answer.headers


def test_options_without_an_origin(connection: RawConnection) -> None:
    connection.request("OPTIONS", "/poll")
    answer = connection.response()
    assert answer.status in (200, 204)
    assert "GET" in answer.headers["allow"]


def test_pages_may_read_what_they_need(connection: RawConnection) -> None:
    for path in ("/poll?channels=a", "/longpoll?channels=a&wait=1"):
        answer = connection.get(path, {"Origin": "http://localhost:3000"})
        exposed = answer.headers["access-control-expose-headers"].lower()
        for name in ("etag", "tidewire-cursor", "retry-after"):
            assert name in exposed
    error = connection.get("/poll", {"Origin": "http://localhost:3000"})
    assert error.status == 400
    assert error.headers["access-control-allow-origin"] == "http://localhost:3000"


# What is no HTTP, or two requests in one

SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """A POST with fields of any kind."""
    return b"POST /publish HTTP/1.1\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


AMBIGUOUS = {
    "Content-Length and Transfer-Encoding": post(
        b"Host: localhost", b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nX"
    ),
    "the other way round": post(
        b"Host: localhost", b"Transfer-Encoding: chunked", b"Content-Length: 6", body=b"0\r\n\r\nX"
    ),
    "two Content-Lengths": post(
        b"Host: localhost", b"Content-Length: 5", b"Content-Length: 6", body=b"12345"
    ),
    "the same twice": post(
        b"Host: localhost", b"Content-Length: 5", b"Content-Length: 5", body=b"12345"
    ),
    "a list of lengths": post(b"Host: localhost", b"Content-Length: 5, 5", body=b"12345"),
    "a signed length": post(b"Host: localhost", b"Content-Length: +5", body=b"12345"),
    "a negative length": post(b"Host: localhost", b"Content-Length: -5", body=b"12345"),
    "a hexadecimal length": post(b"Host: localhost", b"Content-Length: 0x5", body=b"12345"),
    "an underscore in a length": post(b"Host: localhost", b"Content-Length: 1_0", body=b"12345"),
    "identity, chunked": post(
        b"Host: localhost", b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"
    ),
    "obfuscated chunked": post(
        b"Host: localhost", b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"
    ),
    "space before the colon": post(
        b"Host: localhost", b"Content-Length : 5", body=b"12345"
    ),
    "a folded line": post(b"Host: localhost", b"X: a\r\n b", b"Content-Length: 0"),
    "a bare LF in the head": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "a bare CR in a field": post(b"Host: localhost", b"X: a\rb", b"Content-Length: 0"),
    "NUL in a field": post(b"Host: localhost", b"X: a\0b", b"Content-Length: 0"),
    "a chunk size with a sign": post(
        b"Host: localhost", b"Transfer-Encoding: chunked", body=b"+1\r\nx\r\n0\r\n\r\n"
    ),
    "a chunk size with 0x": post(
        b"Host: localhost", b"Transfer-Encoding: chunked", body=b"0x1\r\nx\r\n0\r\n\r\n"
    ),
    "a chunk not followed by CRLF": post(
        b"Host: localhost", b"Transfer-Encoding: chunked", body=b"1\r\nxx\r\n0\r\n\r\n"
    ),
    "a chunk size with LF only": post(
        b"Host: localhost", b"Transfer-Encoding: chunked", body=b"1\nx\r\n0\r\n\r\n"
    ),
    "a huge chunk size": post(
        b"Host: localhost", b"Transfer-Encoding: chunked", body=b"ffffffffffffffffff\r\nx"
    ),
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "two different Hosts": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "garbage": b"\x00\x01\x02\x03\r\n\r\n",
    "a space in the target": b"GET /poll ?channels=a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an empty header name": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
    "a header without a colon": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n",
    "an unknown method": b"FETCH /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_requests_are_refused_and_the_connection_ends(
    connection: RawConnection, request_bytes: bytes
) -> None:
    connection.send(request_bytes + SMUGGLED)
    answer = connection.response()
    assert answer.status in (400, 405, 501, 505), answer
    assert answer.problem["code"]
    rest = connection.read_to_end()
    assert rest == b"", "what follows a refused request was answered"


def test_bytes_behind_a_refused_upgrade_are_no_tunnel(connection: RawConnection) -> None:
    head = b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    connection.send(head + SMUGGLED)
    answer = connection.response()
    assert answer.status in (400, 426)
    assert b"HTTP/1.1 200" not in connection.read_to_end()


def test_an_upgrade_to_something_else_is_ignored(connection: RawConnection) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAA"}
    answer = connection.get("/healthz", headers)
    assert answer.status == 200


# Time


def test_a_slow_head_is_408(start: StartServer) -> None:
    server = start(head_timeout=0.5)
    with RawConnection(server.address) as connection:
        begin = time.monotonic()
        connection.send(b"GET /healthz HTTP/1.1\r\nX: ")
        connection.socket.settimeout(0.1)
        answered = b""
        while not answered and time.monotonic() - begin < SOON:
            connection.send(b"x")  # a byte now and then does not make the time longer
            try:
                answered = connection.receive()
            except TimeoutError:
                continue
        assert answered, "it was waited for as long as something came"
        connection.buffer = answered
        connection.socket.settimeout(5)
        answer = connection.response()
        assert answer.status == 408
        assert answer.problem["code"]
        assert connection.ended


def test_a_slow_body_is_408(start: StartServer) -> None:
    server = start(body_timeout=0.5)
    with RawConnection(server.address) as connection:
        connection.request("POST", "/publish", {"Content-Length": "100"})
        connection.send(b"{")
        begin = time.monotonic()
        answer = connection.response()
        assert answer.status == 408
        assert time.monotonic() - begin < SOON
        assert connection.ended


def test_a_silent_connection_is_ended(start: StartServer) -> None:
    server = start(head_timeout=0.5)
    with RawConnection(server.address) as connection:
        data = connection.read_to_end()
        assert data == b"" or b" 408 " in data


def test_an_idle_connection_is_ended(start: StartServer) -> None:
    server = start(keepalive_timeout=0.5, head_timeout=0.5)
    with RawConnection(server.address) as connection:
        assert connection.get("/healthz").status == 200
        assert connection.ended


def test_a_client_that_leaves_in_the_middle_of_a_request_is_forgotten(start: StartServer) -> None:
    server = start()
    pieces = [
        b"",
        b"GET",
        b"GET / HTTP/1.1\r\nHost:",
        post(HOST[:-2], b"Content-Length: 9", body=b"x"),
    ]
    for piece in pieces * 5:
        with RawConnection(server.address) as connection:
            connection.send(piece)
    wait_until(lambda: server.connections() == 0)


def test_thousands_of_short_connections_leave_nothing_behind(start: StartServer) -> None:
    server = start()  # whose connections are those of this test only
    for n in range(2_000):
        with RawConnection(server.address) as connection:
            connection.request("GET", f"/{['poll', 'sse', 'longpoll'][n % 3]}?channels=short")
            if n % 2 and n % 3 < 2:  # some read an answer, some leave before it
                assert connection.head()[0] == 200
    wait_until(lambda: server.connections() == 0)
