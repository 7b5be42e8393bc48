"""The example configuration for nginx, in a real nginx before a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import pytest
import websockets

from tests.deploy.nginx import Nginx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

PATIENCE = 10.0
"""Seconds within which anything that is not held back must have arrived."""


@pytest.fixture(scope="module")
def nginx(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx before the server that the tests of this file share."""
    proxy = Nginx(tmp_path_factory.mktemp("nginx"), server.address)
    yield proxy
    proxy.stop()


@pytest.fixture
async def client(nginx: Nginx) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP/1.1 client of nginx."""
    async with httpx.AsyncClient(base_url=nginx.url, timeout=PATIENCE, trust_env=False) as client:
        yield client


async def publish(client: httpx.AsyncClient, channel: str, data: object) -> dict[str, Any]:
    answer = await client.post("/publish", json={"channel": channel, "data": data})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_every_page_of_the_server_is_reached(client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).status_code == 200
    refused = await client.get("/sse")
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/ws", "/subscribe"])
async def test_websocket_both_ways(nginx: Nginx, path: str) -> None:
    url = f"{nginx.url.replace('http', 'ws')}{path}?channels=nginx-ws"
    async with websockets.connect(url, proxy=None, open_timeout=PATIENCE) as socket:
        assert json.loads(await socket.recv())["type"] == "ready"
        assert [type(extension).__name__ for extension in socket.protocol.extensions] == [
            "PerMessageDeflate"
        ]
        await socket.send('{"type":"publish","ref":1,"channel":"nginx-ws","data":"to and fro"}')
        async with asyncio.timeout(PATIENCE):
            envelopes = [json.loads(await socket.recv()) for _ in range(2)]
    by_type = {envelope["type"]: envelope for envelope in envelopes}
    assert by_type["message"]["data"] == "to and fro"
    assert by_type["ok"]["ref"] == 1


@pytest.mark.parametrize("path", ["/sse", "/subscribe"])
async def test_events_arrive_one_by_one(client: httpx.AsyncClient, path: str) -> None:
    """Nothing is held back until more comes: each event is read before the next is published."""
    connection = httpx_sse.aconnect_sse(client, "GET", path, params={"channels": "nginx-sse"})
    async with connection as source:
        events = source.aiter_sse()
        assert (await anext(events)).event == "tidewire.ready"
        for number in range(3):
            published = await publish(client, "nginx-sse", number)
            event = await anext(events)
            assert event.json()["data"] == number
            assert event.id == published["id"]


async def test_long_poll_is_held_and_woken(client: httpx.AsyncClient) -> None:
    asked = {"channels": "nginx-longpoll", "since": "now", "wait": "1"}
    empty = await client.get("/longpoll", params=asked)
    assert empty.status_code == 204
    assert empty.elapsed.total_seconds() >= 0.9
    cursor = empty.headers["tidewire-cursor"]

    sent = asyncio.Event()

    async def trace(event: str, _: object) -> None:
        if event == "http11.send_request_body.complete":
            sent.set()

    asked = {"channels": "nginx-longpoll", "cursor": cursor, "wait": "60"}
    held = asyncio.create_task(
        client.get("/longpoll", params=asked, extensions={"trace": trace}, timeout=PATIENCE)
    )
    await sent.wait()
    published = await publish(client, "nginx-longpoll", "wake")
    answer = await held
    assert [message["data"] for message in answer.json()["messages"]] == ["wake"]
    assert answer.json()["cursor"] == published["id"]


async def test_short_poll_keeps_its_validator(client: httpx.AsyncClient) -> None:
    await publish(client, "nginx-poll", 1)
    asked = {"channels": "nginx-poll", "since": "start"}
    first = await client.get("/poll", params=asked)
    assert first.json()["hasNew"] is True
    asked = {"channels": "nginx-poll", "cursor": first.json()["cursor"]}
    quiet = await client.get("/poll", params=asked)
    assert quiet.json()["hasNew"] is False
    again = await client.get(
        "/poll", params=asked, headers={"if-none-match": quiet.headers["etag"]}
    )
    assert again.status_code == 304
    await publish(client, "nginx-poll", 2)
    changed = await client.get(
        "/poll", params=asked, headers={"if-none-match": quiet.headers["etag"]}
    )
    assert [message["data"] for message in changed.json()["messages"]] == [2]


async def test_large_batch_passes(client: httpx.AsyncClient) -> None:
    batch = {"messages": [{"channel": "nginx-batch", "data": "x" * 500_000} for _ in range(8)]}
    answer = await client.post("/publish", json=batch)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == 8


async def test_many_streams_share_one_http2_connection(nginx: Nginx) -> None:
    """More streams than the six connections that a browser opens to one origin over HTTP/1.1."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=nginx.tls_url,
                http2=True,
                verify=nginx.trust(),
                timeout=PATIENCE,
                trust_env=False,
            )
        )
        sources = []
        for number in range(10):
            asked = {"channels": f"nginx-h2-{number}"}
            connection = httpx_sse.aconnect_sse(client, "GET", "/sse", params=asked)
            sources.append(await stack.enter_async_context(connection))
        streams = [source.aiter_sse() for source in sources]
        for events in streams:
            assert (await anext(events)).event == "tidewire.ready"
        for number, events in enumerate(streams):
            await publish(client, f"nginx-h2-{number}", number)
            assert (await anext(events)).json()["data"] == number
        assert {source.response.http_version for source in sources} == {"HTTP/2"}
        ends = {
            source.response.extensions["network_stream"].get_extra_info("client_addr")
            for source in sources
        }
        assert len(ends) == 1


