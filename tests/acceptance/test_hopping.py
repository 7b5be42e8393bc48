"""Clients with a bad network: cut in the middle, thrown from transport to transport, or slow."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import Message, check_log, check_received
from tests.acceptance.cutting_proxy import CuttingProxy
from tests.acceptance.slow_reader import SlowReader
from tests.acceptance.subscribers import (
    TRANSPORTS,
    CutError,
    Subscriber,
    http_client,
    numbered,
    publish_batch,
)

if TYPE_CHECKING:
    import httpx

    from tests.conftest import StartServer

CHANNELS = ["a", "b", "c", "d", "e"]
CUTS = 200


async def keep_publishing(
    client: httpx.AsyncClient, published: list[Message], seen: list[Message], stop: asyncio.Event
) -> None:
    """Publish small batches, never more than 500 messages ahead of the subscriber, until told."""
    choice = random.Random("publisher")
    while not stop.is_set():
        if len(published) < len(seen) + 500:
            text = "~" * choice.randrange(400)
            batch = numbered(choice.randint(1, 6), CHANNELS, first=len(published), text=text)
            published += await publish_batch(client, batch)
        await asyncio.sleep(0.001)


async def test_a_client_cut_200_times_on_changing_transports_misses_nothing(
    start: StartServer, engine: str
) -> None:
    server = start(engine=engine)
    subscriber = Subscriber(CHANNELS, since="start")
    published: list[Message] = []
    stop = asyncio.Event()
    choice = random.Random("cuts")
    used = dict.fromkeys(TRANSPORTS, 0)
    last = ""
    async with (
        asyncio.timeout(60),
        http_client(server.url) as client,
        CuttingProxy(server.address) as proxy,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(keep_publishing(client, published, subscriber.messages, stop))
        for cut in range(CUTS):
            last = choice.choice([transport for transport in TRANSPORTS if transport != last])
            used[last] += 1
            proxy.budget = choice.randrange(6_000)
            with pytest.raises(CutError):
                await subscriber.listen(proxy.url, last)
            assert proxy.cuts == cut + 1
        stop.set()
    async with asyncio.timeout(20):
        await subscriber.listen(server.url, "ws", until=subscriber.has(len(published)))
    assert all(used.values())
    check_log(published)
    check_received(published, subscriber.messages)
    assert subscriber.gaps == []
    assert all(ready["recovered"] for ready in subscriber.readies[1:])


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_a_client_that_reads_at_a_hundredth_of_the_speed_misses_nothing(
    start: StartServer, engine: str, transport: str
) -> None:
    server = start(engine=engine)
    published: list[Message] = []
    sent = 0
    async with http_client(server.url) as client:
        with SlowReader(server.address, transport, CHANNELS, since="start") as reader:
            for first in range(0, 1_000, 20):
                batch = numbered(20, CHANNELS, first=first, text="x" * 20_000)
                published += await publish_batch(client, batch)
                sent += 20 * 20_000
                while reader.bytes_read < sent // 100:
                    assert reader.read(4_000)
            assert len(reader.messages) < len(published) / 50, "it was not slow at all"
            reader.hurry()
            while len(reader.messages) < len(published):
                assert reader.read(65_536)
    check_log(published)
    check_received(published, reader.messages)
    assert reader.gaps == []
