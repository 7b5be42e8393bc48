"""Users on live connections: until when they may stay, and what is theirs alone."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.acceptance.credentials import BRIEF, KEY, SECRET, bearer, key_file, put, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

ROOM = {"room:*": ["subscribe", "publish", "history"]}
BY_KEY = {"X-API-Key": KEY}


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    return start_shared(
        api_key=KEY,
        token_secret=SECRET,
        namespaces=json.dumps({"open": {"allow_subscribe": "anyone"}}),
        max_connections_per_user=3,
    )


@pytest.fixture
async def http(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield client


def ws(server: ServerProcess, query: str, **headers: str) -> connect:
    return connect(
        f"{server.url.replace('http', 'ws')}/ws?{query}", additional_headers=headers or None
    )


async def envelope(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next envelope of a kind; those before it are left out."""
    while True:
        async with asyncio.timeout(10):
            found: dict[str, Any] = json.loads(await socket.recv())
        if found["type"] == kind:
            return found


async def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The envelopes of an event stream, up to its end."""
    lines = [line async for line in answer.aiter_lines()]
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]


def publish(http: httpx.AsyncClient, channel: str, data: object) -> Any:
    return http.post("/publish", json={"channel": channel, "data": data}, headers=BY_KEY)


# Time


async def test_a_websocket_ends_with_its_token(server: ServerProcess) -> None:
    began = time.monotonic()
    async with ws(server, f"channels=room:1&token={token('1', ROOM, lasts=BRIEF)}") as socket:
        close = await envelope(socket, "close")
        assert (close["code"], "retry" in close) == (4401, False)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4401
    assert time.monotonic() - began < BRIEF + 10


async def test_an_event_stream_ends_with_its_token(http: httpx.AsyncClient) -> None:
    query = {"channels": "room:1", "token": token("1", ROOM, lasts=BRIEF)}
    async with http.stream("GET", "/sse", params=query) as answer:
        *_, close = await events(answer)
    assert (close["type"], close["code"], "retry" in close) == ("close", 4401, False)


async def test_a_held_poll_is_told_that_its_token_has_ended(http: httpx.AsyncClient) -> None:
    query = {"channels": "room:1", "wait": "30"}
    headers = bearer(token("1", ROOM, lasts=BRIEF))
    answer = await http.get("/longpoll", params=query, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


async def test_a_new_token_over_the_websocket(
    server: ServerProcess, http: httpx.AsyncClient
) -> None:
    async with ws(server, "channels=room:1", **bearer(token("1", ROOM, lasts=BRIEF))) as socket:
        fresh = token("1", ROOM, lasts=600)
        await socket.send(json.dumps({"type": "refresh", "ref": 7, "token": fresh}))
        ok = await envelope(socket, "ok")
        assert ok["ref"] == 7
        assert ok["expires"] > time.time() + 500
        await asyncio.sleep(BRIEF + 1)  # past the end of the first
        await publish(http, "room:1", "still here")
        assert (await envelope(socket, "message"))["data"] == "still here"


@pytest.mark.parametrize(
    ("fresh", "code"),
    [
        (token("2", ROOM), "forbidden"),  # another user's
        (token("1", {"other": ["subscribe"]}), "forbidden"),  # not for what it follows
        (token("1", ROOM, lasts=-10), "token_expired"),
        ("nonsense", "invalid_token"),
    ],
)
async def test_a_new_token_that_is_no_good_changes_nothing(
    server: ServerProcess, fresh: str, code: str
) -> None:
    async with ws(server, "channels=room:1", **bearer(token("1", ROOM))) as socket:
        await socket.send(json.dumps({"type": "refresh", "ref": 1, "token": fresh}))
        error = await envelope(socket, "error")
        assert error["code"] == code
        await socket.send(json.dumps({"type": "publish", "ref": 2, "channel": "room:1", "data": 1}))
        assert (await envelope(socket, "ok"))["ref"] == 2


async def test_a_new_token_for_an_event_stream(http: httpx.AsyncClient) -> None:
    headers = bearer(token("1", ROOM, lasts=BRIEF))
    async with http.stream("GET", "/sse?channels=room:sse", headers=headers) as answer:
        lines = answer.aiter_lines()
        ready = next_data = None
        async for line in lines:
            if line.startswith("data: "):
                ready = json.loads(line.removeprefix("data: "))
                break
        assert ready is not None
        query = {"session": ready["session"]}
        for strange in (token("2", ROOM), token("1", {})):
            refused = await http.post("/refresh", params=query, headers=bearer(strange))
            assert refused.status_code in (403, 404)
        fresh = await http.post("/refresh", params=query, headers=bearer(token("1", ROOM)))
        assert fresh.status_code == 200
        assert fresh.json()["expires"] > time.time() + 500
        await asyncio.sleep(BRIEF + 1)  # past the end of the first
        await publish(http, "room:sse", "still here")
        async for line in lines:
            if line.startswith("data: "):
                next_data = json.loads(line.removeprefix("data: "))["data"]
                break
        assert next_data == "still here"


# What is a user's own


async def test_a_session_is_taken_up_by_its_user_alone(
    server: ServerProcess, http: httpx.AsyncClient
) -> None:
    async with ws(server, "channels=room:1", **bearer(token("1", ROOM))) as socket:
        session = (await envelope(socket, "ready"))["session"]
    await publish(http, "room:1", "meanwhile")
    query = {"session": session}
    for strange in (bearer(token("2", ROOM)), BY_KEY):
        answer = await http.get("/poll", params=query, headers=strange)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_session")
    without = bearer(token("1", {"other": ["subscribe"]}))
    assert (await http.get("/poll", params=query, headers=without)).status_code == 403
    own = await http.get("/poll", params=query, headers=bearer(token("1", ROOM)))
    assert [one["data"] for one in own.json()["messages"]] == ["meanwhile"]


async def test_each_user_has_its_own_consumers(http: httpx.AsyncClient) -> None:
    """And only its own: what one acknowledges is nothing to another of that name."""
    id = (await publish(http, "room:jobs", "job")).json()["id"]
    query = {"channels": "room:jobs", "consumer": "c", "since": "start"}
    ann, bob = bearer(token("ann~1", ROOM)), bearer(token("bob", ROOM))
    for headers in (ann, bob):
        assert len((await http.get("/poll", params=query, headers=headers)).json()["messages"]) == 1
    ack = {"consumer": "c", "eventId": id}
    assert (await http.post("/ack", params=ack, headers=ann)).status_code == 204
    receipts = (
        await http.get("/receipts", params={"channel": "room:jobs", "eventId": id}, headers=BY_KEY)
    ).json()
    assert {
        (one["user"], one["consumer"]): one["acknowledged"] for one in receipts["consumers"]
    } == {
        ("ann~1", "c"): True,
        ("bob", "c"): False,
    }
    pages = []
    after: dict[str, str] = {}
    while True:
        query = {"channel": "room:jobs", "eventId": id, "limit": "1", **after}
        page = (await http.get("/receipts", params=query, headers=BY_KEY)).json()
        pages += [one["user"] for one in page["consumers"]]
        if not page["more"]:
            break
        after = {"after": page["next"]}
    assert pages == ["ann~1", "bob"]


async def test_dead_letters_of_a_user_are_its_own(http: httpx.AsyncClient) -> None:
    id = (await publish(http, "room:dead", "poison")).json()["id"]
    ann = bearer(token("ann", ROOM))
    query = {"channels": "room:dead", "consumer": "c", "since": "start"}
    await http.get("/poll", params=query, headers=ann)
    nack = {"consumer": "c", "eventId": id, "reject": "true"}
    assert (await http.post("/nack", params=nack, headers=ann)).status_code == 204
    query = {"channels": "dead-letter:c#ann", "since": "start"}
    letters = (await http.get("/poll", params=query, headers=ann)).json()["messages"]
    assert [(one["data"], one["headers"]["tidewire-reason"]) for one in letters] == [
        ("poison", "rejected")
    ]
    bob = bearer(token("bob", {"*": ["subscribe"]}))
    assert (await http.get("/poll", params=query, headers=bob)).status_code == 403


async def test_a_private_channel(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with ws(server, "channels=inbox:%2342", **bearer(token("42"))) as socket:
        await envelope(socket, "ready")
        await publish(http, "inbox:#42", "for you")
        assert (await envelope(socket, "message"))["data"] == "for you"
    with pytest.raises(InvalidStatus) as refused:
        await ws(server, "channels=inbox:%2342", **bearer(token("43", {"*": ["subscribe"]})))
    assert refused.value.response.status_code == 403


async def test_as_many_connections_as_a_user_may_have(server: ServerProcess) -> None:
    headers = bearer(token("many", ROOM))
    opened = [await ws(server, "channels=room:1", **headers) for _ in range(3)]
    with pytest.raises(InvalidStatus) as refused:
        await ws(server, "channels=room:1", **headers)
    assert refused.value.response.status_code == 429
    assert int(refused.value.response.headers["Retry-After"]) >= 1
    async with ws(server, "channels=room:1", **bearer(token("another", ROOM))):
        pass
    await opened.pop().close()
    opened.append(await ws(server, "channels=room:1", **headers))
    less = bearer(token("less", ROOM, limits={"connections": 1}))
    opened.append(await ws(server, "channels=room:1", **less))
    with pytest.raises(InvalidStatus):
        await ws(server, "channels=room:1", **less)
    for socket in opened:
        await socket.close()


async def test_as_many_channels_as_a_token_allows(http: httpx.AsyncClient) -> None:
    headers = bearer(token("1", ROOM, limits={"channels": 2}))
    query = {"channels": "room:1,room:2,room:3"}
    answer = await http.get("/poll", params=query, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_channels")


# Strangers


async def test_a_stranger_where_a_namespace_lets_anyone_in(
    server: ServerProcess, http: httpx.AsyncClient
) -> None:
    async with ws(server, "channels=open:1") as socket:
        await envelope(socket, "ready")
        await publish(http, "open:1", "for all")
        assert (await envelope(socket, "message"))["data"] == "for all"
        await socket.send(json.dumps({"type": "publish", "ref": 1, "channel": "open:1", "data": 1}))
        assert (await envelope(socket, "error"))["code"] == "no_credentials"
        await socket.send(json.dumps({"type": "refresh", "ref": 2, "token": token("1", ROOM)}))
        assert (await envelope(socket, "ok"))["ref"] == 2
    assert (await http.get("/poll?channels=room:1")).status_code == 401
    assert (await http.get("/history?channel=open:1")).status_code == 401


async def test_a_stranger_becomes_a_user(server: ServerProcess) -> None:
    async with ws(server, "") as socket:
        await envelope(socket, "ready")
        await socket.send(json.dumps({"type": "subscribe", "ref": 1, "channels": ["room:1"]}))
        assert (await envelope(socket, "error"))["code"] == "no_credentials"
        await socket.send(json.dumps({"type": "refresh", "ref": 2, "token": token("1", ROOM)}))
        assert (await envelope(socket, "ok"))["ref"] == 2
        await socket.send(json.dumps({"type": "subscribe", "ref": 3, "channels": ["room:1"]}))
        assert (await envelope(socket, "ok"))["ref"] == 3


# Keys


def test_keys_change_without_a_restart(start: StartServer, tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys.toml", old=("old-key", ["publish"]))
    server = start(api_keys_file=path)

    def status(key: str) -> int:
        message = {"channel": "news", "data": 1}
        headers = {"X-API-Key": key}
        return httpx.post(f"{server.url}/publish", json=message, headers=headers).status_code

    assert (status("old-key"), status("new-key")) == (200, 401)
    key_file(path, new=("new-key", ["publish"]))
    deadline = time.monotonic() + 10
    while status("new-key") != 200:
        assert time.monotonic() < deadline
    assert status("old-key") == 401
    put(path, "nonsense")
    deadline = time.monotonic() + 10
    while "keys.toml" not in server.log():
        assert status("new-key") == 200, "a broken file keeps the keys that there were"
        assert time.monotonic() < deadline
