"""The doors: who is refused before it is known who asks, what it is told, and what it counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tidewire.server.doors import Doors

if TYPE_CHECKING:
    from tests.server.conftest import Client, MakeServer, Reply, Server

A, B, PROXY = "203.0.113.1", "203.0.113.2", "10.0.0.1"
POLL, STREAM = "/poll?channels=a", "/sse?channels=a"
EVENTS = {"Accept": "text/event-stream"}
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Process:
    """A process of 128 descriptors, of which 96 are for clients that are served."""

    def __init__(self) -> None:
        self.open = 0
        self.memory = 0

    def most_files(self) -> int:
        return 128

    def open_files(self) -> int:
        return self.open

    def resident(self) -> int:
        return self.memory

    def give_back(self) -> None:
        pass


def with_doors(server: Server, process: Process | None = None) -> Clock:
    """Give *server* doors by a clock of the test's, and perhaps for another process."""
    clock = Clock()
    app = server.app
    app.doors = Doors(server.settings, app.refusals, clock, process or Process())
    return clock


def refused(reply: Reply, status: int, detail: str) -> None:
    """Check what a refused client is told."""
    assert (reply.status, reply.headers["connection"]) == (status, "close")
    assert 1 <= int(reply.headers["retry-after"]) <= 5
    assert detail in reply.json["detail"]


# Connections of one address


def test_an_address_has_its_connections_and_not_one_more(make_server: MakeServer) -> None:
    server = make_server(max_connections_per_ip=2)
    first = server.client(A)
    assert first.get(POLL).status == 200
    server.client(A)
    refused(server.client(A).get(POLL), 429, "one address may have 2 connections")
    assert server.client(B).get(POLL).status == 200
    assert first.get(POLL).status == 200
    first.leave()
    assert server.client(A).get(POLL).status == 200
    assert server.app.refusals == {"connections_per_ip": 1}


def test_a_refused_connection_counts_for_nothing(make_server: MakeServer) -> None:
    server = make_server(max_connections_per_ip=1, max_connections=2)
    server.client(A)
    for _ in range(5):
        waiting = server.client(A)
        assert server.client(B).get(POLL).status == 200
        for client in list(server.app.connections):
            if client.refused is None and client.counted == B:
                client.connection_lost(None)
        waiting.leave()


def test_ipv6_clients_are_counted_by_their_network(make_server: MakeServer) -> None:
    server = make_server(max_connections_per_ip=1)
    server.client("2001:db8::1")
    assert server.client("2001:db8::ffff").get(POLL).status == 429
    assert server.client("2001:db8:0:1::1").get(POLL).status == 200


def test_each_kind_of_client_is_told_in_its_way(make_server: MakeServer) -> None:
    server = make_server(max_connections_per_ip=1)
    server.client(A)
    reply = server.client(A).get("/ws?channels=a", UPGRADE)
    assert (reply.status, "retry-after" in reply.headers) == (429, True)
    reply = server.client(A).get(STREAM, EVENTS)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    data = reply.body.decode().partition("data: ")[2].partition("\n")[0]
    assert json.loads(data)["code"] == 4429
    assert server.app.refusals == {"connections_per_ip": 2}


def test_health_and_metrics_are_answered_to_everybody(make_server: MakeServer) -> None:
    server = make_server(max_connections_per_ip=1)
    server.client(A)
    for target in ("/healthz", "/readyz", "/metrics"):
        client = server.client(A)
        reply = client.get(target)
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert client.closed()
    assert not server.app.refusals


def test_no_body_of_a_refused_request_is_read(make_server: MakeServer) -> None:
    server = make_server(max_connections_per_ip=1)
    server.client(A)
    client = server.client(A)
    head = b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n"
    client.connection.data_received(head)
    reply = client.reply()
    refused(reply, 429, "one address")
    assert client.transport.ended  # its own side; what still comes is thrown away
    assert server.app.refusals == {"connections_per_ip": 1}


