"""SIGKILL at any moment: what was answered is there, and everyone goes on where they were."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import Message, check_received
from tests.acceptance.subscribers import (
    TRANSPORTS,
    Subscriber,
    collect,
    http_client,
    publish,
    publish_batch,
)
from tests.acceptance.traffic import under_traffic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartServer

pytestmark = pytest.mark.crash

KILLS = 12


@pytest.mark.timeout(180)
async def test_kill_during_a_stream_of_publishes(start: StartServer, tmp_path: Path) -> None:
    engine = f"sqlite:///{tmp_path}/log.db"
    server = start(engine=engine, history_size=1_000_000)
    restart = partial(start, engine=engine, history_size=1_000_000, port=server.port)
    choice = random.Random("kills")
    async with under_traffic(server.url) as traffic:
        for _ in range(KILLS):
            await traffic.more_than(len(traffic.published) + choice.randrange(100, 400))
            server.kill()
            server = await asyncio.to_thread(restart)
    for subscriber in traffic.subscribers.values():
        assert len(subscriber.readies) > KILLS / 2


async def test_a_key_answers_its_first_result_after_a_kill(
    start: StartServer, tmp_path: Path
) -> None:
    engine = f"sqlite:///{tmp_path}/log.db"
    server = start(engine=engine)
    single = {"channel": "a", "data": 1, "key": "single"}
    batch = [{"channel": "a", "data": n, "key": f"batch {n}"} for n in range(3)]

    async def publish_all() -> list[Message]:
        async with http_client(server.url) as client:
            return [await publish(client, single), *await publish_batch(client, batch)]

    before = await publish_all()
    server.kill()
    server = start(engine=engine, port=server.port)
    assert await publish_all() == before
    async with http_client(server.url) as client:
        after = await publish(client, {"channel": "a", "data": "new"})
    assert after.seq == len(before) + 1
    assert after.epoch == before[0].epoch


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_cursor_before_a_kill_is_right_after_it(
    start: StartServer, tmp_path: Path, transport: str
) -> None:
    engine = f"sqlite:///{tmp_path}/log.db"
    server = start(engine=engine)
    async with http_client(server.url) as client:
        before = await publish_batch(client, [{"channel": "a", "data": n} for n in range(10)])
    envelopes = await collect(
        server.url, transport, ["a"], since="start", until=lambda e: e.get("seq") == 4
    )
    server.kill()
    server = start(engine=engine, port=server.port)
    async with http_client(server.url) as client:
        after = await publish(client, {"channel": "a", "data": "new"})
    subscriber = Subscriber(["a"])
    subscriber.cursor = envelopes[-1]["id"]
    await subscriber.listen(server.url, transport, until=subscriber.has(7))
    check_received([*before[4:], after], subscriber.messages)
    assert subscriber.readies[0]["recovered"] is True
    assert subscriber.gaps == []
