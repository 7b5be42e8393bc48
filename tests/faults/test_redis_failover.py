"""The master of the log dies: a replica takes its place, with all that was there, or without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import until
from tests.faults.lanes import SETTINGS
from tests.faults.steady import Steady, check_refusal
from tests.faults.traffic import WITHIN, Traffic, check
from tests.redis_groups import RedisCluster, SentinelGroup, cut_off

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.redis_server import RedisServer

pytestmark = [pytest.mark.crash, pytest.mark.faults, pytest.mark.timeout(240)]

PARTITIONS = 3
"""Of a log in a Cluster: its masters have one each, or one of them has more."""

TAIL = 300
"""Messages that only the master has when it dies."""


async def test_a_failover_by_sentinel_loses_nothing_that_the_replica_has(
    start: StartServer, tmp_path: Path
) -> None:
    """With ``replicas=1`` that is everything that was answered.

    Nothing more is answered until there is a replica again, which is the old master here.
    """
    with SentinelGroup(tmp_path / "redis") as group:
        nodes = [start(engine=group.engine(replicas=1), **SETTINGS) for _ in range(2)]
        async with Traffic(nodes, "sentinel") as traffic, Steady(nodes[0]) as steady:
            await traffic.flows()
            master, replica = group.master, group.replica
            group.kill(master)
            await until(lambda: group.is_led_by(replica), within=WITHIN)
            await check_refusal(nodes[0])
            master.restart()
            await traffic.flows()
            check(await traffic.finish())
            await steady.check(traffic.published)


async def test_a_failover_by_sentinel_tells_of_the_tail_that_is_lost(
    start: StartServer, tmp_path: Path
) -> None:
    with SentinelGroup(tmp_path / "redis") as group:
        nodes = [start(engine=group.engine(), **SETTINGS) for _ in range(2)]
        async with Traffic(nodes, "lost tail") as traffic:
            await traffic.flows()
            master, replica = group.master, group.replica
            cut_off(replica, master)
            await traffic.flows(more=TAIL)
            group.kill(master)
            await traffic.flows()
            assert group.master is replica
            check(await traffic.finish(lossy=True))
            await check_loss(traffic)


async def check_loss(traffic: Traffic) -> None:
    """Much of what was acknowledged is gone, and it is the same log as before."""
    log = set(await traffic.whole_log())
    lost = [m for m in traffic.published.acknowledged.values() if m not in log]
    assert len(lost) >= TAIL / 10, "nothing was lost: this shows nothing"
    assert len({message.epoch for message in log}) == 1


async def test_a_failover_in_a_cluster_tells_of_the_tail_that_is_lost(
    start: StartServer, tmp_path: Path
) -> None:
    with RedisCluster(tmp_path / "redis", replicas=1, password="of the cluster") as cluster:
        log = cluster.engine(partitions=PARTITIONS)
        nodes = [start(engine=log, **SETTINGS) for _ in range(2)]
        async with Traffic(nodes, "lost tail of a cluster") as traffic:
            await traffic.flows()
            master = most_written(cluster)
            replica = cluster.replica_of(master)
            cut_off(replica, master)
            await traffic.flows(more=TAIL)
            cluster.kill(master)
            await traffic.flows()
            assert replica in cluster.masters()
            check(await traffic.finish(lossy=True, partitioned=True))
            await check_loss(traffic)


async def test_a_failover_in_a_cluster_loses_nothing_that_the_replica_has(
    start: StartServer, tmp_path: Path
) -> None:
    with RedisCluster(tmp_path / "redis", replicas=1, password="of the cluster") as cluster:
        log = cluster.engine(replicas=1, partitions=PARTITIONS)
        nodes = [start(engine=log, **SETTINGS) for _ in range(2)]
        async with Traffic(nodes, "cluster") as traffic, Steady(nodes[0]) as steady:
            await traffic.flows()
            master = most_written(cluster)
            replica = cluster.replica_of(master)
            cluster.kill(master)
            await until(lambda: replica in cluster.masters(), within=WITHIN)
            master.restart()
            await traffic.flows()
            check(await traffic.finish(partitioned=True))
            await steady.check(traffic.published)


def most_written(cluster: RedisCluster) -> RedisServer:
    """The master with most of what is published, though that may be a third of the log only."""
    return max(
        cluster.holders(), key=lambda server: int(server.info("replication")["master_repl_offset"])
    )
