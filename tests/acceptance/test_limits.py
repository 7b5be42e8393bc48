"""Limits: what the last one within gets, what the first one beyond, and that others go on."""

from __future__ import annotations

import json
import re
import resource
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.credentials import KEY, SECRET, bearer, token
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import (
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    frame,
)
from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.raw_http import Response
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

EVENTS = {"Accept": "text/event-stream"}
SAMPLE = re.compile(r'tidewire_(refusals_total|breaker)\{reason="(\w+)"\} ([0-9.]+)')
FILES = 128
SERVED = 96
"""Of so many descriptors those up to this one are for clients that are served."""


def ask(server: ServerProcess, target: str, headers: dict[str, str] | None = None) -> Response:
    """One request on a connection of its own."""
    with RawConnection(server.address) as client:
        return client.get(target, headers)


def refusals(server: ServerProcess) -> dict[str, int]:
    """What the server has refused so far, by reason."""
    text = ask(server, "/metrics").body.decode()
    return {
        reason: int(float(value))
        for kind, reason, value in SAMPLE.findall(text)
        if kind == "refusals_total" and float(value)
    }


def breaker_open(server: ServerProcess, reason: str) -> bool:
    """Whether the server refuses new clients for *reason*."""
    text = ask(server, "/metrics").body.decode()
    values = {found: value for kind, found, value in SAMPLE.findall(text) if kind == "breaker"}
    return float(values[reason]) == 1


def check_refused(answer: Response, status: int, most: int = 5) -> None:
    """A refusal says when to come back, in *most* seconds, and ends the connection."""
    assert answer.status == status, answer
    assert answer.problem["code"] == {429: "too_many_requests", 503: "unavailable"}[status]
    assert 1 <= int(answer.headers["retry-after"]) <= most
    assert answer.headers["connection"] == "close"


def check_put_off(answer: Response) -> None:
    """An EventSource, which would give up for good, is told to come back in its own way."""
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert b"event: tidewire.close\n" in answer.body
    assert re.search(rb"^retry: [0-9]{4,6}$", answer.body, re.MULTILINE)


class Clients:
    """Connections to a server, all of which are closed with the test."""

    def __init__(self) -> None:
        self._opened: list[RawConnection] = []

    def http(self, server: ServerProcess) -> RawConnection:
        """A connection."""
        self._opened.append(RawConnection(server.address))
        return self._opened[-1]

    def stream(self, server: ServerProcess, headers: dict[str, str] | None = None) -> RawConnection:
        """A connection with an event stream of the channel "news"; any status is possible."""
        stream = self.http(server)
        stream.request("GET", "/sse?channels=news", headers)
        return stream

    def handshake(self, server: ServerProcess, target: str) -> tuple[RawWebSocket, Response]:
        """A connection, and the answer to its wish to become a WebSocket."""
        client = RawWebSocket(server.address)
        self._opened.append(client)
        return client, client.handshake(target)

    def websocket(self, server: ServerProcess, target: str = "/ws") -> RawWebSocket:
        """A WebSocket that has read what comes first."""
        client, answer = self.handshake(server, target)
        assert answer.status == 101, answer
        if target.startswith("/ws"):
            assert client.read_envelope()["type"] == "ready"
        return client

    def fill(self, server: ServerProcess) -> list[RawConnection]:
        """Open event streams until one is refused."""
        streams: list[RawConnection] = []
        while len(streams) < FILES:
            stream = self.stream(server)
            status, _ = stream.head()
            if status == 503:
                stream.socket.close()
                return streams
            assert status == 200
            streams.append(stream)
        raise AssertionError("nobody was refused")

    def close(self) -> None:
        for one in self._opened:
            one.socket.close()


@pytest.fixture
def clients() -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


# Connections of one address


