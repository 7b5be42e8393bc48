"""Redis stands still, or starts anew, with what it held or without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import until
from tests.faults.lanes import SETTINGS
from tests.faults.steady import Steady, check_refusal
from tests.faults.traffic import Traffic, check
from tests.redis_server import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

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
