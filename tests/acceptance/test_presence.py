"""Who is on a channel: on all transports, and on two servers of one log."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.acceptance.credentials import KEY, SECRET, bearer, token
from tests.acceptance.subscribers import TRANSPORTS, http_client, server_sent_events
from tests.acceptance.waiting import until
from tidewire.hub.fleet import BEAT, TTL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from pathlib import Path

    from tests.acceptance.checker import Envelope
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

PRESENCE: dict[str, Any] = {
    "namespaces": json.dumps({"room": {"presence": True}}),
    "presence_grace": 3,
    "poll_presence_ttl": 8,
    "poll_interval": 1.5,
}
GRACE = 3.0


def client_of(session: str) -> str:
    """As the protocol page says."""
    digest = hashlib.sha256(f"session:{session}".encode()).digest()
    return base64.urlsafe_b64encode(digest)[:16].decode()


async def ask(server: ServerProcess, channel: str, **query: object) -> dict[str, Any]:
    async with http_client(server.url) as http:
        answer = await http.get("/presence", params={"channel": channel, **query})  # type: ignore[dict-item]
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def members(server: ServerProcess, channel: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = await ask(server, channel, members="true", limit=2)
    found += page["members"]
    while "next" in page:
        page = await ask(server, channel, members="true", limit=2, after=page["next"])
        found += page["members"]
    return found


async def wait_for(server: ServerProcess, channel: str, count: int) -> dict[str, Any]:
    """Wait until so many are on a channel, by its list and by its count."""
    deadline = time.monotonic() + 20
    while True:
        there = await members(server, channel)
        asked = await ask(server, channel)
        if len(there) == asked["count"] == count:
            return asked
        assert time.monotonic() < deadline, (there, asked)
        await asyncio.sleep(0.05)


class Watching:
    """What is told of a channel, from a cursor on: ``there`` is who is there."""

    def __init__(self, server: ServerProcess, channel: str) -> None:
        self._server = server
        self._channel = channel
        self.there: dict[str, dict[str, Any]] = {}
        self.news: list[tuple[str, str]] = []

    async def __aenter__(self) -> Self:
        page = first = await ask(self._server, self._channel, members="true", limit=2)
        self.there = {one["client"]: one for one in first["members"]}
        while "next" in page:
            query = {"members": "true", "limit": 2, "after": page["next"]}
            page = await ask(self._server, self._channel, **query)
            self.there |= {one["client"]: one for one in page["members"]}
        self._task = asyncio.create_task(self._follow(first["cursor"]))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, cursor: str) -> None:
        channel = f"@presence:{self._channel}"
        stream = server_sent_events(self._server.url, [channel], cursor=cursor)
        async with aclosing(stream):
            async for envelope in stream:
                if envelope["type"] == "message":
                    member = envelope["data"]
                    self.news.append((envelope["event"], member["client"]))
                    if envelope["event"] == "join":
                        self.there[member["client"]] = member
                    else:
                        self.there.pop(member["client"], None)


# One server


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    return start_shared(**PRESENCE)


async def keep(stream: AsyncGenerator[Envelope]) -> None:
    async with aclosing(stream):
        async for _ in stream:
            pass


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_member_by_each_transport(server: ServerProcess, transport: str) -> None:
    channel = f"room:{transport}"
    options: dict[str, Any] = {"wait": 1} if transport == "longpoll" else {}
    if transport == "poll":
        options = {"interval": 0.2}
    async with Watching(server, channel) as watching:
        assert not watching.there
        stream = TRANSPORTS[transport](
            server.url, [channel, "elsewhere"], parameters={"device": "tv"}, **options
        )
        listening = asyncio.create_task(keep(stream))
        await until(lambda: watching.there)
        [member] = await members(server, channel)
        name = {"ws": "websocket"}.get(transport, transport)
        assert (member["transport"], member["device"], "user" in member) == (name, "tv", False)
        assert abs(member["since"] / 1000 - time.time()) < 20
        assert len(member["node"]) == 8, "where nobody is asked who they are, all are operators"
        assert watching.there == {
            member["client"]: {k: v for k, v in member.items() if k != "node"}
        }
        await wait_for(server, channel, 1)
        await asyncio.sleep(3)  # a poller polls on, and is neither told to leave nor to join
        assert [event for event, _ in watching.news] == ["join"]
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await until(lambda: not watching.there)
        assert [event for event, _ in watching.news] == ["join", "leave"]
        await wait_for(server, channel, 0)


async def test_from_transport_to_transport_as_one_session(server: ServerProcess) -> None:
    channel = "room:hop"
    url = server.url.replace("http", "ws")
    async with Watching(server, channel) as watching, http_client(server.url) as http:
        async with connect(f"{url}/ws?channels={channel}") as socket:
            session = json.loads(await socket.recv())["session"]
            await until(lambda: watching.there)
        assert list(watching.there) == [client_of(session)]
        for _ in range(8):
            assert (await http.get(f"/poll?session={session}")).status_code == 200
            await asyncio.sleep(0.3)
        async with connect(f"{url}/ws?session={session}") as socket:
            await socket.recv()
            await asyncio.sleep(5)  # longer than the poller had
            assert [event for event, _ in watching.news] == ["join"]
        await until(lambda: not watching.there)
        assert [event for event, _ in watching.news] == ["join", "leave"]


async def test_polls_beside_a_stream_are_its_client(server: ServerProcess) -> None:
    channel = "room:beside"
    async with Watching(server, channel) as watching, http_client(server.url) as http:
        for n in range(3):
            draft = {"channel": channel, "data": n}
            assert (await http.post("/publish", json=draft)).status_code == 200
        async with connect(f"{server.url.replace('http', 'ws')}/ws?channels={channel}") as socket:
            session = json.loads(await socket.recv())["session"]
            await until(lambda: watching.there)
            query = {"channels": channel, "beside": session}
            newest = (await http.get("/poll", params={**query, "since": "-1"})).json()
            assert [message["data"] for message in newest["messages"]] == [2]
            all_of_them = (await http.get("/poll", params={**query, "since": "start"})).json()
            assert [message["data"] for message in all_of_them["messages"]] == [0, 1, 2]
            query |= {"cursor": newest["cursor"], "wait": "1"}
            held = await http.get("/longpoll", params=query)
            assert held.status_code == 204
            await wait_for(server, channel, 1)
            assert list(watching.there) == [client_of(session)]
        await until(lambda: not watching.there)
        assert [event for event, _ in watching.news] == ["join", "leave"]


async def test_commands_change_who_is_where(server: ServerProcess) -> None:
    url = f"{server.url.replace('http', 'ws')}/ws"
    async with Watching(server, "room:c") as watching, connect(url) as socket:
        client = client_of(json.loads(await socket.recv())["session"])

        async def command(**fields: Any) -> dict[str, Any]:
            return await commanded(socket, **fields)

        await command(type="subscribe", channels=["room:c"])
        await until(lambda: client in watching.there)
        answer = await command(type="presence", channel="room:c")
        assert (answer["type"], answer["count"], "members" in answer) == ("ok", 1, False)
        answer = await command(type="presence", channel="room:c", members=True, limit=1)
        assert [member["client"] for member in answer["members"]] == [client]
        assert answer["cursor"] == (await ask(server, "room:c"))["cursor"]
        await command(type="unsubscribe", channels=["room:c"])
        await until(lambda: not watching.there)
        assert (await command(type="presence", channel="news"))["code"] == "no_presence"
        wrong = await command(type="presence", channel="room:c", limit=0)
        assert wrong["code"] == "invalid_limit"


async def commanded(socket: ClientConnection, **fields: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"ref": 1, **fields}))
    while True:
        answer: dict[str, Any] = json.loads(await socket.recv())
        if answer.get("ref") == 1:
            return answer


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("channel=news", 404, "no_presence"),
        ("channel=@presence:room:1", 404, "no_presence"),
        ("", 400, "invalid_channel"),
        ("channel=a%20b", 400, "invalid_channel"),
        ("channel=room:1&limit=0", 400, "invalid_limit"),
        ("channel=room:1&limit=1001", 400, "invalid_limit"),
        ("channel=room:1&members=maybe", 400, "malformed"),
        ("channel=room:1&after=" + "x" * 65, 400, "malformed"),
        ("channel=room:1&wrong=1", 400, "malformed"),
        ("channel=@me", 403, "forbidden"),
    ],
)
async def test_what_cannot_be_asked(
    server: ServerProcess, query: str, status: int, code: str
) -> None:
    async with http_client(server.url) as http:
        answer = await http.get(f"/presence?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_nobody_else_tells_who_comes_and_goes(server: ServerProcess) -> None:
    forged = {"channel": "@presence:room:1", "event": "join", "data": {"client": "me"}}
    async with http_client(server.url) as http:
        assert (await http.post("/publish", json=forged)).status_code == 403
        by_address = await http.post("/publish?channel=@presence:room:1", content=b"1")
        assert by_address.status_code == 403
    async with connect(f"{server.url.replace('http', 'ws')}/ws") as socket:
        assert (await commanded(socket, type="publish", **forged))["code"] == "forbidden"
        begin = {"upload": "u", "name": "n", "size": 1, "sha256": "0" * 64}
        answer = await commanded(socket, type="upload", channel="@presence:room:1", **begin)
        assert answer["type"] == "error"


# Who may see it


@pytest.fixture(scope="module")
def closed(start_shared: StartServer) -> ServerProcess:
    return start_shared(api_key=KEY, token_secret=SECRET, presence=True, presence_grace=1)


async def soon(
    see: Callable[[], Coroutine[Any, Any, httpx.Response]],
) -> list[dict[str, Any]]:
    """The members, once there are any."""
    deadline = time.monotonic() + 10
    while True:
        members: list[dict[str, Any]] = (await see()).json()["members"]
        if members:
            return members
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_what_is_shown_to_whom(closed: ServerProcess) -> None:
    url = closed.url.replace("http", "ws")
    on = bearer(token("42", {"room": ["subscribe"]}, device="tv"))
    watcher = bearer(token("7", {"room": ["presence"]}))
    async with connect(f"{url}/ws?channels=room,@me", additional_headers=on) as socket:
        session = json.loads(await socket.recv())["session"]
        async with httpx.AsyncClient(base_url=closed.url) as http:

            async def see(headers: dict[str, str], channel: str) -> httpx.Response:
                query = {"channel": channel, "members": "true"}
                return await http.get("/presence", params=query, headers=headers)

            async def follow(headers: dict[str, str], channel: str) -> int:
                query = {"channels": channel}
                return (await http.get("/poll", params=query, headers=headers)).status_code

            [member] = await soon(lambda: see(watcher, "room"))
            assert (member["client"], member["user"]) == (client_of(session), "42")
            assert (member["device"], "node" in member) == ("tv", False)
            [member] = (await see({"X-API-Key": KEY}, "room")).json()["members"]
            assert "node" in member
            # Its own channel its owner may look at, and nobody else.
            assert (await see(on, "@me")).json()["count"] == 1
            assert (await see(on, "user:tv#42")).json()["count"] == 1
            assert (await see(watcher, "user:#42")).status_code == 403
            assert (await see(on, "room")).status_code == 403
            assert await follow(watcher, "@presence:room") == 200
            assert await follow(on, "@presence:user:#42") == 200
            assert await follow(on, "@presence:room") == 403
            assert await follow(watcher, "@presence:user:#42") == 403
            assert await follow(watcher, "room") == 403


async def test_pollers_that_name_a_user_or_a_device_are_told_apart(closed: ServerProcess) -> None:
    def shown(user: str) -> dict[str, str]:
        return bearer(token(user, {"poll:*": ["subscribe", "presence"]}))

    async with httpx.AsyncClient(base_url=closed.url) as http:

        async def poll(query: str, headers: dict[str, str]) -> None:
            answer = await http.get(f"/poll?channels=poll:1{query}", headers=headers)
            assert answer.status_code == 200

        for _ in range(2):
            await poll("", shown("1"))
            await poll("&device=a", shown("1"))
            await poll("&device=b", shown("1"))
            await poll("", shown("2"))
            await poll("&session=mine", shown("2"))
            await poll("&device=a", {"X-API-Key": KEY})
        query = {"channel": "poll:1"}
        answer = await http.get("/presence", params=query, headers=shown("1"))
        assert answer.json()["count"] == 6


# Two servers


@pytest.fixture
def pair(start: StartServer, shared_engine: str) -> tuple[ServerProcess, ServerProcess]:
    """Two servers of one log."""
    return start(engine=shared_engine, **PRESENCE), start(engine=shared_engine, **PRESENCE)


def ws(server: ServerProcess, query: str) -> connect:
    return connect(f"{server.url.replace('http', 'ws')}/ws?{query}")


async def taken_up(server: ServerProcess, session: str) -> ClientConnection:
    """The session at another server, which knows of its end a moment later.

    It is not hurried: whether the client was there all the time, others are told within its grace.
    """
    deadline = time.monotonic() + 10
    while True:
        try:
            return await ws(server, f"session={session}")
        except InvalidStatus as refused:
            if refused.response.status_code != 404 or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.02)


async def test_seen_at_the_other_server(pair: tuple[ServerProcess, ServerProcess]) -> None:
    a, b = pair
    async with Watching(b, "room:1") as watching:
        async with ws(a, "channels=room:1") as one, ws(b, "channels=room:1") as two:
            clients = {client_of(json.loads(await one.recv())["session"])}
            clients.add(client_of(json.loads(await two.recv())["session"]))
            await until(lambda: watching.there.keys() == clients)
            for server in pair:
                await wait_for(server, "room:1", 2)
                assert {one["client"] for one in await members(server, "room:1")} == clients
            assert len({one["node"] for one in await members(a, "room:1")}) == 2
        await until(lambda: not watching.there)
        assert sorted(event for event, _ in watching.news) == ["join", "join", "leave", "leave"]
        for server in pair:
            await wait_for(server, "room:1", 0)


async def test_a_session_that_is_taken_up_at_the_other_server(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    async with Watching(pair[0], "room:1") as watching:
        session = ""
        for turn in range(6):
            server = pair[turn % 2]
            opening = taken_up(server, session) if session else ws(server, "channels=room:1")
            async with await opening as socket:
                session = json.loads(await socket.recv())["session"]
                await until(lambda: watching.there)
                await asyncio.sleep(0.3)
        assert [event for event, _ in watching.news] == ["join"]
        assert list(watching.there) == [client_of(session)]
        await until(lambda: not watching.there)
        await asyncio.sleep(GRACE)
        assert [event for event, _ in watching.news] == ["join", "leave"]
        await wait_for(pair[1], "room:1", 0)


async def test_a_poller_that_goes_from_server_to_server(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    async with (
        Watching(pair[0], "room:1") as watching,
        http_client(pair[0].url) as one,
        http_client(pair[1].url) as two,
    ):
        for turn in range(20):
            # Both in turn, and then one of them for good
            http = (one, two)[turn % 2] if turn < 8 else two
            answer = await http.get("/poll?channels=room:1&session=mine")
            assert answer.status_code == 200
            await asyncio.sleep(0.4)
        assert [event for event, _ in watching.news] == ["join"]
        await until(lambda: not watching.there)
        assert [event for event, _ in watching.news] == ["join", "leave"]


async def test_a_server_that_is_killed(pair: tuple[ServerProcess, ServerProcess]) -> None:
    a, b = pair
    async with (
        Watching(b, "room:1") as watching,
        ws(b, "channels=room:1") as stays,
        ws(a, "channels=room:1") as first,
        ws(a, "channels=room:1") as second,
        ws(a, "channels=room:1") as third,
    ):
        staying = client_of(json.loads(await stays.recv())["session"])
        sockets = (first, second, third)
        sessions = [json.loads(await socket.recv())["session"] for socket in sockets]
        await until(lambda: len(watching.there) == 4)
        killed = time.monotonic()
        a.kill()
        async with ws(b, f"channels=room:1&session={sessions[0]}") as back:
            # Of a connection that ended without a word the session is known, or a new one begins.
            returned = client_of(json.loads(await back.recv())["session"])
            await until(lambda: len(watching.there) == 2, within=2 * (TTL + BEAT) + 10)
            took = time.monotonic() - killed
            assert watching.there.keys() == {staying, returned}
            gone = [client for event, client in watching.news if event == "leave"]
            assert len(gone) == len(set(gone)), "each is told once"
            assert set(gone) == set(map(client_of, sessions)) - {returned}
            await wait_for(b, "room:1", 2)
        assert took < TTL + BEAT + GRACE + 15


async def test_a_server_that_is_told_to_end(pair: tuple[ServerProcess, ServerProcess]) -> None:
    a, b = pair
    async with (
        Watching(b, "room:1") as watching,
        ws(a, "channels=room:1") as one,
        ws(a, "channels=room:1") as two,
    ):
        sockets = (one, two)
        sessions = [json.loads(await socket.recv())["session"] for socket in sockets]
        await until(lambda: len(watching.there) == 2)
        a.terminate()
        for socket in sockets:
            await socket.wait_closed()
        async with await taken_up(b, sessions[0]) as socket:
            assert json.loads(await socket.recv())["session"] == sessions[0]
            await until(lambda: len(watching.there) == 1)
            await asyncio.sleep(GRACE)
            assert list(watching.there) == [client_of(sessions[0])]
            assert [event for event, _ in watching.news] == ["join", "join", "leave"]


async def test_all_servers_are_killed_at_once(start: StartServer, tmp_path: Path) -> None:
    engine = f"sqlite:///{tmp_path}/log.db"
    a, b = (start(engine=engine, **PRESENCE) for _ in range(2))
    async with ws(a, "channels=room:1") as one, ws(b, "channels=room:1") as two:
        sockets = (one, two)
        clients = {client_of(json.loads(await socket.recv())["session"]) for socket in sockets}
        await wait_for(a, "room:1", 2)
        for server in (a, b):
            server.kill()
    c = start(engine=engine, **PRESENCE)
    async with Watching(c, "room:1") as watching:
        assert watching.there.keys() == clients
        await until(lambda: not watching.there, within=2 * (TTL + BEAT) + 40)
        assert sorted(client for _, client in watching.news) == sorted(clients)
        await wait_for(c, "room:1", 0)
