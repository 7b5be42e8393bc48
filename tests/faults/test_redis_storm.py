"""One trouble after the other, in random order, while publishing goes on: nothing is lost."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.lanes import SETTINGS
from tests.faults.link import Link
from tests.faults.traffic import Traffic, check
from tests.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

pytestmark = [pytest.mark.crash, pytest.mark.faults, pytest.mark.timeout(240)]

TROUBLES = 6


class Storm:
    """Two nodes, each with a network of its own to a Redis that keeps all it has answered."""

    def __init__(
        self, redis: RedisServer, links: list[Link], start: StartServer, partitions: int
    ) -> None:
        self.redis = redis
        self.partitions = partitions
        self.links = links
        self.nodes: list[ServerProcess] = []
        self._start = start

    async def begin(self, number: int, port: int = 0) -> ServerProcess:
        """Start a node, on the port that it had."""
        engine = self.links[number].engine(partitions=self.partitions)
        return await asyncio.to_thread(self._start, engine=engine, port=port, **SETTINGS)

    async def node_dies(self, choice: random.Random) -> None:
        number = choice.randrange(2)
        self.nodes[number].kill()
        await asyncio.sleep(choice.uniform(0, 0.5))
        self.nodes[number] = await self.begin(number, self.nodes[number].port)

    async def network_is_cut(self, choice: random.Random) -> None:
        link = choice.choice(self.links)
        link.cut()
        await asyncio.sleep(choice.uniform(0, 1))
        link.mend()

    async def network_swallows(self, choice: random.Random) -> None:
        link = choice.choice(self.links)
        link.swallow()
        await asyncio.sleep(choice.choice([0.5, 4.5]))
        link.mend()

    async def network_is_slow(self, choice: random.Random) -> None:
        link = choice.choice(self.links)
        link.slow_down(choice.uniform(0, 0.05))
        await asyncio.sleep(1)
        link.mend()

    async def redis_dies(self, choice: random.Random) -> None:
        self.redis.kill()
        await asyncio.sleep(choice.uniform(0, 1))
        self.redis.restart()

    async def redis_stands_still(self, choice: random.Random) -> None:
        self.redis.stop()
        await asyncio.sleep(choice.choice([0.2, 1, 4.5]))
        self.redis.cont()


@pytest.mark.parametrize("partitions", [1, 3])
async def test_one_trouble_after_the_other(
    start: StartServer, tmp_path: Path, partitions: int
) -> None:
    choice = random.Random(f"storm {partitions}")
    with RedisServer(tmp_path / "redis", appendonly="yes", appendfsync="always") as redis:
        async with Link(redis.address) as first, Link(redis.address) as second:
            storm = Storm(redis, [first, second], start, partitions)
            storm.nodes = [await storm.begin(0), await storm.begin(1)]
            troubles: list[Callable[[random.Random], Awaitable[None]]] = [
                storm.node_dies,
                storm.network_is_cut,
                storm.network_swallows,
                storm.network_is_slow,
                storm.redis_dies,
                storm.redis_stands_still,
            ]
            todo = troubles * (TROUBLES // len(troubles))
            choice.shuffle(todo)
            async with Traffic(storm.nodes, f"storm {partitions}", patience=1.0) as traffic:
                for trouble in todo:
                    await traffic.flows(more=choice.randrange(1, 60))
                    await trouble(choice)
                check(await traffic.finish(partitioned=partitions > 1))
