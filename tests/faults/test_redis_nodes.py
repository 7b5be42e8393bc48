"""Two nodes of one log on Redis: one of them dies, or the network between it and Redis does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.lanes import SETTINGS
from tests.faults.link import Link
from tests.faults.steady import Steady, check_refusal
from tests.faults.traffic import Traffic, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import StartServer
    from tests.redis_server import RedisServer

pytestmark = [pytest.mark.crash, pytest.mark.faults, pytest.mark.timeout(240)]

KILLS = 4
TOO_SLOW = 0.05
"""Seconds that each piece of a slow network takes: twenty of them a second."""


async def test_a_killed_nodes_clients_go_on_at_the_other(
    start: StartServer, redis_log: Callable[[], str]
) -> None:
    """One of the two dies and comes back on its port, then the other, again and again."""
    log = redis_log()
    nodes = [start(engine=log, **SETTINGS) for _ in range(2)]
    async with Traffic(nodes, "kills") as traffic:
        await traffic.flows()
        for kill in range(KILLS):
            dead = nodes[kill % 2]
            dead.kill()
            await traffic.flows()
            nodes[kill % 2] = await asyncio.to_thread(start, engine=log, port=dead.port, **SETTINGS)
            await traffic.flows()
        check(await traffic.finish())


@pytest.mark.parametrize("how", ["cut", "swallow"])
async def test_a_node_that_redis_is_away_from_catches_up(
    start: StartServer, redis: RedisServer, how: str
) -> None:
    """The other one goes on; streams here stay open, and miss nothing in the end."""
    prefix = f"nodes-{how}"
    async with Link(redis.address) as link:
        near = start(engine=redis.engine(prefix=prefix), **SETTINGS)
        far = await asyncio.to_thread(start, engine=link.engine(prefix=prefix), **SETTINGS)
        async with Traffic([near, far], how) as traffic, Steady(far) as steady:
            await traffic.flows()
            getattr(link, how)()
            await check_refusal(far)
            await traffic.flows()
            link.mend()
            await traffic.flows()
            check(await traffic.finish())
            await steady.check(traffic.published)


async def test_a_slow_way_to_redis_loses_nothing(start: StartServer, redis: RedisServer) -> None:
    async with Link(redis.address) as link:
        near = start(engine=redis.engine(prefix="slow"), **SETTINGS)
        far = await asyncio.to_thread(start, engine=link.engine(prefix="slow"), **SETTINGS)
        async with Traffic([near, far], "slow") as traffic, Steady(far) as steady:
            await traffic.flows()
            link.slow_down(TOO_SLOW)
            await traffic.flows(more=300)
            link.mend()
            check(await traffic.finish())
            await steady.check(traffic.published)
