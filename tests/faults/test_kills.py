"""SIGKILL at any moment of the server's life, again and again, on one file and one port.

These are 56 kills on SQLite; ``tests/acceptance`` has some more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.acceptance.checker import check_log, check_received
from tests.acceptance.subscribers import (
    TRANSPORTS,
    CutError,
    http_client,
    numbered,
    publish,
    publish_batch,
)
from tests.acceptance.subscribers import Subscriber as PlainSubscriber
from tests.acceptance.waiting import until
from tests.faults.clients import Publisher, Subscriber
from tests.faults.lanes import Outcome, end, failed, hopping, warm_up
from tests.faults.model import EVERYBODY, Published, judge

if TYPE_CHECKING:
    from tests.acceptance.checker import Message
    from tests.conftest import StartServer
    from tests.faults.report import Report
    from tests.server_process import ServerProcess

pytestmark = [pytest.mark.crash, pytest.mark.faults]

KILLS_OF_A_BUSY_SERVER = 24
KILLS_OF_A_STARTING_SERVER = 10
KILLS_IN_A_BATCH = 10
KILLS_WHILE_CATCHING_UP = 3
"""On each transport."""

CHANNELS = ["a", "b", "c"]
BACKLOG = 3_000
BATCH = 2_000


async def check_whole_log(
    server: ServerProcess, channels: list[str], published: list[Message]
) -> None:
    """Check that the log is what was published, as a new subscriber sees it, and nothing more."""
    async with http_client(server.url) as client:
        last = await publish(client, {"channel": channels[0], "data": "the end"})
    reader = PlainSubscriber(channels, since="start")
    async with asyncio.timeout(20):
        await reader.listen(server.url, "ws", until=lambda: reader.messages[-1:] == [last])
    check_log(reader.messages)
    check_received([*published, last], reader.messages)


@pytest.fixture
def restart(start: StartServer, tmp_path: Path) -> StartServer:
    """Start a server on the test's own file; it keeps everything."""
    return partial(start, engine=f"sqlite:///{tmp_path}/log.db", history_size=1_000_000)


@pytest.mark.timeout(180)
async def test_kills_of_a_busy_server(restart: StartServer, report: Report) -> None:
    """Publishers of every kind retry, subscribers of every transport resume, all the while."""
    server = restart()
    cursor = await warm_up(server)
    published, stop = Published(), asyncio.Event()
    single, batch, socket = (
        Publisher(name, published, CHANNELS, stop, patience=5.0)
        for name in ("single", "batch", "socket")
    )
    subscribers = {
        transport: Subscriber(CHANNELS, itertools.repeat(transport), patience=5.0, seed=transport)
        for transport in TRANSPORTS
    }
    subscribers["hopping"] = Subscriber(CHANNELS, hopping("kills"), patience=5.0, seed="hopping")
    for subscriber in subscribers.values():
        subscriber.cursor = cursor
    url = server.url
    publishing = [
        asyncio.create_task(single.over_http(url, count=1, pause=0.005)),
        asyncio.create_task(batch.over_http(url, count=20, pause=0.01)),
        asyncio.create_task(socket.over_websocket(url, pause=0.0)),
    ]
    tasks = publishing + [
        asyncio.create_task(subscriber.listen(url)) for subscriber in subscribers.values()
    ]
    choice = random.Random("kills")
    acknowledged = published.acknowledged
    try:
        for _ in range(KILLS_OF_A_BUSY_SERVER):
            enough = len(acknowledged) + choice.randrange(300)
            await until(lambda: len(acknowledged) > enough or failed(tasks))  # noqa: B023
            server.kill()
            server = await asyncio.to_thread(restart, port=server.port)
        stop.set()
        await until(lambda: all(task.done() for task in publishing) or failed(tasks))
        newest = max(acknowledged.values())
        await until(
            lambda: (
                failed(tasks) or all(s.view.messages[-1:] >= [newest] for s in subscribers.values())
            )
        )
    finally:
        await end(tasks)
    views = {name: subscriber.view for name, subscriber in subscribers.items()}
    outcome = Outcome(judge(published, views, kept=CHANNELS))
    outcome.injected[EVERYBODY] = Counter({"kill -9": KILLS_OF_A_BUSY_SERVER})
    report.add("kill -9, sqlite", outcome)
    for verdict in outcome.verdicts.values():
        verdict.check()


