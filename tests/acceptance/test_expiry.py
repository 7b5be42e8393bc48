"""Time to live and versions: what is out of date is not delivered, and readers are told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from tests.acceptance.subscribers import TRANSPORTS, collect, http_client, publish, publish_batch
from tests.acceptance.test_purge import Servers, channel, is_last, messages, servers, told

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.conftest import StartServer

__all__ = ["channel", "servers"]  # fixtures

TTL = 0.4
FAR = 3600
transports = pytest.mark.parametrize("transport", TRANSPORTS)


async def page(client: httpx.AsyncClient, channel: str) -> Any:
    """The channel's history."""
    return (await client.get("/history", params={"channel": channel})).json()


async def withdrawn(url: str, channel: str, count: int) -> None:
    """Wait until the history shows no more than *count* messages."""
    async with http_client(url) as client:
        while len((await page(client, channel))["messages"]) > count:
            pass


@transports
async def test_it_is_a_gap_in_its_place(servers: Servers, channel: str, transport: str) -> None:
    other = f"{channel}_other"
    async with http_client(servers.writing) as client:
        start = await publish(client, {"channel": channel, "data": "first"})
        _, _, third, *_ = await publish_batch(
            client,
            [
                {"channel": channel, "data": "stays", "ttl": FAR},
                {"channel": channel, "data": "goes", "ttl": TTL},
                {"channel": channel, "data": "goes too", "ttl": TTL},
                {"channel": other, "data": "other"},
                {"channel": channel, "data": "last"},
            ],
        )
        # Who writes on one server and reads on another waits until that has heard of it.
        await collect(servers.reading, "longpoll", [channel], since="start", until=is_last)
        await withdrawn(servers.reading, channel, 3)
        envelopes = await collect(
            servers.reading, transport, [channel, other], cursor=start.cursor, until=is_last
        )
    assert told(envelopes) == [(channel, third.cursor, "expired")]
    assert messages(envelopes) == [("stays", 2), ("other", 1), ("last", 5)]
    assert envelopes[0]["recovered"] is False


async def test_every_way_to_publish_it(servers: Servers, channel: str) -> None:
    async with http_client(servers.writing) as client:
        await publish(client, {"channel": channel, "data": 1, "ttl": TTL})
        query = {"channel": channel, "ttl": str(TTL)}
        answer = await client.post("/publish", params=query, content=b"x")
        assert answer.json()["seq"] == 2
        async with connect(servers.writing.replace("http", "ws", 1) + "/ws", proxy=None) as socket:
            await socket.recv()
            command = {"type": "publish", "ref": 1, "channel": channel, "data": 1, "ttl": TTL}
            await socket.send(json.dumps(command))
            assert json.loads(await socket.recv())["seq"] == 3
        await withdrawn(servers.writing, channel, 0)
        (gap,) = (await page(client, channel))["gaps"]
        assert (gap["reason"], gap["skipped"]) == ("expired", 3)


async def test_versions(servers: Servers, channel: str) -> None:
    async with http_client(servers.writing) as one, http_client(servers.reading) as two:
        await publish(one, {"channel": channel, "data": "v5", "version": 5})
        newest = await publish(two, {"channel": channel, "data": "v7", "version": 7})
        for client in (one, two):
            for version in (1, 5, 7):
                command = {"channel": channel, "data": "old", "version": version}
                assert (await publish(client, command)).cursor == newest.cursor
        answer = await two.post(f"/publish?channel={channel}&version=6", content=b"old")
        assert answer.json()["seq"] == 2
        await publish(one, {"channel": channel, "data": "last", "version": 8})
    envelopes = await collect(servers.reading, "sse", [channel], since="start", until=is_last)
    assert messages(envelopes) == [("v5", 1), ("v7", 2), ("last", 3)]


async def test_both_outlive_kill_9(start: StartServer, tmp_path: Path) -> None:
    engine = f"sqlite:///{tmp_path}/log.db"
    server = start(engine=engine)
    async with http_client(server.url) as client:
        newest = await publish(client, {"channel": "a", "data": 1, "ttl": TTL, "version": 5})
    server.kill()
    server = start(engine=engine)
    async with http_client(server.url) as client:
        again = await publish(client, {"channel": "a", "data": 2, "version": 5})
        assert again.cursor == newest.cursor
        await withdrawn(server.url, "a", 0)
        (gap,) = (await page(client, "a"))["gaps"]
        assert (gap["id"], gap["reason"]) == (newest.cursor, "expired")
