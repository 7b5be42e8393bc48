"""Two processes share one log, in a SQLite file or on Redis: any can answer any client."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import (
    Message,
    body_of,
    check_agreement,
    check_log,
    check_received,
)
from tests.acceptance.subscribers import (
    TRANSPORTS,
    Subscriber,
    http_client,
    numbered,
    publish,
    publish_batch,
)

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

CHANNELS = ["a", "b", "c"]
BATCHES = 60
THE_END = {"channel": "a", "data": "the end"}


@pytest.fixture
def pair(start: StartServer, shared_engine: str) -> tuple[ServerProcess, ServerProcess]:
    """Two servers of one log."""
    return start(engine=shared_engine), start(engine=shared_engine)


async def keep_publishing(server: ServerProcess, name: str, published: list[Message]) -> None:
    """Publish batches and single messages, as fast as they are answered."""
    choice = random.Random(name)
    async with http_client(server.url) as client:
        for number in range(BATCHES):
            batch = numbered(choice.randint(1, 20), CHANNELS, first=number * 100, text=name)
            published += await publish_batch(client, batch)


def has_the_end(subscriber: Subscriber) -> bool:
    """Whether the last message of all has come."""
    return any(message.body == body_of(THE_END) for message in subscriber.messages[-1:])


async def test_publishers_and_subscribers_on_both(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    published: list[Message] = []
    subscribers = {
        f"{transport} {number}": Subscriber(CHANNELS, since="start")
        for transport in TRANSPORTS
        for number in (0, 1)
    }
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        publishing = [
            group.create_task(keep_publishing(server, f"publisher {number}", published))
            for number, server in enumerate([*pair, *pair])
        ]
        for name, subscriber in subscribers.items():
            transport, number = name.split()
            listening = subscriber.listen(
                pair[int(number)].url, transport, until=partial(has_the_end, subscriber)
            )
            group.create_task(listening)
        await asyncio.gather(*publishing)
        async with http_client(pair[0].url) as client:
            published.append(await publish(client, THE_END))
    published.sort()
    check_log(published)
    for subscriber in subscribers.values():
        check_received(published, subscriber.messages)
    check_agreement({name: s.messages for name, s in subscribers.items()})


async def publish_ahead_of(
    subscriber: Subscriber, server: ServerProcess, published: list[Message], stop: asyncio.Event
) -> None:
    """Publish one by one, never more than 200 messages ahead of the subscriber, until told."""
    async with http_client(server.url) as client:
        while not stop.is_set():
            if len(published) < len(subscriber.messages) + 200:
                (command,) = numbered(1, CHANNELS, first=len(published), text=server.url)
                published.append(await publish(client, command))
            await asyncio.sleep(0.001)


async def test_a_client_hops_between_servers_and_transports(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    published: list[Message] = []
    subscriber = Subscriber(CHANNELS, since="start")
    choice = random.Random("hops")
    stop = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for server in pair:
            group.create_task(publish_ahead_of(subscriber, server, published, stop))
        for _ in range(100):
            more = subscriber.has(len(subscriber.messages) + choice.randint(1, 20))
            transport = choice.choice(list(TRANSPORTS))
            await subscriber.listen(choice.choice(pair).url, transport, until=more)
        stop.set()
    if len(subscriber.messages) < len(published):
        await subscriber.listen(pair[1].url, "ws", until=subscriber.has(len(published)))
    published.sort()
    check_log(published)
    check_received(published, subscriber.messages)
    assert subscriber.gaps == []
    assert all(ready["recovered"] for ready in subscriber.readies[1:])


async def test_a_key_counts_on_both(pair: tuple[ServerProcess, ServerProcess]) -> None:
    command = {"channel": "a", "data": 1, "key": "once"}
    results = []
    for server in pair:
        async with http_client(server.url) as client:
            results.append(await publish(client, command))
    assert results[0] == results[1]
    assert results[0].seq == 1


@pytest.mark.crash
async def test_the_other_server_goes_on_when_one_is_killed(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    published: list[Message] = []
    async with http_client(pair[0].url) as client:
        published += await publish_batch(client, numbered(10, CHANNELS))
    subscriber = Subscriber(CHANNELS, since="start")
    await subscriber.listen(pair[0].url, "sse", until=subscriber.has(5))
    pair[0].kill()
    async with http_client(pair[1].url) as client:
        published += await publish_batch(client, numbered(10, CHANNELS, first=10))
    async with asyncio.timeout(20):
        await subscriber.listen(pair[1].url, "longpoll", until=subscriber.has(20))
    check_log(published)
    check_received(published, subscriber.messages)