def test_connections_of_one_address(start: StartServer, clients: Clients) -> None:
    server = start(max_connections_per_ip=3)
    streams = [clients.websocket(server, "/ws?channels=news") for _ in range(3)]
    with RawWebSocket(server.address) as late:
        answer = late.handshake("/ws?channels=news")
        check_refused(answer, 429)
    check_refused(ask(server, "/poll?channels=news"), 429)
    check_put_off(ask(server, "/sse?channels=news", EVENTS))
    assert ask(server, "/healthz").status == 200
    assert refusals(server) == {"connections_per_ip": 3}
    assert streams[0].command(type="ping", ref=1)["type"] == "ok"
    streams[0].socket.close()
    wait_until(lambda: ask(server, "/poll?channels=news").status == 200)


def test_behind_a_proxy_the_address_that_it_names_counts(
    start: StartServer, clients: Clients
) -> None:
    server = start(max_connections_per_ip=2, trusted_proxies="127.0.0.0/8")
    named = {"X-Forwarded-For": "6.6.6.6, 203.0.113.1"}
    streams = [clients.stream(server, named) for _ in range(2)]
    assert [stream.head()[0] for stream in streams] == [200, 200]
    proxy = [clients.http(server) for _ in range(2)]
    answer = proxy[0].get("/poll?channels=a", {"X-Forwarded-For": "203.0.113.1"})
    assert (answer.status, "retry-after" in answer.headers) == (429, True)
    for connection in proxy:  # the same connections serve others
        for headers in ({"Forwarded": "for=203.0.113.2"}, {"X-Forwarded-For": "2001:db8::1"}, {}):
            assert connection.get("/poll?channels=a", headers).status == 200
    streams[0].socket.close()
    headers = {"X-Forwarded-For": "203.0.113.1"}
    wait_until(lambda: proxy[1].get("/poll?channels=a", headers).status == 200)


def test_who_is_no_proxy_cannot_name_another_address(start: StartServer) -> None:
    server = start(max_connections_per_ip=1, trusted_proxies="192.0.2.1")
    with RawConnection(server.address) as first:
        assert first.get("/poll?channels=a", {"X-Forwarded-For": "203.0.113.1"}).status == 200
        check_refused(ask(server, "/poll?channels=a", {"X-Forwarded-For": "203.0.113.2"}), 429)


# New connections a second


def test_new_connections_a_second(start: StartServer) -> None:
    server = start(max_connection_rate=20)
    begin = time.monotonic()
    statuses = [ask(server, "/poll?channels=a").status for _ in range(200)]
    seconds = time.monotonic() - begin
    served = statuses.count(200)
    assert set(statuses) == {200, 503}
    assert 40 <= served <= 40 + 20 * seconds + 1
    assert statuses[:40] == [200] * 40
    assert ask(server, "/healthz").status == 200
    assert refusals(server) == {"connection_rate": 200 - served}


def test_what_is_open_goes_on_while_new_ones_are_refused(
    start: StartServer, clients: Clients
) -> None:
    server = start(max_connection_rate=0.01)  # the first one, and the next in 100 s
    first = clients.websocket(server, "/ws?channels=news")
    for _ in range(20):
        check_refused(ask(server, "/poll?channels=news"), 503, most=305)
    check_put_off(ask(server, "/sse?channels=news", EVENTS))
    assert first.command(type="publish", ref=1, channel="other", data=1)["seq"] == 1


# The breaker: descriptors


def publish(server: ServerProcess, connection: RawConnection, data: object) -> None:
    answer = connection.post("/publish", {"channel": "news", "data": data})
    assert answer.status == 200, answer


