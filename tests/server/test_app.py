"""From a request to its handler: routes, methods, who may ask, and when nobody may."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from tidewire.server import routes

if TYPE_CHECKING:
    from tests.server.conftest import MakeServer, Server
    from tidewire.server.app import App
    from tidewire.server.connection import Connection
    from tidewire.server.request import Request

PAGE = "http://localhost:3000"
FOREIGN = "https://evil.example"
SUBSCRIBING = [
    "/sse?channels=a",
    "/longpoll?channels=a",
    "/poll?channels=a",
    "/subscribe?channels=a",
]

# Routes


@pytest.mark.parametrize(
    ("target", "content_type"),
    [
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/poll?channels=a", "application/json"),
        ("/subscribe?channels=a", "application/json"),
        ("/history?channel=a", "application/json"),
        ("/sse?channels=a", "text/event-stream"),
        ("/", "text/html; charset=utf-8"),
    ],
)
def test_the_addresses(app_server: Server, target: str, content_type: str) -> None:
    reply = app_server.get(target)
    assert (reply.status, reply.headers["content-type"]) == (200, content_type)


@pytest.mark.parametrize(
    "target", ["/nothing", "/pol", "/poll/", "//poll", "/POLL", "/%70oll", "/../poll", "/echo", "*"]
)
def test_there_is_nothing_else(app_server: Server, target: str) -> None:
    method = "OPTIONS" if target == "*" else "GET"
    reply = app_server.get(target, method=method)
    assert (reply.status, reply.json["code"]) == (404, "not_found")


def test_an_address_in_absolute_form(app_server: Server) -> None:
    # RFC 9112 section 3.2.2: to be accepted, and its host counts, not that of Host.
    assert app_server.get("http://localhost/poll?channels=a").status == 200
    assert app_server.get("http://localhost").status == 200
    reply = app_server.get("http://evil.example/poll?channels=a")
    assert (reply.status, reply.json["code"]) == (403, "wrong_host")


def test_a_long_address_is_told_in_short(app_server: Server) -> None:
    reply = app_server.get("/" + "a" * 5_000)
    assert len(reply.json["detail"]) < 200


def test_echo_is_there_when_asked_for(make_server: MakeServer) -> None:
    assert make_server(echo=True).get("/echo").status == 426


def test_the_console_can_be_left_out(make_server: MakeServer) -> None:
    server = make_server(console=False)
    assert [server.get(path).status for path in ("/", "/console/app.js")] == [404, 404]


@pytest.mark.parametrize("prefix", ["", "/real/time"])
@pytest.mark.parametrize(
    ("console", "client_script", "status"),
    [(True, True, 200), (False, True, 200), (False, False, 404), (True, False, 200)],
)
def test_the_client_is_served_unless_it_is_turned_off(
    make_server: MakeServer, prefix: str, console: bool, client_script: bool, status: int
) -> None:
    """The console cannot do without it."""
    server = make_server(
        console=console, client_script=client_script, path_prefix=prefix, api_key="k" * 32
    )
    reply = server.get(f"{prefix}/client.js")
    assert reply.status == status
    if status == 200:
        assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
        assert reply.headers["cross-origin-resource-policy"] == "cross-origin"
        again = server.get(f"{prefix}/client.js", {"If-None-Match": reply.headers["etag"]})
        assert (again.status, again.body) == (304, b"")


def test_a_prefix(make_server: MakeServer) -> None:
    server = make_server(path_prefix="/real/time")
    assert server.get("/real/time/healthz").status == 200
    assert server.get("/real/time/").status == 200
    for outside in ("/healthz", "/", "/real/timehealthz", "/real/time/real/time/healthz"):
        assert server.get(outside).status == 404
    moved = server.get("/real/time")
    assert (moved.status, moved.headers["location"]) == (308, "/real/time/")
    body = b'{"channel":"a","data":1}' + b" " * 100_000  # the larger limit is that of /publish
    reply = server.get("/real/time/publish", method="POST", body=body)
    assert reply.status == 200


def test_only_publish_takes_large_bodies(app_server: Server) -> None:
    body = b"x" * 100_000
    assert app_server.get("/healthz", method="POST", body=body).status == 413
    assert app_server.get("/publish?channel=a", method="POST", body=body).status == 200
    assert app_server.get("/publisher", method="POST", body=body).status == 413


def test_a_static_file_that_is_known(app_server: Server) -> None:
    page = app_server.get("/")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    again = app_server.get("/", {"If-None-Match": page.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert app_server.get("/", {"If-None-Match": '"other"'}).status == 200


# Methods


@pytest.mark.parametrize(
    ("target", "method", "allowed"),
    [
        ("/poll?channels=a", "POST", "GET, HEAD, OPTIONS"),
        ("/healthz", "DELETE", "GET, HEAD, OPTIONS"),
        ("/publish", "GET", "OPTIONS, POST"),
        ("/publish", "HEAD", "OPTIONS, POST"),
        ("/ws", "HEAD", "GET, OPTIONS"),
        ("/", "PUT", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_an_address_does_not_take(
    app_server: Server, target: str, method: str, allowed: str
) -> None:
    reply = app_server.get(target, method=method)
    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert reply.json["code"] == "method_not_allowed"


def test_options(app_server: Server) -> None:
    reply = app_server.get("/poll", method="OPTIONS")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"
    assert "access-control-allow-origin" not in reply.headers


def test_a_preflight(app_server: Server) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    reply = app_server.get("/publish", headers, method="OPTIONS")
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert reply.headers["access-control-allow-methods"] == "OPTIONS, POST"
    assert reply.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in reply.headers
    allowed = reply.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "last-event-id", "if-none-match"} <= set(allowed)


# Who may ask


@pytest.mark.parametrize("target", [*SUBSCRIBING, "/history?channel=a", "/healthz", "/nothing"])
def test_a_page_may_read_what_it_asked_for(app_server: Server, target: str) -> None:
    client = app_server.client()
    client.send(target, {"Origin": PAGE})
    if target.startswith("/longpoll"):
        app_server.publish("a")
    reply = client.reply()
    if target == "/healthz":
        assert reply.status == 200
    else:
        assert reply.headers["access-control-allow-origin"] == PAGE
        exposed = reply.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Retry-After", "Tidewire-Cursor"} <= set(exposed)


@pytest.mark.parametrize("target", [*SUBSCRIBING, "/history?channel=a", "/healthz", "/"])
@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://localhost.evil.example", ""])
def test_a_foreign_page_may_not(app_server: Server, target: str, origin: str) -> None:
    reply = app_server.get(target, {"Origin": origin})
    assert (reply.status, reply.json["code"]) == (403, "wrong_origin")
    assert "access-control-allow-origin" not in reply.headers


def test_a_foreign_page_may_not_publish(app_server: Server) -> None:
    body = b'{"channel":"a","data":1}'
    reply = app_server.get("/publish", {"Origin": FOREIGN}, method="POST", body=body)
    assert reply.status == 403
    reply = app_server.get("/publish", {"Origin": FOREIGN}, method="OPTIONS")
    assert reply.status == 403
    assert app_server.get("/history?channel=a").json["messages"] == []


def test_allowed_origins(make_server: MakeServer) -> None:
    server = make_server(allowed_origins=("https://app.example",))
    for origin, status in (("https://app.example", 200), (FOREIGN, 403), (PAGE, 403)):
        assert server.get("/poll?channels=a", {"Origin": origin}).status == status


def test_any_origin(make_server: MakeServer) -> None:
    reply = make_server(allowed_origins=("*",)).get("/poll?channels=a", {"Origin": FOREIGN})
    assert reply.headers["access-control-allow-origin"] == FOREIGN


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:8480", 200),
        ("[::1]:1", 200),
        ("evil.example", 403),
        ("", 403),
    ],
)
def test_a_loopback_server_answers_to_loopback_names(
    app_server: Server, host: str, status: int
) -> None:
    client = app_server.client()
    reply = client.get("/poll?channels=a", {"Host": host})
    assert reply.status == status
    if status == 403:
        assert reply.json["code"] == "wrong_host"
        # What was decided of a head holds when it comes again.
        assert client.get("/poll?channels=a", {"Host": host}).status == 403


def test_allowed_hosts(make_server: MakeServer) -> None:
    server = make_server(allowed_hosts=("push.example",))
    assert server.get("/healthz", {"Host": "PUSH.example:443"}).status == 200
    assert server.get("/healthz", {"Host": "localhost"}).status == 403


def test_a_hostile_header_is_told_in_short(app_server: Server) -> None:
    reply = app_server.get("/healthz", {"Host": "h" * 5_000})
    assert len(reply.json["detail"]) < 300
    reply = app_server.get("/healthz", {"Origin": "\xff<script>" * 500})
    assert len(reply.json["detail"]) < 400


# When nobody may


def turned_away(server: Server) -> None:
    """Check how *server* refuses each kind of client, on a connection of its own."""
    for target in ("/sse?channels=a", "/subscribe?channels=a"):
        client = server.client()
        client.send(target, {"Accept": "text/event-stream", "Origin": PAGE})
        reply = client.reply()
        # An EventSource gives up for good on any other status.
        assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
        assert reply.headers["access-control-allow-origin"] == PAGE
        size, _, rest = reply.body.partition(b"\r\n")
        event = rest[: int(size, 16)].decode()
        assert rest[int(size, 16) :] == b"\r\n0\r\n\r\n"
        fields = dict(line.split(": ", 1) for line in event.strip().split("\n"))
        assert fields["event"] == "tidewire.close"
        assert 3_000 <= int(fields["retry"]) <= 9_000
        close = json.loads(fields["data"])
        assert (close["code"], close["retry"]) == (1013, int(fields["retry"]))
        assert client.closed()
    client = server.client()
    client.send("/sse?channels=a&named=false", {"Accept": "text/event-stream"})
    reply = client.reply()
    assert b"event:" not in reply.body
    assert b'data: {"type":"close","code":1013,' in reply.body
    for target in (*SUBSCRIBING, "/history?channel=a", "/ws", "/"):
        client = server.client()
        client.send(target, {"Origin": PAGE})
        reply = client.reply()
        assert (reply.status, reply.json["code"]) == (503, "unavailable"), target
        assert 1 <= int(reply.headers["retry-after"]) <= 5
        assert reply.headers["connection"] == "close"
        assert reply.headers["access-control-allow-origin"] == PAGE
        assert client.closed()
    assert server.get("/healthz").status == 200


def test_a_full_server_turns_away(make_server: MakeServer) -> None:
    server = make_server(max_connections=2)
    first, second = server.client(), server.client()
    turned_away(server)
    assert first.get("/poll?channels=a").status == 200
    assert server.get("/readyz").status == 200
    second.leave()
    for client in list(server.app.connections):
        if client is not first.connection:
            client.connection_lost(None)
    assert server.get("/poll?channels=a").status == 200


def test_a_draining_server_turns_away(app_server: Server) -> None:
    app_server.app.drain()
    turned_away(app_server)
    reply = app_server.get("/readyz")
    assert (reply.status, reply.json["code"]) == (503, "unavailable")
    assert "retry-after" in reply.headers


def test_who_is_turned_away_keeps_its_cursor(app_server: Server) -> None:
    app_server.app.drain()
    cursor = f"{app_server.engine.epoch}-5"
    headers = {"Accept": "text/event-stream", "Last-Event-ID": cursor}
    assert f"id: {cursor}\n".encode() in app_server.get("/sse?channels=a", headers).body
    headers["Last-Event-ID"] = "\xe9\x85"  # what is no cursor of ours is not sent back
    assert b"id: \n" in app_server.get("/sse?channels=a", headers).body


def test_a_request_without_an_event_stream_in_mind_is_told_plainly(app_server: Server) -> None:
    app_server.app.drain()
    assert app_server.get("/poll?channels=a", {"Accept": "text/event-stream"}).status == 503


def test_draining_ends_what_is_open(app_server: Server) -> None:
    stream, poll, idle = app_server.client(), app_server.client(), app_server.client()
    stream.get("/sse?channels=a")
    poll.send("/longpoll?channels=a")
    assert poll.read() == b""
    assert not app_server.app.nobody.is_set()
    app_server.app.drain()
    assert b"event: tidewire.close\n" in stream.read()
    assert poll.reply().status == 204
    for client in (stream, poll, idle):
        assert client.closed()
        client.leave()
    assert app_server.app.nobody.is_set()


# Failures


def test_a_handler_that_fails_is_answered_and_logged(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(app: App, request: Request, connection: Connection) -> None:
        raise ValueError("the reason")

    monkeypatch.setattr(routes, "_healthz", fail)
    client = make_server().client()
    with caplog.at_level(logging.ERROR):
        reply = client.get("/healthz?secret")
    assert (reply.status, reply.json["code"]) == (500, "internal")
    assert "the reason" not in reply.body.decode()
    assert "the reason" in caplog.text
    assert client.get("/poll?channels=a").status == 200
