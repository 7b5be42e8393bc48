"""The behaviours beside the recovery table, those that can be seen from outside.

The others are about a hub whose engine fails or leaves holes: ``tests/hub`` has them.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.checker import Message, check_log, check_received, from_answer
from tests.acceptance.subscribers import (
    TRANSPORTS,
    CutError,
    Subscriber,
    collect,
    http_client,
    numbered,
    publish,
    publish_batch,
)
from tests.acceptance.waiting import until
from tests.acceptance.websocket_client import client as websocket_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

pytestmark = pytest.mark.faults

BACKLOG = 1_000
MORE = 500
WINDOW = 1.0
"""Seconds for which keys are known; far above what a test needs between two publishes."""

every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@every_transport
async def test_wrong_epoch(start: StartServer, engine: str, transport: str) -> None:
    """Not recovered, as the row has it; but told by a gap, and all that is kept comes after it."""
    server = start(engine=engine)
    async with http_client(server.url) as client:
        published = await publish_batch(client, numbered(3, ["a"]))
    subscriber = Subscriber(["a"])
    subscriber.cursor = f"another-{published[1].position}"
    await subscriber.listen(server.url, transport, until=subscriber.has(3))
    assert subscriber.readies[0]["recovered"] is False
    assert [gap["reason"] for gap in subscriber.gaps] == ["reset"]
    check_received(published, subscriber.messages)


@every_transport
async def test_publish_during_recovery(start: StartServer, engine: str, transport: str) -> None:
    """What is published while a subscriber recovers comes behind what it recovers, each once."""
    server = start(engine=engine)
    async with http_client(server.url) as client:
        published = await publish_batch(client, numbered(BACKLOG, ["a", "b"], text="~" * 300))
        subscriber = Subscriber(["a", "b"])
        subscriber.cursor = f"{published[0].epoch}-{published[0].position - 1}"
        listening = asyncio.create_task(
            subscriber.listen(server.url, transport, until=subscriber.has(BACKLOG + MORE))
        )
        for first in range(BACKLOG, BACKLOG + MORE, 5):
            published += await publish_batch(client, numbered(5, ["a", "b"], first=first))
        async with asyncio.timeout(20):
            await listening
    check_log(subscriber.messages)
    check_received(published, subscriber.messages)
    assert subscriber.readies[0]["recovered"] is True
    assert subscriber.gaps == []


def remove_log(directory: Path) -> None:
    """Lose what a server has stored."""
    for path in directory.glob("log.db*"):
        if path.is_dir():  # of the sockets by which servers of one log wake each other
            shutil.rmtree(path)
        else:
            path.unlink()


@every_transport
async def test_epoch_change_while_live(
    start: StartServer, engine: str, tmp_path: Path, transport: str
) -> None:
    """The server comes back with an empty log: who was live is told, and goes on in the new one."""
    server = start(engine=engine)
    subscriber = Subscriber(["a"], since="start")
    async with http_client(server.url) as client:
        before = await publish_batch(client, numbered(3, ["a"]))
    listening = asyncio.create_task(subscriber.listen(server.url, transport))
    await until(subscriber.has(3))
    server.kill()
    with pytest.raises(CutError):
        await listening
    remove_log(tmp_path)
    server = start(engine=engine, port=server.port)
    async with http_client(server.url) as client:
        after = await publish_batch(client, numbered(5, ["a"], first=3))
    await subscriber.listen(server.url, transport, until=subscriber.has(8))
    assert [gap["reason"] for gap in subscriber.gaps] == ["reset"]
    assert subscriber.readies[-1]["recovered"] is False
    check_received(before, subscriber.messages[:3])
    check_received(after, subscriber.messages[3:])


async def over_http(server: ServerProcess, command: dict[str, Any]) -> Message:
    """Publish as a single message."""
    async with http_client(server.url) as client:
        return await publish(client, command)


async def in_a_batch(server: ServerProcess, command: dict[str, Any]) -> Message:
    """Publish behind another message."""
    async with http_client(server.url) as client:
        return (await publish_batch(client, [{"channel": "other", "data": 0}, command]))[1]


async def over_websocket(server: ServerProcess, command: dict[str, Any]) -> Message:
    """Publish by a command."""
    async with websocket_client(server) as client:
        return from_answer(command, await client.ok("publish", **command))


every_way = pytest.mark.parametrize("way", [over_http, in_a_batch, over_websocket])


@every_way
async def test_idempotency_key(start: StartServer, engine: str, way: Callable[..., Any]) -> None:
    """Within its window a key answers the first result; after it the message is stored again."""
    server = start(engine=engine, idempotency_window=WINDOW)
    command = {"channel": "a", "data": "1", "key": "k"}
    while True:
        command["channel"] += "a"
        began = time.monotonic()
        first = await way(server, command)
        again = await over_http(server, command)
        if time.monotonic() - began < WINDOW:  # else the machine has stood still for it
            break
    assert again == first
    async with asyncio.timeout(10):
        while (again := await way(server, command)) == first:
            assert again.seq == 1
    assert again.seq == 2
    envelopes = await collect(
        server.url,
        "sse",
        [command["channel"]],
        since="start",
        until=lambda e: e.get("seq") == 2,
    )
    assert [e["seq"] for e in envelopes if e["type"] == "message"] == [1, 2]


@every_way
async def test_skip_old_version(start: StartServer, engine: str, way: Callable[..., Any]) -> None:
    """What is not newer than the newest version is neither stored nor delivered."""
    server = start(engine=engine)
    streams = {transport: Subscriber(["a"], since="start") for transport in TRANSPORTS}
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for transport, subscriber in streams.items():
            group.create_task(subscriber.listen(server.url, transport, until=subscriber.has(3)))
        old = await way(server, {"channel": "a", "data": "five", "version": 5})
        for version in (5, 4, 1):
            skipped = await way(server, {"channel": "a", "data": version, "version": version})
            assert (skipped.position, skipped.seq) == (old.position, old.seq)
        new = await way(server, {"channel": "a", "data": "six", "version": 6})
        free = await way(server, {"channel": "a", "data": "without"})
    for subscriber in streams.values():
        check_received([old, new, free], subscriber.messages)
