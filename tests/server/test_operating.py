"""Connections and servers, as operators see and end them, on one server without sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.credentials import KEY, SECRET, bearer, token
from tidewire.server import connections, operating

if TYPE_CHECKING:
    from tests.server.conftest import Client, MakeServer, Reply, Server

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """Asks everybody who they are."""
    return make_server(api_key=KEY, token_secret=SECRET, trusted_proxies=("10.0.0.1",))


def websocket(server: Server, user: str, channels: str = "a", query: str = "") -> Client:
    """A WebSocket of *user*."""
    client = server.client()
    shown = bearer(token(user, {"*": ["subscribe"]}))
    client.send(f"/ws?channels={channels}{query}", UPGRADE | shown)
    assert b"101 Switching" in client.read()
    return client


def events(server: Server, user: str, channels: str = "a", query: str = "") -> Client:
    """An event stream of *user*."""
    client = server.client()
    shown = bearer(token(user, {"*": ["subscribe"]}))
    assert client.get(f"/sse?channels={channels}{query}", shown).status == 200
    return client


def poll(server: Server, user: str, channels: str = "a", query: str = "") -> Client:
    """A held poll of *user*."""
    client = server.client()
    shown = bearer(token(user, {"*": ["subscribe"]}))
    client.send(f"/longpoll?channels={channels}{query}", shown)
    assert client.read() == b""
    return client


def ask(server: Server, target: str, method: str = "GET") -> Reply:
    return server.get(target, {"X-API-Key": KEY}, method=method)


def listed(server: Server, query: str = "") -> list[dict[str, Any]]:
    """What ``GET /connections`` answers."""
    reply = ask(server, f"/connections?{query}")
    assert reply.status == 200
    assert reply.json["missing"] == []
    found: list[dict[str, Any]] = reply.json["connections"]
    assert reply.json["total"] == len(found)
    assert reply.json["next"] is None
    return found


def test_what_is_told_of_each(server: Server) -> None:
    websocket(server, "42", "a,b", "&device=phone")
    events(server, "43")
    poll(server, "44", query="&device=tv")
    server.client().get("/healthz")  # no stream: it is not listed
    found = {one["user"]: one for one in listed(server)}
    assert {user: one["transport"] for user, one in found.items()} == {
        "42": "websocket",
        "43": "sse",
        "44": "longpoll",
    }
    assert [found[user].get("device") for user in ("42", "43", "44")] == ["phone", None, "tv"]
    assert [found[user]["subscriptions"] for user in ("42", "43", "44")] == [2, 1, 1]
    node = server.app.fleet.id
    for one in found.values():
        assert one["node"] == node
        assert one["address"] == "127.0.0.1"
        assert 1_700_000_000_000 < one["since"] < 5_000_000_000_000
        assert "channels" not in one
    assert found["44"]["id"].startswith(f"{node}-")


def test_one_connection_has_its_channels(server: Server) -> None:
    websocket(server, "42", "b,a")
    [one] = listed(server)
    reply = ask(server, f"/connections/{one['id']}")
    assert reply.json == one | {"channels": ["a", "b"]}
    assert ask(server, "/connections/nobody").json["code"] == "unknown_connection"


def test_the_address_behind_a_proxy(server: Server) -> None:
    shown = bearer(token("42", {"*": ["subscribe"]})) | {"X-Forwarded-For": "203.0.113.7"}
    for target in ("/sse?channels=a", "/longpoll?channels=a"):
        server.client(peer="10.0.0.1").send(target, shown)
        server.client(peer="192.0.2.1").send(target, shown)
    addresses = sorted(one["address"] for one in listed(server))
    assert addresses == ["192.0.2.1", "192.0.2.1", "203.0.113.7", "203.0.113.7"]


@pytest.mark.parametrize(
    ("query", "users"),
    [
        ("", "42 42 43 44"),
        ("user=42", "42 42"),
        ("user=42&transport=sse", "42"),
        ("user=nobody", ""),
        ("device=phone", "42 43"),
        ("device=phone&user=43", "43"),
        ("channel=b", "42 44"),
        ("channel=c", ""),
        ("transport=longpoll", "44"),
    ],
)
def test_filters(server: Server, query: str, users: str) -> None:
    websocket(server, "42", "a", "&device=phone")
    events(server, "42", "b")
    websocket(server, "43", "a", "&device=phone")
    poll(server, "44", "a,b")
    assert " ".join(sorted(one["user"] for one in listed(server, query))) == users


def test_by_session(server: Server) -> None:
    websocket(server, "42")
    [one] = listed(server)
    poll_of_it = server.client()
    shown = bearer(token("42", {"*": ["subscribe"]}))
    poll_of_it.send(f"/longpoll?channels=a&session={one['id']}", shown)
    assert poll_of_it.read() == b""
    websocket(server, "43")
    kinds = sorted(each["transport"] for each in listed(server, f"session={one['id']}"))
    assert kinds == ["longpoll", "websocket"]


def test_by_node(server: Server) -> None:
    websocket(server, "42")
    assert len(listed(server, f"node={server.app.fleet.id}")) == 1
    reply = ask(server, "/connections?node=AAAAAAAA")
    assert reply.json == {"connections": [], "total": 0, "next": None, "missing": ["AAAAAAAA"]}


def test_pages(server: Server) -> None:
    for user in range(25):
        websocket(server, str(user))
    seen: list[str] = []
    after = ""
    while True:
        reply = ask(server, f"/connections?limit=10{after and '&after=' + after}").json
        assert reply["total"] == 25
        seen += [one["id"] for one in reply["connections"]]
        after = reply["next"]
        if after is None:
            break
        assert len(reply["connections"]) == 10
    assert len(set(seen)) == 25
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/connections?limit=0"),
        ("GET", "/connections?limit=1001"),
        ("GET", "/connections?limit=ten"),
        ("GET", "/connections?usr=42"),
        ("GET", "/connections?user=1&user=2"),
        ("GET", "/connections?user="),
        ("GET", "/connections?transport=ws"),
        ("GET", "/connections?channel=a%20b"),
        ("GET", "/connections?session=a%20b"),
        ("GET", "/connections?node=null"),
        ("GET", "/connections/x?user=1"),
        ("DELETE", "/connections"),
        ("DELETE", "/connections?transport=sse"),
        ("DELETE", "/connections?user=1&retry=0"),
        ("DELETE", "/connections?user=1&retry=soon"),
        ("GET", "/nodes?limit=1"),
    ],
)
def test_what_is_not_understood(server: Server, method: str, target: str) -> None:
    websocket(server, "1")
    assert ask(server, target, method).status == 400
    assert len(listed(server)) == 1


@pytest.mark.parametrize(
    "target",
    ["/connections/", "/connections/a/b", "/nodes/x", "/connections/a/", "//x"],
)
def test_what_is_no_address(server: Server, target: str) -> None:
    assert ask(server, target).json["code"] == "not_found"


@pytest.mark.parametrize("name", ["nobody", "{id}", "a%20b", "%", "x" * 65, "."])
def test_what_is_no_connection(server: Server, name: str) -> None:
    assert ask(server, f"/connections/{name}").json["code"] == "unknown_connection"
    assert ask(server, f"/connections/{name}", "DELETE").json["code"] == "unknown_connection"


def test_methods_of_an_address_with_a_name(server: Server) -> None:
    reply = ask(server, "/connections/x", "POST")
    assert reply.status == 405
    assert reply.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    assert ask(server, "/connections/x", "OPTIONS").status == 204


# Ending


def close_of(client: Client) -> dict[str, Any]:
    """The ``close`` envelope in what a stream has sent."""
    data = client.read()
    begin = data.index(b'{"type":"close"')
    found: dict[str, Any] = json.JSONDecoder().raw_decode(data[begin:].decode("latin-1"))[0]
    return found


@pytest.mark.parametrize("open_it", [websocket, events])
def test_a_stream_is_ended_for_good(server: Server, open_it: Any) -> None:
    client, other = open_it(server, "42"), open_it(server, "43")
    client.read()
    other.read()
    reply = ask(server, "/connections?user=42", "DELETE")
    assert reply.json == {"disconnected": 1, "missing": []}
    close = close_of(client)
    assert close["code"] == 4403
    assert close["reason"]
    assert close.get("retry") is None
    assert other.read() == b""


@pytest.mark.parametrize("open_it", [websocket, events])
def test_a_stream_may_come_back(server: Server, open_it: Any) -> None:
    client = open_it(server, "42")
    ask(server, "/connections?user=42&retry=7000", "DELETE")
    close = close_of(client)
    assert (close["code"], close["retry"]) == (1013, 7000)


def test_a_held_poll_is_answered(server: Server) -> None:
    client = poll(server, "42")
    assert ask(server, "/connections?channel=a", "DELETE").json["disconnected"] == 1
    reply = client.reply()
    assert (reply.status, reply.json["code"]) == (403, "disconnected")
    client = poll(server, "42")
    assert ask(server, "/connections?user=42&retry=7000", "DELETE").json["disconnected"] == 1
    reply = client.reply()
    assert reply.status == 503
    assert reply.headers["retry-after"] == "7"


def test_one_is_ended_by_its_id(server: Server) -> None:
    websocket(server, "42")
    client = poll(server, "43")
    ids = {one["user"]: one["id"] for one in listed(server)}
    assert ask(server, f"/connections/{ids['43']}", "DELETE").json["disconnected"] == 1
    assert client.reply().status == 403
    assert ask(server, f"/connections/{ids['43']}", "DELETE").status == 404
    assert [one["user"] for one in listed(server)] == ["42"]


def test_all_of_a_channel(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ENDED_AT_ONCE", 3)
    for user in range(20):
        events(server, str(user), "lobby" if user % 2 else "other")
    server.loop.set_debug(False)
    assert ask(server, "/connections?channel=lobby", "DELETE").json["disconnected"] == 10
    assert {int(one["user"]) % 2 for one in listed(server)} == {0}


# Pages of several servers


def info(id: str) -> connections.ConnectionInfo:
    return connections.ConnectionInfo(id, "n", "sse", 1, "", 1)


def page(total: int, ids: str, *, more: bool = False) -> connections.Page:
    return connections.Page(total, [info(id) for id in ids], more)


@pytest.mark.parametrize(
    ("pages", "limit", "ids", "more"),
    [
        ([page(2, "ac"), page(2, "bd")], 10, "abcd", False),
        ([page(2, "ac"), page(2, "bd")], 4, "abcd", False),
        ([page(2, "ac"), page(2, "bd")], 3, "abc", True),
        # One had no room for more: what is behind its last may lie between those of the other.
        ([page(9, "ac", more=True), page(4, "bdef")], 10, "abc", True),
        ([page(9, "ac", more=True), page(9, "bd", more=True)], 10, "abc", True),
        ([], 10, "", False),
        ([page(0, "")], 10, "", False),
    ],
)
def test_pages_are_put_together(
    pages: list[connections.Page], limit: int, ids: str, more: bool
) -> None:
    merged = connections.merged(pages, limit)
    assert "".join(one.id for one in merged.connections) == ids
    assert merged.more is more
    assert merged.total == sum(each.total for each in pages)


def test_a_page_fits_into_an_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_BYTES", 1_500)
    for user in range(10):
        websocket(server, str(user), query=f"&device={'d' * 200}")
    reply = ask(server, "/connections").json
    assert reply["total"] == 10
    assert 1 <= len(reply["connections"]) < 10
    assert reply["next"] == reply["connections"][-1]["id"]


# Servers


def test_a_single_server(server: Server) -> None:
    websocket(server, "42")
    reply = ask(server, "/nodes").json
    assert reply["node"] == server.app.fleet.id
    [node] = reply["nodes"]
    assert node["id"] == server.app.fleet.id
    assert node["connections"] == 2  # this request's, too
    assert node["transports"] == {"websocket": 1, "sse": 0, "longpoll": 0, "http": 1}
    assert node["capacity"] == server.settings.max_connections
    assert node["memory"] > 1 << 20
    assert node["draining"] is False
    assert operating.MOST_LIMIT <= connections.MOST_BYTES / 300, "a page of short ones is whole"