def test_only_one_request_of_a_refused_client_is_read(make_server: MakeServer) -> None:
    server = make_server(max_connections_per_ip=1)
    server.client(A)
    client = server.client(A)
    client.connection.data_received(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
    assert client.read().count(b"HTTP/1.1 200 OK") == 1
    assert client.closed()


# Behind proxies


def forwarded(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


@pytest.fixture
def proxied(make_server: MakeServer) -> Server:
    """A server behind a proxy, with two connections for each client."""
    return make_server(max_connections_per_ip=2, trusted_proxies=[PROXY])


def test_a_proxy_has_as_many_connections_as_it_likes(proxied: Server) -> None:
    clients = [proxied.client(PROXY) for _ in range(20)]
    assert all(client.get(POLL, forwarded(A)).status == 200 for client in clients)


def test_behind_a_proxy_what_is_open_counts(proxied: Server) -> None:
    streams = [proxied.client(PROXY) for _ in range(2)]
    for stream in streams:
        assert stream.get(STREAM, forwarded(A)).status == 200
    late = proxied.client(PROXY)
    reply = late.get(POLL, forwarded(A))
    assert (reply.status, reply.json["code"]) == (429, "too_many_requests")
    assert not late.closed()  # the proxy's connection serves others too
    assert late.get(POLL, forwarded(B)).status == 200
    assert late.get("/healthz", forwarded(A)).status == 200
    streams[0].leave()
    assert late.get(POLL, forwarded(A)).status == 200
    assert proxied.app.refusals == {"connections_per_ip": 1}


def test_a_held_poll_counts_until_its_answer(proxied: Server) -> None:
    held = [proxied.client(PROXY) for _ in range(2)]
    for client in held:
        client.send("/longpoll?channels=a", forwarded(A))
    late = proxied.client(PROXY)
    assert late.get(POLL, forwarded(A)).status == 429
    proxied.publish("a")
    assert [client.reply().status for client in held] == [200, 200]
    assert late.get(POLL, forwarded(A)).status == 200


def test_an_idle_connection_of_a_proxy_counts_for_nobody(proxied: Server) -> None:
    clients = [proxied.client(PROXY) for _ in range(5)]
    for client in clients:
        assert client.get(POLL, forwarded(A)).status == 200
        assert client.connection.counted is None


def test_what_others_say_of_themselves_is_not_believed(proxied: Server) -> None:
    clients = [proxied.client(A) for _ in range(3)]
    replies = [client.get(POLL, forwarded(f"192.0.2.{n}")) for n, client in enumerate(clients)]
    assert [reply.status for reply in replies] == [200, 200, 429]


# New connections a second


def test_new_connections_a_second(make_server: MakeServer) -> None:
    server = make_server(max_connection_rate=5)
    clock = with_doors(server)
    clients = [server.client() for _ in range(11)]
    assert [client.get(POLL).status for client in clients] == [200] * 10 + [503]
    refused(server.client().get(POLL), 503, "too many clients come at once")
    clock.now += 0.2
    assert [server.client().get(POLL).status for _ in range(2)] == [200, 503]
    assert clients[0].get(POLL).status == 200
    assert server.client().get("/healthz").status == 200
    assert server.app.refusals == {"connection_rate": 3}


def test_an_address_with_too_many_takes_no_others_turn(make_server: MakeServer) -> None:
    server = make_server(max_connection_rate=1, max_connections_per_ip=1)
    with_doors(server)
    server.client(A)
    for _ in range(10):
        server.client(A)
    assert server.client(B).get(POLL).status == 200
    refused(server.client("203.0.113.3").get(POLL), 503, "at once")
    assert server.app.doors._by_address is not None
    assert server.app.doors._by_address["203.0.113.3"] == 0


# The breaker


def test_when_descriptors_run_out_nobody_new_is_served(make_server: MakeServer) -> None:
    server = make_server()
    process = Process()
    clock = with_doors(server, process)
    last = server.client(file=95)
    process.open = 97
    refused(server.client(file=96).get(POLL), 503, "too many connections open")
    assert server.client(file=7).get(POLL).status == 503
    assert server.client(file=7).get("/metrics").status == 200
    assert last.get(POLL).status == 200
    process.open = 80
    clock.now += 2
    assert server.client(file=7).get(POLL).status == 200
    assert server.app.refusals == {"files": 2}


def test_when_memory_runs_out_nobody_new_is_served(make_server: MakeServer) -> None:
    server = make_server(max_memory=100 << 20)
    process = Process()
    clock = with_doors(server, process)
    first = server.client()
    process.memory = 100 << 20
    clock.now += 2
    refused(server.client().get(POLL), 503, "short of memory")
    assert first.get(POLL).status == 200
    process.memory = 50 << 20
    clock.now += 2
    assert server.client().get(POLL).status == 200


def test_the_breaker_is_a_metric(make_server: MakeServer) -> None:
    server = make_server()
    process = Process()
    clock = with_doors(server, process)
    process.open = 97
    server.client(file=96)
    assert 'tidewire_breaker{reason="files"} 1.0' in server.get("/metrics").body.decode()
    process.open = 50
    clock.now += 2
    text = server.get("/metrics").body.decode()
    assert 'tidewire_breaker{reason="files"} 0.0' in text
    assert 'tidewire_breaker{reason="memory"} 0.0' in text


def test_who_waits_longest_for_its_refusal_makes_room(make_server: MakeServer) -> None:
    server = make_server(max_connections=1)
    with_doors(server)
    server.client()
    silent = [server.client() for _ in range(100)]
    cut = [client.transport.aborted for client in silent]
    assert cut == [True] * 84 + [False] * 16  # half of the reserve
    assert server.client().get("/healthz").status == 200
    assert server.app.refusals == {"connections": 85}


def test_where_the_reserve_is_used_up_too_a_client_is_not_even_told(
    make_server: MakeServer,
) -> None:
    server = make_server()
    process = Process()
    with_doors(server, process)
    process.open = 128
    told, cut = server.client(file=119), server.client(file=120)
    assert (told.transport.aborted, cut.transport.aborted) == (False, True)
    assert server.app.refusals == {"files": 1}


def test_nothing_is_left_when_all_have_gone(make_server: MakeServer) -> None:
    server = make_server(max_connections_per_ip=3, max_connections=5, trusted_proxies=[PROXY])
    clients: list[Client] = []
    for peer in (A, B, PROXY):
        clients += [server.client(peer) for _ in range(4)]
    for client in clients:
        client.send(STREAM, forwarded("192.0.2.1"))
    for client in clients:
        if not client.transport.aborted:
            client.leave()
    doors = server.app.doors
    assert doors._by_address is not None
    assert (len(doors._by_address), doors._inside, len(doors._refused)) == (0, 0, 0)
