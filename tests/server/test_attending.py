"""Who is on a channel: pollers and streams as members, and the address that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tidewire.hub.presence_records import client_of_session

if TYPE_CHECKING:
    from tests.server.conftest import MakeServer, Server
    from tidewire.hub.presence_room import Attendee


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    return make_server(presence=True)


def attendees(server: Server, channel: str = "a") -> list[Attendee]:
    assert server.app.presence is not None
    room = server.app.presence.rooms.get(channel)
    return [] if room is None else list(room.attendees.values())


def count(server: Server, channel: str = "a") -> int:
    reply = server.get(f"/presence?channel={channel}")
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"
    found: int = reply.json["count"]
    return found


def test_equal_polls_of_different_clients_are_members(server: Server) -> None:
    """Though they share one answer that is made once."""
    for _ in range(3):
        for agent in ("one", "two"):
            assert server.get("/poll?channels=a", {"User-Agent": agent}).status == 200
    assert count(server) == 2
    assert {one.who.transport for one in attendees(server)} == {"poll"}


@pytest.mark.parametrize(
    ("first", "second", "members"),
    [
        ("", "", 1),
        ("&device=tv", "&device=tv", 1),
        ("&device=tv", "&device=phone", 2),
        ("&device=tv", "", 2),
        ("&session=x", "&session=x", 1),
        ("&session=x", "&session=y", 2),
        ("&session=x&device=tv", "&session=x", 1),
        ("&session=x", "&beside=x", 1),
        ("&beside=x&since=-1", "&beside=x&since=start", 1),
        ("&beside=x", "&beside=y", 2),
        ("&session=y&beside=x", "&session=x", 1),
    ],
)
def test_what_tells_pollers_apart(server: Server, first: str, second: str, members: int) -> None:
    for query in (first, second):
        assert server.get(f"/poll?channels=a{query}").status == 200
    assert count(server) == members


def test_addresses_tell_strangers_apart(server: Server) -> None:
    for peer in ("203.0.113.1", "203.0.113.2"):
        assert server.client(peer).get("/poll?channels=a").status == 200
    clients = [one.who.client for one in attendees(server)]
    assert len(clients) == 2
    assert not any("113" in client for client in clients)


def test_who_asks_for_a_head_alone_is_none(server: Server) -> None:
    assert server.get("/poll?channels=a", method="HEAD").status == 200
    assert count(server) == 0


def test_a_poll_that_is_refused_makes_no_member(make_server: MakeServer) -> None:
    server = make_server(presence=True, api_key="key", allow_history="anyone")
    assert server.get("/poll?channels=a").status == 401
    client = server.client()
    client.send("/longpoll?channels=a")
    assert client.reply().status == 401
    assert not attendees(server)


def test_a_held_poll(server: Server) -> None:
    client = server.client()
    client.send("/longpoll?channels=a,b&wait=30&session=mine")
    [one] = attendees(server)
    assert (one.holds, one.who.transport) == (1, "longpoll")
    assert one.who.client == client_of_session("mine")
    server.publish("a")
    assert client.reply().status == 200
    assert attendees(server) == [one]
    assert (one.holds, attendees(server, "b")[0].holds) == (0, 0)


def test_a_held_poll_whose_client_leaves(server: Server) -> None:
    client = server.client()
    client.send("/longpoll?channels=a&wait=30")
    [one] = attendees(server)
    assert one.holds == 1
    client.leave()
    assert one.holds == 0


@pytest.mark.parametrize("target", ["/sse", "/ws"])
def test_a_stream(server: Server, target: str) -> None:
    client = server.client()
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    client.send(f"{target}?channels=a&device=tv", headers if target == "/ws" else None)
    [one] = attendees(server)
    assert (one.holds, one.who.device) == (1, "tv")
    assert one.who.transport == {"/ws": "websocket", "/sse": "sse"}[target]
    client.leave()
    assert one.holds == 0
    assert count(server) == 1, "for the time being"


def test_a_poll_beside_a_stream(server: Server) -> None:
    stream = server.client()
    stream.send("/sse?channels=a")
    session = stream.reply().body.decode().partition('"session":"')[2].partition('"')[0]
    server.publish("a")
    past = server.get(f"/poll?channels=a&since=start&beside={session}")
    assert [message["seq"] for message in past.json["messages"]] == [1]
    [one] = attendees(server)
    assert (one.holds, one.who.transport) == (1, "sse")
    held = server.client()
    held.send(f"/longpoll?channels=a&wait=30&beside={session}")
    assert one.holds == 2
    held.leave()
    assert one.holds == 1
    stream.leave()
    assert one.holds == 0


def test_where_nobody_keeps_it(make_server: MakeServer) -> None:
    server = make_server()
    assert server.app.presence is None
    assert server.get("/poll?channels=a").status == 200
    reply = server.get("/presence?channel=a")
    assert (reply.status, reply.json["code"]) == (404, "no_presence")


def test_members_are_counted_for_operators(server: Server) -> None:
    assert server.get("/poll?channels=a,b").status == 200
    assert "tidewire_members 2.0" in server.get("/metrics").body.decode()
