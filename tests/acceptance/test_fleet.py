"""Several servers of one log: what an operator asks of one is answered for all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.acceptance.credentials import BRIEF, KEY, SECRET, bearer, token
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import RawWebSocket
from tests.acceptance.waiting import wait_until
from tests.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

RIGHTS = {"*": ["subscribe"]}
LEASE = 15
"""Seconds after which a server that has died is known to be gone."""


class Operator:
    """Asks one server with the key."""

    def __init__(self, server: ServerProcess) -> None:
        self.http = httpx.Client(base_url=server.url, headers={"X-API-Key": KEY}, timeout=15)

    def connections(self, **query: str) -> list[dict[str, Any]]:
        """All that are listed, once every server answers: one that stands still does not."""
        found: list[dict[str, Any]] = []

        def answered() -> bool:
            answer = self.http.get("/connections", params=query).json()
            found[:] = answer["connections"]
            return bool(answer["missing"] == [])

        wait_until(answered)
        return found

    def users(self, **query: str) -> list[str]:
        return sorted(one["user"] for one in self.connections(**query))

    def nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/nodes").json()["nodes"]
        return found


@pytest.fixture
def servers(start: StartServer, shared_engine: str) -> tuple[ServerProcess, ServerProcess]:
    """Two servers of one log."""

    def one() -> ServerProcess:
        return start(engine=shared_engine, api_key=KEY, token_secret=SECRET, drain_timeout=60)

    return one(), one()


@pytest.fixture
def operators(
    servers: tuple[ServerProcess, ServerProcess],
) -> Iterator[tuple[Operator, Operator]]:
    """Someone at each of them."""
    first, second = (Operator(server) for server in servers)
    with first.http, second.http:
        yield first, second


def websocket(
    server: ServerProcess, user: str, query: str = "channels=a", **options: Any
) -> RawWebSocket:
    socket = RawWebSocket(server.address, **options)
    socket.open(f"/ws?{query}", bearer(token(user, RIGHTS)))
    assert socket.read_envelope()["type"] == "ready"
    return socket


def event_stream(server: ServerProcess, shown: dict[str, str]) -> tuple[RawConnection, str]:
    """An event stream, and the id of its session."""
    stream = RawConnection(server.address)
    stream.request("GET", "/sse?channels=a", shown)
    head = stream.read_until(b'"session":"')
    assert b" 200 " in head
    return stream, stream.read_until(b'"')[:-1].decode()


def test_each_lists_the_connections_of_both(
    servers: tuple[ServerProcess, ServerProcess], operators: tuple[Operator, Operator]
) -> None:
    first = websocket(servers[0], "1", "channels=a,b&device=phone")
    second = websocket(servers[1], "2")
    with first, second:
        for operator in operators:
            found = {one["user"]: one for one in operator.connections()}
            assert set(found) == {"1", "2"}
            assert found["1"]["node"] != found["2"]["node"]
            assert operator.users(device="phone") == ["1"]
            assert operator.users(channel="a") == ["1", "2"]
            assert operator.users(node=found["2"]["node"]) == ["2"]
            for one in found.values():
                answer = operator.http.get(f"/connections/{one['id']}").json()
                assert answer.pop("channels") == (["a", "b"] if one["user"] == "1" else ["a"])
                assert answer == one
    wait_until(lambda: operators[0].connections() == operators[1].connections() == [])


def test_pages_go_over_both(
    servers: tuple[ServerProcess, ServerProcess], operators: tuple[Operator, Operator]
) -> None:
    sockets = [websocket(servers[number % 2], str(number)) for number in range(20)]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 6}
    while query:
        answer = operators[0].http.get("/connections", params=query).json()
        if answer["missing"]:
            continue  # a server stood still: the same page again
        assert answer["total"] == 20
        seen += [one["user"] for one in answer["connections"]]
        query = {"limit": 6, "after": answer["next"]} if answer["next"] else {}
    assert sorted(seen, key=int) == [str(number) for number in range(20)]
    for socket in sockets:
        socket.socket.close()


def test_a_user_is_disconnected_wherever_it_is(
    servers: tuple[ServerProcess, ServerProcess], operators: tuple[Operator, Operator]
) -> None:
    theirs = [websocket(server, "1") for server in servers]
    other = websocket(servers[1], "2")
    answer = operators[0].http.delete("/connections", params={"user": "1"})
    assert answer.json() == {"disconnected": 2, "missing": []}
    for socket in theirs:
        with socket:
            close = socket.read_envelope()
            assert (close["type"], close["code"]) == ("close", 4403)
            assert "retry" not in close
            assert socket.read_close().close_code == 4403
    with other:
        assert operators[0].users() == ["2"]


def test_one_is_disconnected_by_way_of_the_other_server(
    servers: tuple[ServerProcess, ServerProcess], operators: tuple[Operator, Operator]
) -> None:
    with websocket(servers[0], "1") as socket:
        [one] = operators[1].connections(user="1")
        path = f"/connections/{one['id']}"
        assert operators[1].http.delete(path, params={"retry": "5000"}).status_code == 200
        close = socket.read_envelope()
        assert (close["code"], close["retry"]) == (1013, 5000)
    assert operators[1].http.delete(path).status_code == 404


def test_a_token_is_renewed_by_way_of_the_other_server(
    servers: tuple[ServerProcess, ServerProcess],
) -> None:
    short = bearer(token("1", RIGHTS, lasts=BRIEF))
    stream, session = event_stream(servers[0], short)
    ended, _ = event_stream(servers[0], short)
    longer = bearer(token("1", RIGHTS))
    with stream, ended, httpx.Client(base_url=servers[1].url) as http:
        query = {"session": session}
        assert http.post("/refresh", params=query, headers=longer).status_code == 200
        other = http.post("/refresh", params=query, headers=bearer(token("2", RIGHTS)))
        assert (other.status_code, other.json()["code"]) == (404, "unknown_session")
        less = http.post("/refresh", params=query, headers=bearer(token("1", {})))
        assert (less.status_code, less.json()["code"]) == (403, "forbidden")
        ended.read_until(b"event: tidewire.close")  # of one whose token was not renewed
        with Operator(servers[1]).http as asked:
            assert asked.get(f"/connections/{session}").status_code == 200


def test_servers_come_and_go(
    start: StartServer,
    servers: tuple[ServerProcess, ServerProcess],
    operators: tuple[Operator, Operator],
) -> None:
    both = operators[0].nodes()
    assert [node["pid"] for node in both] == [server.process.pid for server in servers]
    assert [node["address"] for node in both] == [server.url for server in servers]
    with websocket(servers[1], "1", receive_buffer=4096) as slow:
        # It takes nothing of much, so the drain goes on until it was seen.
        batch = {"messages": [{"channel": "a", "data": "x" * 100_000}] * 60}
        assert operators[1].http.post("/publish", json=batch).status_code == 200
        servers[1].terminate()
        wait_until(lambda: [node["draining"] for node in operators[0].nodes()] == [False, True])
        slow.socket.close()
    assert servers[1].wait() == 0
    wait_until(lambda: len(operators[0].nodes()) == 1, within=LEASE - 5)  # it has said goodbye


def test_an_engine_that_was_away_makes_nobody_gone(start: StartServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        engine = redis.engine(prefix="fleet")
        servers = [start(engine=engine, api_key=KEY) for _ in range(2)]
        first, second = (Operator(server) for server in servers)
        with first.http, second.http:
            ids = {node["id"] for node in first.nodes()}
            assert len(ids) == 2
            redis.stop()
            ended = time.monotonic() + LEASE + 3
            wait_until(lambda: time.monotonic() > ended, within=LEASE + 10)  # all leases have ended
            assert first.http.get("/nodes").status_code == 503
            answer = first.http.get("/connections").json()
            assert len(answer["missing"]) == 1
            redis.cont()
            lapsed = "this server's lease had ended"
            wait_until(lambda: all(lapsed in server.log() for server in servers))
            for operator in (first, second):
                assert {node["id"] for node in operator.nodes()} == ids
                assert operator.connections() == []
            assert not any("is gone" in server.log() for server in servers)


def test_a_server_that_has_died_is_missing_until_its_lease_ends(
    servers: tuple[ServerProcess, ServerProcess], operators: tuple[Operator, Operator]
) -> None:
    with websocket(servers[0], "1"), websocket(servers[1], "2"):
        dead = next(one["node"] for one in operators[0].connections(user="2"))
        servers[1].kill()
        answer = operators[0].http.get("/connections").json()
        assert [one["user"] for one in answer["connections"]] == ["1"]
        assert answer["missing"] == [dead]
        wait_until(
            lambda: operators[0].http.get("/connections").json()["missing"] == [],
            within=LEASE + 15,
        )
        assert operators[0].users() == ["1"]
        assert len(operators[0].nodes()) == 1
