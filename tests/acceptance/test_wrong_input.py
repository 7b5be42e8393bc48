"""Wrong requests: each gets its status and code, none a traceback, and the server goes on."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.acceptance.raw_http import RawConnection, Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

MIB = 1 << 20


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[RawConnection]:
    """A connection of the test's own; afterwards the server must still serve others."""
    with RawConnection(server.address) as connection:
        yield connection
    with RawConnection(server.address) as witness:
        result = witness.post("/publish", {"channel": "witness", "data": "still here"})
        assert result.status == 200


def refused(answer: Response, status: int, code: str | None = None) -> None:
    """Check an error for its status, its document and, where it is known, its code."""
    assert answer.status == status, answer
    problem = answer.problem
    assert problem["code"]
    assert "Traceback" not in problem["detail"]
    if code is not None:
        assert problem["code"] == code


def publish_bytes(connection: RawConnection, body: bytes, target: str = "/publish") -> Response:
    """Send bytes as a JSON publish."""
    connection.request("POST", target, {"Content-Type": "application/json"}, body)
    return connection.response()


def deep(levels: int, opening: str = "[", closing: str = "]") -> str:
    """JSON with so many levels."""
    return opening * levels + closing * levels


BAD_JSON: dict[str, str | bytes] = {
    "empty": "",
    "cut off": '{"channel":"a","data":',
    "no JSON": "hello",
    "an array": "[]",
    "a string": '"text"',
    "null": "null",
    "NaN": '{"channel":"a","data":NaN}',
    "Infinity": '{"channel":"a","data":[-Infinity]}',
    "single quotes": "{'channel':'a','data':1}",
    "trailing comma": '{"channel":"a","data":[1,]}',
    "trailing bytes": '{"channel":"a","data":1}{"channel":"a","data":2}',
    "leading zero": '{"channel":"a","data":01}',
    "control character in a string": '{"channel":"a","data":"a\nb"}',
    "lone surrogate": '{"channel":"a","data":"\\ud800"}',
    "lone surrogate as a key": '{"channel":"a","data":{"\\udfff":1}}',
    "swapped surrogates": '{"channel":"a","data":"\\udc00\\ud800"}',
    "surrogate as bytes": b'{"channel":"a","data":"\xed\xa0\x80"}',
    "invalid UTF-8": b'{"channel":"a","data":"\xff"}',
    "overlong UTF-8": b'{"channel":"a","data":"\xc0\xaf"}',
    "UTF-16": '{"channel":"a","data":1}'.encode("utf-16"),
    "NUL after it": b'{"channel":"a","data":1}\0',
    "deep": f'{{"channel":"a","data":{deep(100)}}}',
    "very deep": f'{{"channel":"a","data":{deep(100_000)}}}',
    "deep objects": '{"channel":"a","data":' + '{"a":' * 100 + "1" + "}" * 101,
    "deep and open": f'{{"channel":"a","data":{"[" * 200_000}',
    "unknown field": '{"channel":"a","data":1,"surprise":1}',
    "no channel": '{"data":1}',
    "no data": '{"channel":"a"}',
    "channel is a number": '{"channel":1,"data":1}',
    "channel is null": '{"channel":null,"data":1}',
    "event is a number": '{"channel":"a","data":1,"event":1}',
    "key is a number": '{"channel":"a","data":1,"key":1}',
    "empty key": '{"channel":"a","data":1,"key":""}',
    "key of 256 bytes": json.dumps({"channel": "a", "data": 1, "key": "é" * 128}),
    "headers is a list": '{"channel":"a","data":1,"headers":[]}',
    "headers with a number": '{"channel":"a","data":1,"headers":{"a":1}}',
    "headers with a lone surrogate": '{"channel":"a","data":1,"headers":{"a":"\\ud800"}}',
    "event with a lone surrogate": '{"channel":"a","data":1,"event":"\\ud800"}',
    "key with a lone surrogate": '{"channel":"a","data":1,"key":"\\ud800"}',
    "messages is an object": '{"messages":{}}',
    "messages with a number": '{"messages":[1]}',
    "both forms": '{"channel":"a","data":1,"messages":[]}',
    "base64 of a number": '{"channel":"a","data":1,"encoding":"base64"}',
    "base64 without padding": '{"channel":"a","data":"QQ","encoding":"base64"}',
    "base64 with a space": '{"channel":"a","data":"QQ ==","encoding":"base64"}',
    "unknown encoding": '{"channel":"a","data":"x","encoding":"gzip"}',
}


