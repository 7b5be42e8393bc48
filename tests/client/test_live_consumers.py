"""Consumers of a real server, over connections that are cut again and again."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.acceptance.cutting_proxy import CuttingProxy
from tests.cli.commands import serve
from tests.client.test_live import NAMES, Cutter, at_once, publish, transport
from tidewire.client import (
    Acknowledger,
    Backoff,
    Client,
    Message,
    Operations,
    Position,
    Received,
    Replaced,
    ServerAddress,
    WebSocketTransport,
    open_http,
    receive,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess

MESSAGES = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = serve(tmp_path_factory.mktemp("live"), "--max-deliver", "1000")
    yield server
    server.kill()
    assert "Traceback" not in server.log(), server.log()


async def work(name: str, proxy: CuttingProxy, position: Position, count: int) -> list[Message]:
    """Take messages and acknowledge each, until there are *count* different ones."""
    assert position.consumer is not None
    messages: list[Message] = []
    address = ServerAddress.parse(proxy.url)
    async with open_http(address) as http:
        made = transport(name, http, proxy.url)
        none = Backoff(draw=lambda: 0.0)
        acks = Acknowledger(
            Operations(http, address),
            position.consumer,
            teller=made if isinstance(made, WebSocketTransport) else None,
            every=0.01,
            backoff=none,
        )
        cutter = Cutter(proxy, 40_000, seed=name)
        events = receive(made, position, backoff=none, watcher=cutter, sleep=at_once)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Received) and isinstance(event.envelope, Message):
                    message = event.envelope
                    if acks.give(message):
                        messages.append(message)
                        acks.finish(message.id)
                        if len({one.seq for one in messages}) == count:
                            break
        proxy.budget = 1 << 30
        await acks.flush()
    return messages


@pytest.mark.parametrize("name", NAMES)
async def test_every_message_is_dealt_with_and_acknowledged(
    name: str, server: ServerProcess
) -> None:
    channel, consumer = f"cut:{name}", f"worker:{name}"
    await publish(server, channel, range(MESSAGES // 2))

    async def publish_rest() -> None:
        for first in range(MESSAGES // 2, MESSAGES, 10):
            await publish(server, channel, range(first, first + 10))

    async with CuttingProxy(server.address) as proxy:
        publishing = asyncio.create_task(publish_rest())
        position = Position([channel], since="start", consumer=consumer)
        messages = await work(name, proxy, position, MESSAGES)
        await publishing
        assert proxy.cuts >= 1
        await publish(server, channel, [MESSAGES])
        # A new connection begins where all is acknowledged, though it gives no cursor.
        [last] = await work(name, proxy, Position([channel], consumer=consumer), 1)
    assert (last.data, last.deliveries) == (MESSAGES, 1)
    assert {message.data for message in messages} == set(range(MESSAGES))
    # This program has received none twice: its cursor and its ledger see to that.
    assert len(messages) == MESSAGES


async def test_one_program_after_the_other_shares_the_work(server: ServerProcess) -> None:
    await publish(server, "relay", range(100))
    taken: list[int] = []
    for name in [*NAMES, "ws"]:
        async with Client(server.url) as client:
            jobs = client.subscribe(
                ["relay"],
                transport="ws" if name == "msgpack" else name,
                codec="msgpack" if name == "msgpack" else "json",
                consumer="relay",
                since="start",
            )
            for _ in range(10):
                job = await anext(jobs)
                taken.append(job.data)
                await job.ack()
            unfinished = await anext(jobs)
            assert unfinished.data == len(taken)
    assert taken == list(range(len(NAMES) * 10 + 10))


async def test_automatic_acknowledgement_leaves_the_one_at_work(server: ServerProcess) -> None:
    await publish(server, "auto", range(5))
    for expected, deliveries in ((0, 1), (2, 2)):
        async with Client(server.url) as client:
            jobs = client.subscribe(["auto"], consumer="auto", ack="auto", since="start")
            first = await anext(jobs)
            assert (first.data, first.deliveries) == (expected, deliveries)
            await anext(jobs)
            third = await anext(jobs)
            assert third.data == expected + 2


async def test_a_refused_job_comes_again_in_its_time_and_a_rejected_one_never(
    server: ServerProcess,
) -> None:
    await publish(server, "jobs", range(3))
    async with Client(server.url) as client:
        jobs = client.subscribe(["jobs"], consumer="jobs", since="start")
        first, second, third = [await anext(jobs) for _ in range(3)]
        await second.nack(reject=True)
        await first.nack(delay=0.2)
        await third.ack()
        again = await anext(jobs)
        assert (again.data, again.deliveries) == (0, 2)
        await again.ack()
        await jobs.flush()
        dead = client.subscribe(["dead-letter:jobs"], since="start")
        letter = await anext(dead)
        assert (letter.data, letter.headers["tidewire-id"]) == (1, second.id)
        pages = [page async for page in client.operations.receipts("jobs", third.id)]
        assert [one.acknowledged for page in pages for one in page.consumers] == [True]
        assert pages[0].acknowledged == 1


@pytest.mark.parametrize("name", ["ws", "sse"])
async def test_a_message_that_the_server_gave_up_holds_up_no_other(
    name: str, tmp_path: Path
) -> None:
    """All after it are acknowledged singly: thousands of them, where the server keeps 1,000."""
    server = serve(tmp_path, "--ack-wait", "1", "--max-deliver", "2")
    try:
        await publish(server, "poison", range(1000))
        async with Client(server.url) as client:
            jobs = client.subscribe(["poison"], transport=name, consumer="p", since="start")
            first = await anext(jobs)
            seen = {first.data}
            async for job in jobs:
                if job.id == first.id:
                    assert job.deliveries == 2
                    continue
                await job.ack()
                seen.add(job.data)
                if len(seen) == 1000 and job.data < 3000:
                    await publish(server, "poison", range(1000, 4000))
                if len(seen) == 4000:
                    break
            await jobs.flush()
            letter = await anext(client.subscribe(["dead-letter:p"], since="start"))
            assert letter.headers["tidewire-id"] == first.id
        async with Client(server.url) as client:
            await publish(server, "poison", [4000])
            jobs = client.subscribe(["poison"], transport=name, consumer="p")
            assert (await anext(jobs)).data == 4000
    finally:
        server.kill()


@pytest.mark.parametrize("name", ["ws", "sse", "longpoll"])
async def test_the_older_of_two_is_told_that_it_was_replaced(
    name: str, server: ServerProcess
) -> None:
    async with Client(server.url) as client:
        older = client.subscribe([f"two:{name}"], transport=name, consumer=f"two:{name}")
        waiting = asyncio.create_task(anext(older))
        newer = client.subscribe([f"two:{name}"], transport=name, consumer=f"two:{name}")
        connected = asyncio.create_task(anext(newer))
        done, _ = await asyncio.wait(
            [waiting, connected], timeout=30, return_when=asyncio.FIRST_COMPLETED
        )
        replaced = done.pop()
        assert isinstance(replaced.exception(), Replaced)
        await client.publish(f"two:{name}", msgspec.Raw(b"1"))
        [other] = {waiting, connected} - {replaced}
        assert (await other).data == 1