async def test_two_servers_on_one_log(start: StartServer, tmp_path: Path) -> None:
    """nginx spreads requests over both in turn, and no client needs to come back to the same."""
    (tmp_path / "nginx").mkdir()
    engine = f"sqlite:///{tmp_path}/log.db"
    nginx = Nginx(tmp_path / "nginx", start(engine=engine).address, start(engine=engine).address)
    with contextlib.ExitStack() as ending:
        ending.callback(nginx.stop)
        async with httpx.AsyncClient(
            base_url=nginx.url, timeout=PATIENCE, trust_env=False
        ) as client:
            published = [await publish(client, "nginx-two", number) for number in range(10)]
            assert [answer["seq"] for answer in published] == list(range(1, 11))
            asked = {"channels": "nginx-two", "since": "start"}
            received: list[int] = []
            while len(received) < 10:
                answer = (await client.get("/longpoll", params=asked)).json()
                received += [message["data"] for message in answer["messages"]]
                asked = {"channels": "nginx-two", "cursor": answer["cursor"]}
            assert received == list(range(10))


def serve_public_name(start: StartServer, directory: Path, port: int = 0) -> ServerProcess:
    engine = f"sqlite:///{directory}/log.db"
    return start(engine=engine, port=port, allowed_hosts="realtime.example.org")


async def test_public_name_and_restart(start: StartServer, tmp_path: Path) -> None:
    """Clients come by the site's name; while the server is away they are told to come back."""
    (tmp_path / "nginx").mkdir()
    server = serve_public_name(start, tmp_path)
    nginx = Nginx(tmp_path / "nginx", server.address)
    site = {"host": "realtime.example.org", "origin": "http://realtime.example.org"}
    browser = httpx.AsyncClient(base_url=nginx.url, headers=site, timeout=PATIENCE, trust_env=False)
    asked = {"channels": "nginx-restart"}
    with contextlib.ExitStack() as ending:
        ending.callback(nginx.stop)
        async with browser:
            seen = await publish(browser, "nginx-restart", "seen")
            server.terminate()
            assert server.wait() == 0

            events = {"accept": "text/event-stream", "last-event-id": seen["id"]}
            away = await browser.get("/sse", params=asked, headers=events)
            assert away.status_code == 200
            assert away.headers["content-type"] == "text/event-stream"
            assert f"id: {seen['id']}\n" in away.text
            assert re.search(r"^retry: [2468]000$", away.text, re.MULTILINE)
            refused = await browser.get("/poll", params=asked)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert refused.json()["code"] == "unavailable"

            serve_public_name(start, tmp_path, port=server.port)
            await publish(browser, "nginx-restart", "missed")
            async with httpx_sse.aconnect_sse(
                browser, "GET", "/sse", params=asked, headers=events
            ) as source:
                stream = source.aiter_sse()
                ready = await anext(stream)
                assert ready.event == "tidewire.ready"
                assert ready.json()["recovered"] is True
                assert (await anext(stream)).json()["data"] == "missed"
