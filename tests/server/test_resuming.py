"""``session=ID`` on an application without sockets: what the record fills in, and what fails."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tidewire.hub import SessionRecord
from tidewire.model import EngineUnavailable

if TYPE_CHECKING:
    from tests.server.conftest import Server


def stream(server: Server, query: str) -> dict[str, Any]:
    """Open an event stream, leave it, and return what ``ready`` said."""
    client = server.client()
    client.send(f"/sse?{query}")
    server.turn()
    reply = client.reply()
    assert reply.status == 200, reply
    (line,) = [line for line in reply.body.split(b"\n") if b'"type":"ready"' in line]
    client.leave()
    server.turn()
    ready: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    return ready


def record(server: Server, id: str) -> SessionRecord:
    """What is kept of a session."""
    found = server.loop.run_until_complete(server.app.sessions.look(id))
    assert found is not None
    return found


def test_the_record_says_what_the_address_said(app_server: Server) -> None:
    id = stream(app_server, "channels=a,b&device=my%20phone&policy=latest")["session"]
    kept = record(app_server, id)
    assert sorted(kept.channels) == ["a", "b"]
    assert (kept.terms.transport, kept.terms.device, kept.terms.policy) == (
        "sse",
        "my phone",
        "latest",
    )
    assert kept.closed_at > 0


def test_a_new_session_has_an_id_that_no_command_takes_for_an_option(
    app_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["-ne6nXkq3bV0tYc", "--nXkq3bV0tYcW1", "ne6nXkq-bV0tYcW1"])
    monkeypatch.setattr("tidewire.server.resuming.secrets.token_urlsafe", lambda _: next(drawn))
    assert stream(app_server, "channels=a")["session"] == "ne6nXkq-bV0tYcW1"


def test_what_the_address_leaves_out_is_the_records(app_server: Server) -> None:
    id = stream(app_server, "channels=a&device=phone&policy=latest")["session"]
    again = stream(app_server, f"session={id}&device=tablet")
    assert (again["session"], again["channels"]) == (id, ["a"])
    terms = record(app_server, id).terms
    assert (terms.device, terms.policy) == ("tablet", "latest")


def test_channels_of_the_address_replace_the_records(app_server: Server) -> None:
    id = stream(app_server, "channels=a,b")["session"]
    app_server.publish("a")
    app_server.publish("c")
    again = stream(app_server, f"session={id}&channels=a,c")
    assert again["recovered"] is True
    assert sorted(record(app_server, id).channels) == ["a", "c"]


def test_a_cut_while_the_record_is_looked_for(app_server: Server) -> None:
    id = stream(app_server, "channels=a")["session"]
    client = app_server.client()
    request = f"GET /sse?session={id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client.connection.data_received(request.encode())
    client.leave()
    app_server.turn()
    assert client.read() == b""


@pytest.mark.parametrize("path", ["/sse", "/poll", "/longpoll"])
def test_an_unknown_session(app_server: Server, path: str) -> None:
    reply = app_server.get(f"{path}?session=unknown")
    assert (reply.status, json.loads(reply.body)["code"]) == (404, "unknown_session")


@pytest.mark.parametrize("path", ["/sse", "/poll", "/longpoll"])
def test_a_log_that_cannot_be_read(
    app_server: Server, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def change(*_: object) -> asyncio.Future[None]:
        future: asyncio.Future[None] = app_server.loop.create_future()
        future.set_exception(EngineUnavailable("the disk is gone"))
        return future

    monkeypatch.setattr(app_server.engine, "change", change)
    monkeypatch.setattr(app_server.engine, "get", change)
    reply = app_server.get(f"{path}?session=one")
    assert (reply.status, json.loads(reply.body)["code"]) == (503, "engine_unavailable")


def test_polls_of_a_session_are_not_shared(app_server: Server) -> None:
    id = stream(app_server, "channels=a")["session"]
    for _ in range(2):
        reply = app_server.get(f"/poll?session={id}")
        assert json.loads(reply.body)["messages"] == []
    stream(app_server, f"session={id}&channels=a,b")
    app_server.publish("b")
    assert len(json.loads(app_server.get(f"/poll?session={id}").body)["messages"]) == 1