def test_new_clients_are_refused_before_descriptors_run_out(
    start: StartServer, clients: Clients, tmp_path: Path
) -> None:
    server = start(files=FILES, engine=f"sqlite:///{tmp_path}/log.db")
    publisher = clients.http(server)
    publish(server, publisher, "before")
    streams = clients.fill(server)
    assert 60 < len(streams) < SERVED
    assert server.descriptors() <= SERVED + 1
    check_refused(ask(server, "/poll?channels=news"), 503)
    check_refused(ask(server, "/"), 503)
    with RawWebSocket(server.address) as late:
        check_refused(late.handshake("/ws?channels=news"), 503)
    check_put_off(ask(server, "/sse?channels=news", EVENTS))
    for target in ("/healthz", "/readyz", "/metrics"):
        assert ask(server, target).status == 200
    assert breaker_open(server, "files")
    publish(server, publisher, "while full")
    for stream in streams:
        stream.read_until(b'"data":"while full"')
    for stream in streams[:20]:
        stream.socket.close()
    wait_until(lambda: ask(server, "/poll?channels=news").status == 200)
    assert not breaker_open(server, "files")
    assert "new clients are refused" in server.log()
    assert "new clients are served again" in server.log()


def test_a_flood_of_silent_clients_keeps_nobody_from_health_and_metrics(
    start: StartServer, clients: Clients
) -> None:
    server = start(files=FILES)
    publisher = clients.http(server)
    streams = clients.fill(server)
    silent: list[RawConnection] = []
    for number in range(3 * FILES):
        silent.append(clients.http(server))
        if number % 16 == 0:
            assert ask(server, "/healthz").status == 200
            publish(server, publisher, number)
            for stream in streams:
                stream.read_until(b'"data":%d}' % number)
    assert server.descriptors() < FILES
    assert refusals(server)["files"] > 2 * FILES
    assert "out of system resource" not in server.log()
    for connection in (*silent, *streams):
        connection.socket.close()
    wait_until(lambda: ask(server, "/poll?channels=news").status == 200)
    server.terminate()
    assert server.wait() == 0


def test_a_server_that_cannot_accept_at_all_survives_it(
    start: StartServer, clients: Clients
) -> None:
    """Its limit is taken away while it runs: what it has open is all that it may have."""
    server = start(files=FILES)
    stream = clients.stream(server)
    assert stream.head()[0] == 200
    publisher = clients.http(server)
    publish(server, publisher, 1)
    resource_limit(server, server.descriptors())
    for _ in range(100):
        with RawConnection(server.address) as late:
            late.send(b"GET /poll?channels=news HTTP/1.1\r\nHost: localhost\r\n\r\n")
            told = late.read_to_end()  # in words if a number below the others is free, else not
            assert not told or told.startswith(b"HTTP/1.1 503 ")
    publish(server, publisher, 2)
    stream.read_until(b'"data":2}')
    resource_limit(server, FILES)
    wait_until(lambda: ask_or_none(server) == 200)


def resource_limit(server: ServerProcess, files: int) -> None:
    """Give a running server another limit."""
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (files, hard))


def ask_or_none(server: ServerProcess) -> int | None:
    try:
        return ask(server, "/poll?channels=news").status
    except ConnectionError:
        return None


# The breaker: memory


def test_new_clients_are_refused_when_memory_is_short(start: StartServer, clients: Clients) -> None:
    limit = start().resident_memory() + (64 << 20)
    server = start(max_memory=limit)
    hoard = frame(TEXT, b"x" * 100_000)[:-1]  # all of a message but its end
    hoarders: list[RawWebSocket] = []
    publisher = clients.http(server)
    publish(server, publisher, 1)
    while len(hoarders) < 3_000:
        hoarder, answer = clients.handshake(server, "/ws")
        if answer.status != 101:
            check_refused(answer, 503)
            break
        hoarder.send(hoard)
        hoarders.append(hoarder)
    assert 100 < len(hoarders) < 3_000
    assert breaker_open(server, "memory")
    assert server.resident_memory() < limit + (32 << 20)
    publish(server, publisher, 2)
    for hoarder in hoarders:
        hoarder.socket.close()
    wait_until(lambda: ask(server, "/poll?channels=news").status == 200, within=40)
    assert not breaker_open(server, "memory")
    assert set(refusals(server)) == {"memory"}


