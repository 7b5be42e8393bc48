"""Discarding a channel's messages, or the channel itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tidewire.model import EngineUnavailable, Receipt

if TYPE_CHECKING:
    from tests.server.conftest import Reply, Server


def delete(server: Server, target: str) -> Reply:
    """The answer to a ``DELETE``."""
    return server.get(target, method="DELETE")


def history(server: Server, query: str = "channel=a") -> Any:
    """A page of history."""
    return server.get(f"/history?{query}").json


def test_a_purge(app_server: Server) -> None:
    for _ in range(3):
        app_server.publish("a", b"1")
    before = history(app_server, "channel=a&limit=1")["cursor"]
    reply = delete(app_server, "/history?channel=a")
    assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
    id = reply.json["id"]
    assert reply.json == {"channel": "a", "id": id}
    assert history(app_server)["messages"] == []
    page = history(app_server, f"channel=a&cursor={before}")
    assert [(gap["id"], gap["reason"]) for gap in page["gaps"]] == [(id, "expired")]
    app_server.publish("a", b"2")
    assert [message["seq"] for message in history(app_server)["messages"]] == [4]


def test_a_channel_is_forgotten(app_server: Server) -> None:
    app_server.publish("a", b"1")
    before = history(app_server)["cursor"]
    reply = delete(app_server, "/channels?channel=a")
    id = reply.json["id"]
    assert (reply.status, reply.json) == (200, {"channel": "a", "id": id})
    page = history(app_server, f"channel=a&cursor={before}")
    assert [(gap["id"], gap["reason"]) for gap in page["gaps"]] == [(id, "reset")]
    app_server.publish("a", b"2")
    assert [message["seq"] for message in history(app_server)["messages"]] == [1]


@pytest.mark.parametrize("path", ["/history", "/channels"])
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "malformed"),
        ("?", "malformed"),
        ("?channel=a&since=start", "malformed"),
        ("?channels=a", "malformed"),
        ("?channel=", "invalid_channel"),
        ("?channel=!consumers", "invalid_channel"),
    ],
)
def test_what_cannot_be_discarded(app_server: Server, path: str, query: str, code: str) -> None:
    app_server.publish("a", b"1")
    reply = delete(app_server, path + query)
    assert (reply.status, reply.json["code"]) == (400, code)
    assert len(history(app_server)["messages"]) == 1


def test_reading_a_channel_itself_is_not_offered(app_server: Server) -> None:
    reply = app_server.get("/channels?channel=a")
    assert (reply.status, reply.headers["allow"]) == (405, "DELETE, OPTIONS")


@pytest.mark.parametrize("path", ["/history", "/channels"])
def test_pages_of_other_origins_may_not(app_server: Server, path: str) -> None:
    headers = {"Origin": "https://elsewhere.example"}
    reply = app_server.get(f"{path}?channel=a", headers, method="DELETE")
    assert (reply.status, reply.json["code"]) == (403, "wrong_origin")


def test_it_is_answered_when_the_log_has_done_it(app_server: Server) -> None:
    future: asyncio.Future[Receipt] = app_server.loop.create_future()
    app_server.engine.purge = lambda channel, *, forget: future  # type: ignore[method-assign]
    client = app_server.client()
    client.send("/history?channel=a", method="DELETE")
    assert client.read() == b""
    future.set_exception(EngineUnavailable("the disk is full"))
    app_server.turn()
    reply = client.reply()
    assert (reply.status, reply.json["code"]) == (503, "engine_unavailable")