@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_publications(connection: RawConnection, body: str | bytes) -> None:
    raw = body if isinstance(body, bytes) else body.encode()
    refused(publish_bytes(connection, raw), 400)
    answer = connection.get("/healthz")  # the same connection is still good
    assert answer.status == 200


def test_a_number_of_many_digits(connection: RawConnection) -> None:
    for digits in (5_000, 200_000):
        answer = publish_bytes(connection, b'{"channel":"digits","data":%b}' % (b"9" * digits))
        assert answer.status in (200, 400), "taken as it is, or refused"
        if answer.status == 400:
            refused(answer, 400)


def test_depth_at_the_limit(connection: RawConnection) -> None:
    ok = f'{{"channel":"depth","data":{deep(60)}}}'
    assert publish_bytes(connection, ok.encode()).status == 200
    brackets = json.dumps({"channel": "depth", "data": "[" * 1000 + '\\"' + "{" * 1000})
    assert publish_bytes(connection, brackets.encode()).status == 200
    refused(publish_bytes(connection, f'{{"channel":"d","data":{deep(65)}}}'.encode()), 400)


BAD_NAMES = ["", "a b", "é", "a,b", "a?b", "a*", "a\0", "a\n", "x" * 256, "<b>", '"', "\\", "a%"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_bad_channel_names_in_a_publish(connection: RawConnection, name: str) -> None:
    answer = connection.post("/publish", {"channel": name, "data": 1})
    refused(answer, 400, "invalid_channel")


class Wrong(NamedTuple):
    """A GET and what it gets; ``code`` where the contract or the common sense of it has one."""

    target: str
    status: int = 400
    code: str | None = None


SUBSCRIBERS = ["/sse", "/longpoll", "/poll", "/subscribe"]
WRONG_QUERIES = {
    "no channels": Wrong("", 400, "no_channels"),
    "empty channels": Wrong("channels="),
    "bad name": Wrong("channels=a%20b", 400, "invalid_channel"),
    "long name": Wrong(f"channels={'x' * 256}", 400, "invalid_channel"),
    "one bad name of two": Wrong("channels=a&channels=%C3%A9", 400, "invalid_channel"),
    "too many channels": Wrong("channels=" + ",".join(map(str, range(300)))),
    "bad cursor": Wrong("channels=a&cursor=nonsense", 400, "invalid_cursor"),
    "bad since": Wrong("channels=a&since=yesterday", 400, "invalid_since"),
    "since of a float": Wrong("channels=a&since=1.5", 400, "invalid_since"),
    "since minus nothing": Wrong("channels=a&since=-", 400, "invalid_since"),
    "since minus zero": Wrong("channels=a&since=-0", 400, "invalid_since"),
    "since of many digits": Wrong(f"channels=a&since={'9' * 5000}", 400, "invalid_since"),
    "since in other digits": Wrong("channels=a&since=%D9%A1", 400, "invalid_since"),
    "bad format": Wrong("channels=a&format=xml", 400, "invalid_format"),
    "raw of two channels": Wrong("channels=a,b&format=raw", 400, "invalid_format"),
    "not UTF-8": Wrong("channels=%FF"),
}


@pytest.mark.parametrize("path", SUBSCRIBERS)
@pytest.mark.parametrize("wrong", WRONG_QUERIES.values(), ids=WRONG_QUERIES)
def test_wrong_queries(connection: RawConnection, path: str, wrong: Wrong) -> None:
    answer = connection.get(f"{path}?{wrong.target}")
    refused(answer, wrong.status, wrong.code)


@pytest.mark.parametrize(
    "wait", ["0", "61", "-1", "x", "", "NaN", "Infinity", "1e3", "1_0", "9" * 5000, "%D9%A1"]
)
def test_a_bad_wait(connection: RawConnection, wait: str) -> None:
    refused(connection.get(f"/longpoll?channels=a&wait={wait}"), 400, "invalid_wait")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "channel=",
        "channel=a%20b",
        "channel=a&limit=0",
        "channel=a&limit=-1",
        "channel=a&limit=x",
        f"channel=a&limit={'9' * 5000}",
        "channel=a&cursor=nonsense",
        "channel=a&since=yesterday",
        "channel=%FF",
    ],
)
def test_wrong_histories(connection: RawConnection, query: str) -> None:
    refused(connection.get(f"/history?{query}"), 400)