# Control frames


def test_pings_up_to_a_burst_and_not_one_more(start: StartServer, clients: Clients) -> None:
    server = start(max_control_rate=5, echo=True)
    for target in ("/ws", "/echo"):
        client = clients.websocket(server, target)
        client.send(frame(PING, b"!") * 10)
        for _ in range(10):
            assert client.read_frame().opcode == PONG
        flooder = clients.websocket(server, target)
        flooder.send(frame(PING, b"!") * 11)
        close = flooder.read_close()
        assert (close.close_code, close.payload[2:]) == (4429, b"too many control frames")
        flooder = clients.websocket(server, target)
        flooder.send(frame(PONG) * 11)
        assert flooder.read_close().close_code == 4429
    assert refusals(server) == {"control_rate": 4}


def test_as_many_pings_as_are_allowed_go_on_for_ever(start: StartServer, clients: Clients) -> None:
    server = start()
    client = clients.websocket(server)
    for number in range(150):  # 150 at once would be too many
        client.send(frame(PING, b"%d" % number))
        assert client.read_frame().payload == b"%d" % number
        time.sleep(0.02)  # the pace itself, not a wait for something
    assert client.command(type="ping", ref=1)["type"] == "ok"


def test_a_flood_of_pings_is_answered_with_little(start: StartServer, clients: Clients) -> None:
    server = start(max_control_rate=0)
    client = clients.websocket(server)
    client.send(frame(PING, b"x" * 125) * 5_000)
    pongs = 0
    client.send(frame(TEXT, b'{"type":"ping","ref":1}'))
    while (received := client.read_frame()).opcode == PONG:
        pongs += 1
    assert json.loads(received.payload) == {"type": "ok", "ref": 1}
    assert 1 <= pongs < 2_500


# Messages and bytes a second


def publishes(count: int, size: int = 1) -> bytes:
    """Commands, in one piece."""
    command = '{"type":"publish","ref":%d,"channel":"other","data":"%s"}'
    return b"".join(frame(TEXT, (command % (n, "x" * size)).encode()) for n in range(count))


def answers(client: RawWebSocket, count: int) -> list[str]:
    """What becomes of *count* commands: "ok", or the code of an error."""
    envelopes = [client.read_envelope() for _ in range(count)]
    return [envelope.get("code", envelope["type"]) for envelope in envelopes]


def test_messages_a_second(start: StartServer, clients: Clients) -> None:
    server = start(max_message_rate=5)
    client, other = clients.websocket(server), clients.websocket(server)
    client.send(publishes(11))
    found = sorted(answers(client, 11))
    assert found == ["ok"] * 10 + ["too_many_requests"]
    assert other.command(type="publish", ref=1, channel="other", data=1)["seq"] == 11
    assert refusals(server) == {"message_rate": 1}


def test_bytes_a_second(start: StartServer, clients: Clients) -> None:
    server = start(max_byte_rate=5_000)
    client = clients.websocket(server)
    # Nine are nearly 10,000 bytes with what is around them; the tenth fits 0.2 s later.
    client.send(publishes(10, 1_050))
    assert sorted(answers(client, 10)) == ["ok"] * 9 + ["too_many_requests"]
    assert refusals(server) == {"byte_rate": 1}


def test_who_goes_on_is_sent_away_and_may_come_back(start: StartServer, clients: Clients) -> None:
    server = start(max_message_rate=5)
    client = clients.websocket(server)
    client.send(publishes(10 + 26))
    close = client.read_close()
    assert close.close_code == 4429
    again = clients.websocket(server)
    assert again.command(type="publish", ref=1, channel="other", data=1)["seq"] == 11