async def test_kills_of_a_starting_server(restart: StartServer, tmp_path: Path) -> None:
    server = restart()
    async with http_client(server.url) as client:
        published = await publish_batch(client, numbered(500, CHANNELS))
    choice = random.Random("starting")
    for number in range(KILLS_OF_A_STARTING_SERVER):
        server.kill()
        await asyncio.to_thread(kill_while_it_starts, tmp_path, choice.uniform(0, 0.6))
        if number % 3 == 2:  # in between it serves as ever
            server = await asyncio.to_thread(restart, port=server.port)
            async with http_client(server.url) as client:
                published.append(await publish(client, {"channel": "a", "data": f"{number}"}))
    server = await asyncio.to_thread(restart, port=server.port)
    await check_whole_log(server, CHANNELS, published)


def kill_while_it_starts(directory: Path, seconds: float) -> None:
    """Start a server on the file in ``directory`` and kill it after so short a time."""
    tidewire = Path(sys.executable).with_name("tidewire")
    process = subprocess.Popen(
        [tidewire, "serve", "--engine", f"sqlite:///{directory}/log.db", "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def test_kills_in_the_middle_of_a_batch(restart: StartServer) -> None:
    """A batch is there whole or not at all; published again with its keys it is there once."""
    server = restart()
    choice = random.Random("batches")
    log: list[Message] = []
    for number in range(KILLS_IN_A_BATCH):
        batch = [
            {**command, "key": f"{number} {index}"}
            for index, command in enumerate(numbered(BATCH, ["a"], first=number * BATCH))
        ]
        publishing = asyncio.create_task(publish_until_cut(server.url, batch))
        await asyncio.sleep(choice.uniform(0, 0.1))
        server.kill()
        answered = await publishing
        server = await asyncio.to_thread(restart, port=server.port)
        async with http_client(server.url) as client:
            marker = await publish(client, {"channel": "a", "data": f"after {number}"})
            there = marker.seq - 1 - len(log)
            assert there in (0, BATCH), f"{there} of {BATCH}"
            again = await publish_batch(client, batch)
        assert again[0].seq == (len(log) + 1 if there else marker.seq + 1)
        assert answered in (None, again)
        log += [*again, marker] if there else [marker, *again]
    await check_whole_log(server, ["a"], log)


async def publish_until_cut(url: str, batch: list[dict[str, Any]]) -> list[Message] | None:
    """Publish a batch; ``None`` if the connection broke before the answer."""
    try:
        async with http_client(url) as client:
            return await publish_batch(client, batch)
    except httpx.TransportError:
        return None


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_kills_while_a_subscriber_catches_up(restart: StartServer, transport: str) -> None:
    server = restart()
    async with http_client(server.url) as client:
        published = await publish_batch(client, numbered(BACKLOG, CHANNELS, text="~" * 1_000))
    subscriber = PlainSubscriber(CHANNELS, since="start")
    choice = random.Random(transport)
    for kill in range(KILLS_WHILE_CATCHING_UP):
        wanted = len(subscriber.messages) + choice.randrange(1, BACKLOG // 5)
        listening = asyncio.create_task(subscriber.listen(server.url, transport))
        await until(lambda: listening.done() or len(subscriber.readies) > kill)  # noqa: B023
        enough = subscriber.has(min(wanted, BACKLOG))
        await until(lambda: listening.done() or enough())  # noqa: B023
        server.kill()
        with contextlib.suppress(CutError):
            await listening
        assert len(subscriber.readies) == kill + 1
        server = await asyncio.to_thread(restart, port=server.port)
    async with asyncio.timeout(20):
        await subscriber.listen(server.url, transport, until=subscriber.has(len(published)))
    check_received(published, subscriber.messages)
    assert subscriber.gaps == []
    assert all(ready["recovered"] for ready in subscriber.readies[1:])