@pytest.mark.parametrize(
    ("query", "content_type"),
    [
        ("channel=a%20b", "text/plain"),
        ("channel=", "text/plain"),
        ("channel=a&event=tidewire.x", "text/plain"),
        ("channel=a&event=a%0Ab", "text/plain"),
        (f"channel=a&key={'x' * 256}", "text/plain"),
        ("channel=a&surprise=1", "text/plain"),
        ("channel=a", "application/json"),
    ],
)
def test_wrong_publishes_with_a_query(
    connection: RawConnection, query: str, content_type: str
) -> None:
    connection.request("POST", f"/publish?{query}", {"Content-Type": content_type}, b"{text")
    refused(connection.response(), 400)


# Sizes


def test_a_message_at_the_limit_and_over_it(connection: RawConnection) -> None:
    data = "x" * (MIB - 2)  # with its quotes one MiB of JSON
    assert connection.post("/publish", {"channel": "big", "data": data}).status == 200
    answer = connection.post("/publish", {"channel": "big", "data": data + "x"})
    refused(answer, 413, "too_large")
    batch = {"messages": [{"channel": "big", "data": 1}, {"channel": "big", "data": data + "x"}]}
    refused(connection.post("/publish", batch), 413, "too_large")
    headers = {"Content-Type": "text/plain"}
    connection.request("POST", "/publish?channel=big", headers, b"x" * (MIB + 1))
    refused(connection.response(), 413, "too_large")


def test_a_declared_body_over_the_limit_is_refused_before_it_comes(
    connection: RawConnection,
) -> None:
    connection.request("POST", "/publish", {"Content-Length": str(9 * MIB)})
    refused(connection.response(), 413, "too_large")
    assert connection.ended