def test_publishing_over_http(start: StartServer) -> None:
    server = start(max_message_rate=0.02)
    with RawConnection(server.address) as client:
        assert client.post("/publish", {"channel": "a", "data": 1}).status == 200
        answer = client.post("/publish", {"channel": "a", "data": 1})
        assert (answer.status, answer.problem["code"]) == (429, "too_many_requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 50
        assert client.get("/poll?channels=a&since=start").json()["messages"][-1]["seq"] == 1
    assert ask(server, "/healthz").status == 200
    assert refusals(server) == {"publish_rate": 1}


def test_a_token_may_say_another_pace_and_a_key_has_none(
    start: StartServer, clients: Clients
) -> None:
    server = start(max_message_rate=0.02, api_key=KEY, token_secret=SECRET)
    rights = {"other": ["publish"]}
    slow = clients.websocket(server, f"/ws?token={token('1', rights)}")
    slow.send(publishes(2))
    assert sorted(answers(slow, 2)) == ["ok", "too_many_requests"]
    fast = clients.websocket(server, f"/ws?token={token('2', rights, limits={'messages': 10})}")
    fast.send(publishes(21))
    assert sorted(answers(fast, 21)) == ["ok"] * 20 + ["too_many_requests"]
    backend = clients.websocket(server, f"/ws?api_key={KEY}")
    backend.send(publishes(100))
    assert answers(backend, 100) == ["ok"] * 100


def test_users_publish_over_http_at_a_pace_of_their_own(start: StartServer) -> None:
    server = start(max_message_rate=0.02, api_key=KEY, token_secret=SECRET)
    for user in ("1", "2"):
        shown = bearer(token(user, {"a": ["publish"]}))
        assert [post(server, shown) for _ in range(2)] == [200, 429]
    assert [post(server, {"X-API-Key": KEY}) for _ in range(5)] == [200] * 5


def post(server: ServerProcess, headers: dict[str, str]) -> int:
    """The status of a publish on a connection of its own."""
    with RawConnection(server.address) as client:
        client.request("POST", "/publish?channel=a", headers, b"1")
        return client.response().status


# Time


def test_a_head_that_comes_a_byte_at_a_time(start: StartServer) -> None:
    server = start(head_timeout=1)
    drips(server, b"GET /poll?channels=a HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000)
    assert refusals(server) == {"slow_head": 1}


def test_a_body_that_comes_a_byte_at_a_time(start: StartServer) -> None:
    server = start(body_timeout=1)
    head = b"POST /publish?channel=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    drips(server, head + b"y" * 1_000, at_once=len(head))
    assert refusals(server) == {"slow_body": 1}


def drips(server: ServerProcess, data: bytes, at_once: int = 0) -> None:
    """Send *data* a byte every 50 ms; it must be over after a second."""
    begin = time.monotonic()  # before the server's own, which begins with the connection
    with RawConnection(server.address, timeout=0.05) as client:
        client.send(data[:at_once])
        for byte in data[at_once:]:
            client.send(bytes([byte]))
            try:
                answer = client.response()
                break
            except TimeoutError:
                assert time.monotonic() - begin < 10
        else:
            raise AssertionError("it was never over")
        assert answer.status == 408
        assert 0.8 < time.monotonic() - begin < 10


# Sizes are tested with what is wrong in frames and in requests; here is that they count


def test_sizes_and_fragments_count(start: StartServer, clients: Clients) -> None:
    server = start(max_message_size=1_000, max_fragments=4)
    large = clients.websocket(server)
    large.send(frame(TEXT, b"x", declared=100_000))
    assert large.read_close().close_code == 1009
    many = clients.websocket(server)
    many.send(frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" ", fin=False) * 5)
    assert many.read_close().close_code == 1009
    told = clients.websocket(server)
    command = {"channel": "a", "data": "x" * 1_100}
    assert told.command(type="publish", ref=1, **command)["code"] == "too_large"
    with RawConnection(server.address) as client:
        assert client.post("/publish", command).status == 413
    assert refusals(server) == {"message_size": 3, "fragments": 1}
