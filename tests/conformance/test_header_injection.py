"""Nothing that a client sends puts a line into the head of an answer, or into a stream."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_http import RawConnection

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

HEAD = re.compile(
    rb"HTTP/1\.1 [1-5][0-9][0-9] [A-Za-z -]+\r\n(?:[A-Za-z-]+: [\x20-\x7e\x80-\xff]*\r\n)*\r\n"
)
"""A head of which each line is one: no control character, no line's end but those of its lines."""

BREAKS = {
    "CR LF": "%0d%0a",
    "LF": "%0a",
    "CR": "%0d",
    "LF CR": "%0a%0d",
    "two lines": "%0d%0a%0d%0a",
    "NUL": "%00",
    "encoded twice": "%250d%250a",
    "U+2028": "%e2%80%a8",
    "U+0085": "%c2%85",
    "overlong": "%c0%8d%c0%8a",
    "wide": "%e5%98%8d%e5%98%8a",  # U+560D U+560A: CR LF for who keeps the low bytes alone
}
"""What some servers have taken for the end of a line, as it stands in a URL."""

TARGETS = [
    "/poll?channels={}",
    "/poll?channels=a&cursor={}",
    "/poll?channels=a&lastEventId={}",
    "/poll?channels=a&since={}",
    "/poll?channels=a&format={}",
    "/poll?channels=a&device={}",
    "/poll?channels=a&session={}",
    "/poll?channels=a&consumer={}",
    "/poll?channels=a&{}=1",
    "/poll?channels=a&token={}",
    "/poll?channels=a&ticket={}",
    "/longpoll?channels=a&wait={}",
    "/sse?channels={}",
    "/sse?channels=a&device={}",
    "/sse?channels=a&cursor={}",
    "/subscribe?channels=a&device={}",
    "/history?channel={}",
    "/history?channel=a&limit={}",
    "/receipts?channel=a&eventId={}",
    "/{}",
    "/poll{}?channels=a",
    "//{}/poll",
]


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    """A server for all origins: that of the request then stands in each answer."""
    return start_shared(allowed_origins="*")


def check_head(data: bytes) -> None:
    """Check that a head is one, and has no field that it should not have."""
    assert HEAD.fullmatch(data), data
    assert b"\r\ninjected:" not in data.lower(), data


@pytest.mark.parametrize("line_end", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("target", TARGETS)
def test_a_line_in_a_url(server: ServerProcess, target: str, line_end: str) -> None:
    with RawConnection(server.address) as connection:
        connection.request("GET", target.format(f"a{line_end}Injected:%20yes"))
        check_head(connection.read_until(b"\r\n\r\n"))


@pytest.mark.parametrize("line_end", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("name", ["channel", "event", "key", "ttl", "version"])
def test_a_line_in_the_url_of_a_publish(server: ServerProcess, name: str, line_end: str) -> None:
    with RawConnection(server.address) as connection:
        query = f"channel=a&{name}=a{line_end}Injected:%20yes"
        connection.request("POST", f"/publish?{query}", {"Content-Type": "text/plain"}, b"x")
        check_head(connection.read_until(b"\r\n\r\n"))


FIELDS = [
    "Origin",
    "Last-Event-ID",
    "If-None-Match",
    "If-Modified-Since",
    "Accept",
    "Authorization",
    "X-API-Key",
    "Prefer",
    "User-Agent",
    "Cookie",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
]

IN_FIELDS = {
    "an LF": b"\nInjected: yes",
    "a CR": b"\rInjected: yes",
    "a NUL": b"\0Injected: yes",
    "U+0085 in Latin-1": b"\x85Injected: yes",
    "U+2028 in UTF-8": b"\xe2\x80\xa8Injected: yes",
    "in a URL's way": b"%0d%0aInjected: yes",
    "as an escape": b"\\r\\nInjected: yes",
}

HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

BY_FIELDS = {
    "a poll": b"GET /poll?channels=a HTTP/1.1\r\n",
    "a long poll": b"GET /longpoll?channels=a&since=start HTTP/1.1\r\n",
    "a stream": b"GET /sse?channels=a HTTP/1.1\r\n",
    "a WebSocket": b"GET /ws?channels=a HTTP/1.1\r\n" + HANDSHAKE,
    "a preflight": b"OPTIONS /poll HTTP/1.1\r\n",
    "metrics": b"GET /metrics HTTP/1.1\r\n",
    "nothing": b"GET /nothing HTTP/1.1\r\n",
    "a negotiation": b"POST /negotiate HTTP/1.1\r\nContent-Length: 0\r\n",
}


@pytest.fixture(scope="module", autouse=True)
def _published(server: ServerProcess) -> None:
    """Something to be had at once."""
    with RawConnection(server.address) as connection:
        assert connection.post("/publish", {"channel": "a", "data": 1}).status == 200


@pytest.mark.parametrize("request_line", BY_FIELDS.values(), ids=BY_FIELDS)
@pytest.mark.parametrize("name", FIELDS)
def test_a_line_in_a_header(server: ServerProcess, name: str, request_line: bytes) -> None:
    for value in (
        before + line for before in (b"", b"http://a.example") for line in IN_FIELDS.values()
    ):
        with RawConnection(server.address) as connection:
            field = b"%b: %b\r\n" % (name.encode(), value)
            connection.send(request_line + b"Host: localhost\r\n" + field + b"\r\n")
            check_head(connection.read_until(b"\r\n\r\n"))


@pytest.mark.parametrize("value", IN_FIELDS.values(), ids=IN_FIELDS)
def test_a_line_in_a_host(server: ServerProcess, value: bytes) -> None:
    """No host with such a character is one: so none gets into the addresses of ``/negotiate``."""
    with RawConnection(server.address) as connection:
        connection.send(b"POST /negotiate HTTP/1.1\r\nHost: localhost%b\r\n\r\n" % value)
        answer = connection.response()
        assert (answer.status, answer.problem["code"]) == (400, "bad_http")


def test_a_line_in_a_message_stays_in_its_data(server: ServerProcess) -> None:
    """Headers, keys and data of a message are the publisher's: they are no lines of any answer."""
    line = "a\r\nInjected: yes\r\n\r\ndata: more\n\n"
    message = {"channel": "lines", "data": line, "headers": {line: line}, "key": line}
    with RawConnection(server.address) as connection:
        connection.post("/publish", message)
        envelope = connection.get("/history?channel=lines").json()["messages"][0]
        assert envelope["data"] == line
        assert envelope["headers"] == {line: line}
        connection.request("GET", "/sse?channels=lines&since=start")
        check_head(connection.read_until(b"\r\n\r\n"))
        events = ""
        while '"type":"message"' not in events:
            events += connection.chunk().decode()
        (data,) = (line for line in events.split("\n") if '"type":"message"' in line)
        assert json.loads(data.removeprefix("data: ")) == envelope