def test_a_chunked_body_over_the_limit(connection: RawConnection) -> None:
    connection.request("POST", "/publish", {"Transfer-Encoding": "chunked"})
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    try:
        for _ in range(8 * MIB // 65536 + 2):
            connection.send(chunk)
    except ConnectionError:
        pass  # the answer may come, and the connection end, before all is sent
    refused(connection.response(), 413, "too_large")


def test_a_huge_declared_length(connection: RawConnection) -> None:
    for length in ("99999999999999999999999", "18446744073709551616"):
        with RawConnection(connection.address) as other:
            other.request("POST", "/publish", {"Content-Length": length})
            answer = other.response()
            assert answer.status in (400, 413)
            refused(answer, answer.status)
            assert other.ended


def test_a_target_over_the_limit(connection: RawConnection) -> None:
    fits = "/poll?channels=a&device=" + "x" * (8192 - 24)
    assert connection.get(fits).status == 200
    refused(connection.get(fits + "x"), 414)


def test_a_head_over_the_limit(connection: RawConnection) -> None:
    assert connection.get("/healthz", {"X-Long": "x" * 15_000}).status == 200
    refused(connection.get("/healthz", {"X-Long": "x" * 17_000}), 431)


def test_a_head_of_many_fields(connection: RawConnection) -> None:
    refused(connection.get("/healthz", {f"X-{n}": "x" * 100 for n in range(200)}), 431)


def test_an_endless_head(server: ServerProcess, connection: RawConnection) -> None:
    before = server.resident_memory()
    connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Endless: ")
    with contextlib.suppress(ConnectionError):  # it may end while there is still something to send
        for _ in range(64):
            connection.send(b"x" * MIB)
    assert server.resident_memory() - before < 16 * MIB, "the server keeps what it will refuse"
    refused(connection.response(), 431)


def test_an_endless_target(connection: RawConnection) -> None:
    try:
        connection.send(b"GET /" + b"x" * 100_000)
        refused(connection.response(), 414)
    except ConnectionResetError:
        pytest.fail("the connection was reset before the answer could be read")


# Addresses, methods, origins and hosts


@pytest.mark.parametrize(
    "target", ["/nothing", "/poll/", "//poll", "/POLL", "/poll%2F", "/../poll", "/%00", "/.env"]
)
def test_not_found(connection: RawConnection, target: str) -> None:
    refused(connection.get(target), 404, "not_found")


METHODS = {
    "/poll": {"GET"},
    "/longpoll": {"GET"},
    "/sse": {"GET"},
    "/ws": {"GET"},
    "/subscribe": {"GET"},
    "/history": {"GET", "DELETE"},
    "/channels": {"DELETE"},
    "/publish": {"POST"},
    "/ack": {"POST"},
    "/nack": {"POST"},
    "/receipts": {"GET"},
    "/metrics": {"GET"},
    "/healthz": {"GET"},
    "/readyz": {"GET"},
}


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_method_not_allowed(connection: RawConnection, path: str, method: str) -> None:
    if method in METHODS[path]:
        return
    connection.request(method, path, {}, b"")
    answer = connection.response()
    refused(answer, 405, "method_not_allowed")
    allowed = set(answer.headers["allow"].replace(" ", "").split(","))
    assert METHODS[path] <= allowed
    assert method not in allowed


OUR_PATHS = [
    "/poll?channels=a",
    "/longpoll?channels=a&wait=1",
    "/sse?channels=a",
    "/history?channel=a",
    "/ws",
]
FOREIGN = [
    "https://evil.example",
    "https://evil.example:80",
    "null",
    "file://",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://[::1].evil.example",
    "http://evil.example/127.0.0.1",
    "http://localhost@evil.example",
]


@pytest.mark.parametrize("path", OUR_PATHS)
@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_origin_is_refused(connection: RawConnection, path: str, origin: str) -> None:
    headers = {"Origin": origin}
    if path == "/ws":
        headers |= {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
    answer = connection.get(path, headers)
    refused(answer, 403)
    assert "access-control-allow-origin" not in answer.headers


def test_a_foreign_origin_cannot_publish(connection: RawConnection) -> None:
    body = b'{"channel":"foreign","data":1}'
    headers: dict[str, str] = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    connection.request("POST", "/publish", headers, body)
    refused(connection.response(), 403)
    connection.request("POST", "/publish?channel=foreign", headers, body)
    refused(connection.response(), 403)
    assert connection.get("/history?channel=foreign").json()["messages"] == []


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:5173", "same"])
def test_a_near_origin_is_let_in(
    server: ServerProcess, connection: RawConnection, origin: str
) -> None:
    origin = server.url if origin == "same" else origin
    answer = connection.get("/poll?channels=a", {"Origin": origin})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert "origin" in answer.headers["vary"].lower()


def test_set_origins(start: StartServer) -> None:
    server = start(allowed_origins="https://app.example,https://other.example:8443")
    cases = [
        ("https://app.example", 200),
        ("https://other.example:8443", 200),
        ("https://other.example", 403),
        ("http://app.example", 403),
        ("https://app.example.evil.example", 403),
        ("https://evil.example", 403),
    ]
    with RawConnection(server.address) as connection:
        for origin, status in cases:
            answer = connection.get("/poll?channels=a", {"Origin": origin})
            assert answer.status == status, origin


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost@evil.example"]
)
def test_a_foreign_host_is_refused(connection: RawConnection, host: str) -> None:
    answer = connection.get("/poll?channels=a", {"Host": host})
    assert answer.status in (400, 403, 421), answer
    refused(answer, answer.status)


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_a_loopback_host_is_served(connection: RawConnection, host: str) -> None:
    assert connection.get("/healthz", {"Host": host}).status == 200


def test_set_hosts(start: StartServer) -> None:
    server = start(allowed_hosts="push.example")
    with RawConnection(server.address) as connection:
        assert connection.get("/poll?channels=a", {"Host": "push.example"}).status == 200
        assert connection.get("/poll?channels=a", {"Host": "evil.example"}).status != 200


def test_full(start: StartServer) -> None:
    server = start(max_connections=3)
    held = [RawConnection(server.address) for _ in range(3)]
    for connection in held:
        assert connection.get("/healthz").status == 200
    with RawConnection(server.address) as late:
        answer = late.get("/poll?channels=a")
        refused(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
    with RawConnection(server.address) as late:
        answer = late.get("/sse?channels=a", {"Accept": "text/event-stream"})
        assert answer.status == 200
        assert b"event: tidewire.close" in answer.body
        assert b"retry: " in answer.body
    assert held[0].get("/poll?channels=a").status == 200
    for connection in held:
        connection.socket.close()


# Anything at all

ALL_TARGETS = [*(f"{path}?channels=a" for path in METHODS), "/", "/publish?channel=a", "/metrics"]


def hostile_heads() -> Iterator[str]:
    """Requests that no client would send."""
    junk = ["X: \xff\xfe", "Last-Event-ID: \xff", "Cookie: " + "a=b;" * 500, "Accept: \x85"]
    for target, field in itertools.product(ALL_TARGETS, junk):
        yield f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{field}\r\nConnection: close\r\n\r\n"


def test_hostile_headers_are_never_a_fault_of_the_server(server: ServerProcess) -> None:
    for head in hostile_heads():
        if "/longpoll" not in head:  # it would be held
            with RawConnection(server.address) as connection:
                connection.send(head.encode("latin-1"))
                status, _ = connection.head()
                assert status < 500, head


DIGITS = ["\xb2", "\xb9\xb2", "1_0", "+1", "1e1", "", '"', "9" * 5_000]
"""What Python takes for a number, or nearly, and HTTP does not; as far as Latin-1 has it."""


@pytest.mark.parametrize("digits", DIGITS, ids=lambda digits: ascii(digits[:9]))
def test_odd_digits_in_headers_are_never_a_fault_of_the_server(
    connection: RawConnection, digits: str
) -> None:
    handshake = (
        "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; "
    )
    heads = [
        f"{handshake}server_max_window_bits={digits}",
        f"{handshake}client_max_window_bits={digits}",
        f"GET /subscribe?channels=a HTTP/1.1\r\nPrefer: wait={digits}",
    ]
    for head in heads:
        with RawConnection(connection.address, timeout=1) as other:
            other.send(f"{head}\r\nHost: localhost\r\n\r\n".encode("latin-1"))
            with contextlib.suppress(TimeoutError):  # taken for a number, and held so long
                status, _ = other.head()
                assert status < 500, head


@pytest.mark.parametrize("name", ["channels", "cursor", "since", "format"])
def test_nothing_of_a_request_comes_back_as_markup(connection: RawConnection, name: str) -> None:
    answer = connection.get(f"/poll?{name}=%3Cscript%3Ealert(1)%3C/script%3E")
    refused(answer, 400)
    assert answer.headers["x-content-type-options"] == "nosniff"
