"""The Redis engine on servers that stand for one another: Sentinel, and Redis Cluster."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.log.harness import HOUR, draft, drafts
from tests.log.redis_storage import NAMESPACES, Node
from tests.redis_groups import RedisCluster, SentinelGroup
from tests.redis_server import wait_for
from tidewire.log.redis import RedisEngine
from tidewire.log.redis_address import parse_address
from tidewire.log.redis_directory import slot_of
from tidewire.model import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "tidewire.log")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    with SentinelGroup(tmp_path) as group:
        yield group


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def doubled(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster with a replica of each master."""
    with RedisCluster(tmp_path, replicas=1) as cluster:
        yield cluster


def holds(server: RedisServer, id: int) -> bool:
    """Whether a server has all up to an id."""
    return int(server.ask("HGET", "{tidewire}:log", "last") or 0) >= id


async def test_sentinel_leads_to_the_new_master(group: SentinelGroup) -> None:
    url = group.engine()
    async with Node(url) as one, Node(url) as other:
        *_, last = await one.append(*drafts(5))
        await one.engine.change("t", "k", lambda _: b"1", HOUR)
        await other.until_fed(last.id)
        wait_for(lambda: holds(group.replica, last.id))
        group.kill(group.master)
        [new] = await one.append_when_back(draft("a"))
        await other.until_fed(new.id)
        assert [message.seq for message in other.fed] == [1, 2, 3, 4, 5, 6]
        assert one.breaks == other.breaks == []
        assert await other.engine.get("t", "k") == b"1"


async def test_a_name_that_sentinels_do_not_know(group: SentinelGroup) -> None:
    url = group.engine().replace("master=tidewire", "master=another")
    engine = RedisEngine(parse_address(url), NAMESPACES)
    with pytest.raises(EngineUnavailable, match="name no server for another"):
        await engine.open(lambda messages: None)


async def test_the_log_is_on_the_master_of_its_slot(cluster: RedisCluster) -> None:
    async with Node(cluster.engine()) as one, Node(cluster.engine()) as other:
        [receipt] = await one.append(draft("a"))
        await other.until_fed(receipt.id)
        on = [server for server in cluster.masters() if server.ask("KEYS", "{tidewire}:*")]
        assert len(on) == 1
        slot = on[0].ask("CLUSTER", "KEYSLOT", "{tidewire}:log")
        assert slot == slot_of("tidewire")


async def test_logs_are_spread_over_a_cluster(cluster: RedisCluster) -> None:
    masters = {}
    for number in range(12):
        prefix = f"log-{number}"
        async with Node(cluster.engine(prefix=prefix)) as node:
            await node.append(draft("a"))
        for server in cluster.masters():
            if server.ask("KEYS", f"{{{prefix}}}:*"):
                masters[prefix] = server.port
    assert len(masters) == 12
    assert len(set(masters.values())) > 1


async def test_a_replica_takes_over_in_a_cluster(doubled: RedisCluster) -> None:
    async with Node(doubled.engine()) as one, Node(doubled.engine()) as other:
        *_, last = await one.append(*drafts(5))
        await other.until_fed(last.id)
        holder = doubled.holder()
        replica = doubled.replica_of(holder)
        reached = int(holder.info("replication")["master_repl_offset"])
        wait_for(lambda: int(replica.info("replication")["slave_repl_offset"]) >= reached)
        doubled.kill(holder)
        [new] = await one.append_when_back(draft("a"))
        await other.until_fed(new.id)
        assert [message.seq for message in other.fed] == [1, 2, 3, 4, 5, 6]
        assert one.breaks == other.breaks == []


async def test_a_slot_that_moves_is_followed(doubled: RedisCluster) -> None:
    """By a failover that is asked for: no server is lost, and each learns who is the master."""
    async with Node(doubled.engine()) as node:
        await node.append(*drafts(3))
        holder = doubled.holder()
        replica = doubled.replica_of(holder)
        replica.ask("CLUSTER", "FAILOVER")
        wait_for(lambda: replica.info("replication")["role"] == "master")
        wait_for(lambda: holder.info("replication")["role"] == "slave")
        [receipt] = await node.append_when_back(draft("a"))
        assert receipt.seq == 4
        assert node.breaks == []
