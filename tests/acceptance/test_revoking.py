"""Revocation: a user, a session or a token is put out within a second, and stays out."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.acceptance.credentials import KEY, SECRET, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

ROOM = {"room:*": ["subscribe"]}
BY_KEY = {"X-API-Key": KEY}
SOON = 1.0  # seconds


@pytest.fixture(params=["memory", "two servers", "two servers on Redis"])
def servers(
    request: pytest.FixtureRequest,
    start: StartServer,
    tmp_path: Path,
    redis_log: Callable[[], str],
) -> list[ServerProcess]:
    """Where the clients are, and where the operator asks: one server, or two of one log."""
    if request.param == "memory":
        server = start(api_key=KEY, token_secret=SECRET)
        return [server, server]
    engine = redis_log() if "Redis" in request.param else f"sqlite:///{tmp_path}/log.db"
    return [start(engine=engine, api_key=KEY, token_secret=SECRET) for _ in range(2)]


async def revoke(server: ServerProcess, **what: str) -> float:
    """Revoke; return the clock's time when that was answered."""
    async with httpx.AsyncClient(base_url=server.url, headers=BY_KEY) as http:
        assert (await http.post("/revoke", json=what)).status_code == 204
    return time.monotonic()


def ws(server: ServerProcess, text: str) -> connect:
    url = f"{server.url.replace('http', 'ws')}/ws?channels=room:1"
    return connect(url, additional_headers=bearer(text))


async def ready(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await socket.recv())
    assert found["type"] == "ready"
    return found


async def end_of(socket: ClientConnection) -> int | None:
    """Wait for the end of a connection; its close code."""
    async with asyncio.timeout(10):
        await socket.wait_closed()
    return socket.close_code


async def test_a_user_is_put_out_of_every_transport(servers: list[ServerProcess]) -> None:
    here, there = servers
    ann, bob = token("ann", ROOM), token("bob", ROOM)
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(ws(here, ann))
        other = await stack.enter_async_context(ws(here, bob))
        await ready(socket)
        await ready(other)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=here.url, timeout=20))
        sse = await stack.enter_async_context(
            http.stream("GET", "/sse?channels=room:1", headers=bearer(ann))
        )
        lines = sse.aiter_lines()
        while not (await anext(lines)).startswith("data"):
            pass
        poll = asyncio.create_task(
            http.get("/longpoll?channels=room:1&wait=30", headers=bearer(ann))
        )
        held = 'tidewire_connections{transport="longpoll"} 1.0'
        while held not in (await http.get("/metrics", headers=BY_KEY)).text:
            pass
        answered = await revoke(there, user="ann")
        assert await end_of(socket) == 4401
        last = [line async for line in lines if line.startswith("data")][-1]
        assert json.loads(last.removeprefix("data: "))["code"] == 4401
        assert (await poll).status_code == 401
        assert time.monotonic() - answered < SOON + 9, "with room for a loaded machine"
        await other.ping()
        refused = await http.get("/poll?channels=room:1", headers=bearer(ann))
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
        assert (await http.get("/poll?channels=room:1", headers=bearer(bob))).status_code == 200


async def test_a_token_that_was_issued_later_is_good(servers: list[ServerProcess]) -> None:
    await revoke(servers[1], user="ann")
    later = token("ann", ROOM, iat=int(time.time()) + 2)
    async with httpx.AsyncClient(base_url=servers[0].url) as http:
        answer = await http.get("/poll?channels=room:1", headers=bearer(later))
    assert answer.status_code == 200


async def test_one_token_of_a_user(servers: list[ServerProcess]) -> None:
    first, second = token("ann", ROOM, jti="t1"), token("ann", ROOM, jti="t2")
    async with ws(servers[0], first) as one, ws(servers[0], second) as other:
        await ready(one)
        await ready(other)
        await revoke(servers[1], token="t1")
        assert await end_of(one) == 4401
        await other.ping()


async def test_a_session_ends_and_is_not_taken_up(servers: list[ServerProcess]) -> None:
    ann = token("ann", ROOM)
    async with ws(servers[0], ann) as one, ws(servers[0], ann) as other:
        session = (await ready(one))["session"]
        await ready(other)
        await revoke(servers[1], session=session)
        assert await end_of(one) == 4401
        await other.ping()
    async with httpx.AsyncClient(base_url=servers[0].url) as http:
        answer = await http.get("/poll", params={"session": session}, headers=bearer(ann))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_session")


async def test_it_outlives_a_crash(start: StartServer, shared_engine: str) -> None:
    server = start(engine=shared_engine, api_key=KEY, token_secret=SECRET)
    ann = token("ann", ROOM)
    await revoke(server, user="ann")
    server.kill()
    again = start(engine=shared_engine, api_key=KEY, token_secret=SECRET)
    async with httpx.AsyncClient(base_url=again.url) as http:
        answer = await http.get("/poll?channels=room:1", headers=bearer(ann))
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "body",
    [{}, {"user": ""}, {"user": "a", "session": "b"}, {"user": "x" * 256}, {"nobody": "a"}, [], 1],
)
def test_what_cannot_be_revoked(start: StartServer, body: object) -> None:
    server = start(api_key=KEY)
    answer = httpx.post(f"{server.url}/revoke", json=body, headers=BY_KEY)
    assert answer.status_code == 400


async def test_it_is_in_the_audit(start: StartServer) -> None:
    server = start(api_key=KEY, log_level="warning")
    await revoke(server, user="ann")
    assert "revoke" in server.log()
    assert "ann" in server.log()
