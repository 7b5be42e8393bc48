"""Redis stands still, or starts anew, with what it held or without it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import check_received
from tests.acceptance.subscribers import TRANSPORTS, http_client, numbered, publish_batch
from tests.acceptance.subscribers import Subscriber as PlainSubscriber
from tests.acceptance.waiting import until
from tests.faults.lanes import SETTINGS
from tests.faults.steady import Steady, check_refusal
from tests.faults.traffic import CHANNELS, Traffic, check
from tests.redis_server import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.acceptance.checker import Message
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

pytestmark = [pytest.mark.crash, pytest.mark.faults, pytest.mark.timeout(240)]


def two_nodes(start: StartServer, redis: RedisServer) -> list[ServerProcess]:
    return [start(engine=redis.engine(), **SETTINGS) for _ in range(2)]


async def test_redis_stands_still(start: StartServer, tmp_path: Path) -> None:
    """Publishing is refused, streams stay open, and all is made good when it goes on."""
    with RedisServer(tmp_path / "redis") as redis:
        nodes = two_nodes(start, redis)
        async with Traffic(nodes, "still") as traffic, Steady(nodes[0]) as steady:
            await traffic.flows()
            redis.stop()
            for node in nodes:
                await check_refusal(node)
            redis.cont()
            await traffic.flows()
            check(await traffic.finish())
            await steady.check(traffic.published)


async def test_redis_dies_and_comes_back_with_all_it_has_answered(
    start: StartServer, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis", appendonly="yes", appendfsync="always") as redis:
        nodes = two_nodes(start, redis)
        async with Traffic(nodes, "kept") as traffic, Steady(nodes[0]) as steady:
            await traffic.flows()
            redis.kill()
            for node in nodes:
                await check_refusal(node)
            redis.restart()
            await traffic.flows()
            check(await traffic.finish())
            await steady.check(traffic.published)


async def test_redis_comes_back_empty(start: StartServer, tmp_path: Path) -> None:
    """Everybody is told so, on open streams, too, and goes on with what comes from then on."""
    with RedisServer(tmp_path / "redis") as redis:
        nodes = two_nodes(start, redis)
        async with Traffic(nodes, "empty") as traffic, Steady(nodes[0]) as steady:
            await traffic.flows()
            redis.restart()
            await traffic.flows()
            check(await traffic.finish(lossy=True))
            newest = traffic.newest()
            await until(
                lambda: all(s.messages[-1:] == [newest] for s in steady.subscribers.values())
            )
            log = await traffic.whole_log()
        lost = traffic.published.acknowledged.keys() - {message.body for message in log}
        assert len(lost) >= 100, "nothing was lost: this shows nothing"
        for subscriber in steady.subscribers.values():
            assert {gap["reason"] for gap in subscriber.gaps} == {"reset"}


async def test_what_a_node_does_without_its_log(start: StartServer, tmp_path: Path) -> None:
    """It answers at once what it knows, says at once what it cannot do, and is well again soon."""
    with RedisServer(tmp_path / "redis") as redis:
        node = start(engine=redis.engine(), **SETTINGS)
        async with http_client(node.url) as client:
            published = await publish_batch(client, numbered(10, CHANNELS))
            redis.kill()
            await check_refusal(node)
            took = [await look(node, client, published) for _ in range(3)]
            # One of them took longer if the machine stood still; each, if the node waits.
            assert min(took) < 3, "it has waited for Redis, which is not there"
            redis.restart()

            for _ in range(400):
                answer = await client.post("/publish?channel=a", json=1)
                if answer.status_code == 200:
                    return
                assert answer.status_code == 503, answer.text
                await asyncio.sleep(0.05)
            pytest.fail("Redis is back, and the node has not noticed")


async def look(node: ServerProcess, client: httpx.AsyncClient, published: list[Message]) -> float:
    """Ask for all that a node knows, and for what it cannot do, without its log; the seconds."""
    before = time.monotonic()
    for transport in TRANSPORTS:
        reader = PlainSubscriber(CHANNELS)
        reader.cursor = published[0].cursor
        await reader.listen(node.url, transport, until=reader.has(9))
        check_received(published[1:], reader.messages)
    for path in ("/publish", f"/ack?consumer=x&eventId={published[0].cursor}"):
        answer = await client.post(path, json={"channel": "a", "data": 1})
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
    old = await client.get("/poll?channels=old&since=start")
    assert (old.status_code, old.json()["code"]) == (503, "engine_unavailable")
    return time.monotonic() - before
