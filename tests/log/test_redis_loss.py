"""What Redis loses: every node finds out, every reader is told, and nothing that is kept is missed.

A replica that was cut off takes the master's place, so the newest messages are gone that others
have seen already.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.log.harness import HOUR, draft, drafts
from tests.log.redis_storage import Node, RedisStorage, Way
from tests.redis_groups import cut_off, is_linked
from tests.redis_server import RedisServer, wait_for
from tidewire.log import redis_feed
from tidewire.model import EngineUnavailable, Gap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tidewire.model import Page, Receipt


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "tidewire.log")


@pytest.fixture
def master(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "master") as server:
        yield server


@pytest.fixture
def replica(tmp_path: Path, master: RedisServer) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "replica", replicaof=("127.0.0.1", master.port)) as server:
        wait_for(lambda: is_linked(server))
        yield server


class Failover:
    """A master and its replica; nodes that reach whichever is meant by ways of their own."""

    def __init__(self, master: RedisServer, replica: RedisServer, stack: AsyncExitStack) -> None:
        self.master = master
        self.replica = replica
        self.storage = RedisStorage(master)
        self.ways: list[Way] = []
        self._stack = stack

    async def node(self) -> Node:
        """One more node, and the way by which it comes."""
        way = await self._stack.enter_async_context(Way(self.master))
        self.ways.append(way)
        return await self._stack.enter_async_context(Node(way.engine(prefix=self.storage.prefix)))

    def part(self) -> None:
        """What is appended from now on the replica does not get."""
        wait_for(lambda: self.replica.ask("GET", "seen") == self.master.ask("GET", "seen"))
        cut_off(self.replica, self.master)

    def take_over(self) -> None:
        """The master is gone; the replica takes its place. Nodes are cut off from both."""
        for way in self.ways:
            way.cut()
            way.target = self.replica.address
        self.master.kill()
        self.replica.ask("REPLICAOF", "NO", "ONE")

    def key(self, name: str) -> str:
        """A key of the log."""
        return self.storage.key(name)

    def wait_for_replica(self, id: int) -> None:
        """The replica has all up to this id."""
        wait_for(lambda: int(self.replica.ask("HGET", self.key("log"), "last") or 0) >= id)

    def seams(self) -> list[int]:
        """The seams that the log knows, newest first."""
        text = self.replica.ask("HGET", self.key("log"), "seams") or ""
        return [int(seam) for seam in text.split()]


@pytest.fixture
async def failover(master: RedisServer, replica: RedisServer) -> AsyncIterator[Failover]:
    async with AsyncExitStack() as stack:
        yield Failover(master, replica, stack)


def reset(page: Page) -> list[int]:
    """The ids at which a page tells of a loss."""
    return [gap.id for gap in page.gaps if gap.reason == "reset"]


async def lose(failover: Failover, *nodes: Node) -> tuple[Receipt, list[Receipt]]:
    """Append to channel a: one that is kept, and three that all nodes see and the replica lacks."""
    [kept] = await nodes[0].append(draft("a"))
    failover.wait_for_replica(kept.id)
    failover.part()
    lost = await nodes[0].append(*drafts(2))
    lost += await nodes[0].append(draft("a"))
    for node in nodes:
        await node.until_fed(lost[-1].id)
    failover.take_over()
    return kept, lost


async def test_a_lost_tail_is_a_seam(failover: Failover) -> None:
    node = await failover.node()
    kept, lost = await lose(failover, node)
    failover.ways[0].open = True
    await node.until_broken()
    [seam] = failover.seams()
    assert node.breaks == [(kept.id, seam)]
    assert lost[-1].id < seam
    [new] = await node.append(draft("a"))
    assert new.id > seam
    assert new.seq == lost[-1].seq + 1, "what was seen under a seq is not given again"
    page = await node.read(0)
    assert [message.id for message in page.messages] == [kept.id, new.id]
    assert page.gaps == [Gap("a", seam, "reset")]
    for position in (kept.id, lost[0].id, lost[-1].id, seam - 1):
        page = await node.read(position)
        assert [message.id for message in page.messages] == [new.id]
        assert page.gaps == [Gap("a", seam, "reset")]
    assert reset(await node.read(seam)) == []
    assert reset(await node.read(lost[0].id, "another")) == [seam]
    newest = await node.engine.newest(["a", "another"], seam)
    assert newest == {"a": (seam, seam // 1000), "another": (seam, seam // 1000)}
    assert (await node.engine.newest(["another"], seam - 1))["another"] == (0, 0)
    assert node.engine.epoch != ""


async def test_a_page_that_ends_before_the_seam_does_not_tell_of_it(failover: Failover) -> None:
    node = await failover.node()
    await node.append(*drafts(5))
    await lose(failover, node)
    failover.ways[0].open = True
    await node.until_broken()
    [seam] = failover.seams()
    head = await node.engine.head()
    page = await node.engine.read({"a": 0}, head, 3, 1 << 20)
    assert (len(page.messages), page.more, page.gaps) == (3, True, [])
    page = await node.engine.read({"a": page.position}, head, 9, 1 << 20)
    assert (len(page.messages), page.more, page.gaps) == (3, False, [Gap("a", seam, "reset")])


async def test_several_nodes_find_one_seam(failover: Failover) -> None:
    nodes = [await failover.node() for _ in range(3)]
    kept, _ = await lose(failover, *nodes)
    for way in failover.ways:
        way.open = True
    for node in nodes:
        await node.until_broken()
    [seam] = failover.seams()
    [new] = await nodes[0].append(draft("a"))
    for node in nodes:
        await node.until_fed(new.id)
        assert node.breaks[0] == (kept.id, seam)
        # A node may hear of the seam by the feed as well, when it has gone back already.
        assert [upto for _, upto in node.breaks] == [seam] * len(node.breaks)
        assert reset(await node.read(kept.id)) == [seam]


async def test_a_node_that_lost_nothing_hears_of_the_seam(failover: Failover) -> None:
    """It was cut off before the others saw what was lost, so it joins the log in its order."""
    seeing, other = await failover.node(), await failover.node()
    [kept] = await seeing.append(draft("a"))
    await other.until(lambda: other.fed)
    failover.wait_for_replica(kept.id)
    failover.ways[1].cut()
    failover.part()
    [lost] = await seeing.append(draft("a"))
    failover.take_over()
    failover.ways[1].open = True
    [new] = await other.append_when_back(draft("a"))
    assert other.breaks == [], "it cannot know yet"
    assert new.id > lost.id, "the new master's ids leap beyond those of the old one"
    failover.ways[0].open = True
    await other.until_broken()
    [seam] = failover.seams()
    assert other.breaks == [(new.id, seam)]
    await seeing.until_broken()  # the other may hear sooner of what it has made
    assert seeing.breaks == [(kept.id, seam)]
    page = await seeing.read(lost.id)
    assert [message.id for message in page.messages] == [new.id]
    assert page.gaps == [Gap("a", seam, "reset")]
    [last] = await other.append(draft("a"))
    await seeing.until_fed(last.id)
    assert last.seq == new.seq + 1 >= 3


async def test_a_node_that_saw_more_than_the_one_that_came_first(failover: Failover) -> None:
    most, less = await failover.node(), await failover.node()
    [kept] = await most.append(draft("a"))
    failover.wait_for_replica(kept.id)
    failover.part()
    [both] = await most.append(draft("a"))
    await less.until_fed(both.id)
    failover.ways[1].cut()
    last = (await most.append(*drafts(9)))[-1]
    failover.take_over()
    failover.ways[1].open = True
    await less.until_broken()
    failover.ways[0].open = True
    await most.until_broken()
    [seam] = failover.seams()
    assert seam > last.id
    [new] = await less.append(draft("a"))
    assert new.seq == last.seq + 1
    assert [gap.id for gap in (await most.read(last.id)).gaps] == [seam]


async def test_a_batch_under_way_is_appended_to_the_new_master(failover: Failover) -> None:
    node = await failover.node()
    [kept] = await node.append(draft("a"))
    failover.wait_for_replica(kept.id)
    failover.part()
    failover.ways[0].cut_behind = b"unlike any other"
    appending = node.engine.append([draft("a", b'"unlike any other"')])
    await node.until(lambda: failover.ways[0].lost)
    failover.take_over()
    failover.ways[0].open = True
    [receipt] = await appending
    assert receipt.seq == 2
    assert node.breaks == [], "this node has seen nothing of what was lost"
    assert [message.id for message in (await node.read(0)).messages] == [kept.id, receipt.id]


async def test_nothing_is_read_before_the_seam_is_there(
    failover: Failover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a reader could be led past what was lost without being told."""
    node = await failover.node()
    kept, lost = await lose(failover, node)
    gate, joining = asyncio.Event(), asyncio.Event()
    original = redis_feed.Follower._lost

    async def held(*arguments: Any, **more: Any) -> None:
        joining.set()
        await gate.wait()
        await original(*arguments, **more)

    monkeypatch.setattr(redis_feed.Follower, "_lost", held)
    failover.ways[0].open = True
    await joining.wait()
    with pytest.raises(EngineUnavailable):
        await node.engine.read({"a": kept.id}, lost[-1].id, 9, 99)
    gate.set()
    await node.until_broken()
    assert reset(await node.read(kept.id)) == failover.seams()


async def test_more_is_lost_than_a_node_remembers(
    failover: Failover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_feed, "REMEMBERED", 3)
    node = await failover.node()
    [kept] = await node.append(draft("a"))
    failover.wait_for_replica(kept.id)
    failover.part()
    lost = [await node.append(draft("a")) for _ in range(5)][-1][0]
    failover.take_over()
    failover.ways[0].open = True
    await node.until_broken()
    [seam] = failover.seams()
    assert node.breaks == [(lost.id, seam)]
    assert reset(await node.read(kept.id)) == [seam]


async def test_all_is_lost(master: RedisServer) -> None:
    """Somebody has emptied the server: the nodes that run make the log anew, with its epoch."""
    storage = RedisStorage(master)
    async with Node(storage.url) as node, Node(storage.url) as other:
        epoch = node.engine.epoch
        lost = await node.append(*drafts(3))
        await other.until(lambda: len(other.fed) == 3)
        await node.engine.change("t", "k", lambda _: b"1", HOUR)
        master.ask("FLUSHALL")
        [new] = await node.append(draft("a"))
        await other.until_broken()
        [last] = await other.append_when_back(draft("a"))
        await node.until_fed(last.id)
        assert node.engine.epoch == other.engine.epoch == epoch
        assert new.id > lost[-1].id
        assert new.seq >= 4
        for one in (node, other):
            assert one.breaks[0][0] == lost[-1].id
            assert len(one.breaks) == 1
            page = await one.read(lost[-1].id)
            assert [message.id for message in page.messages] == [new.id, last.id]
            assert page.gaps == [Gap("a", node.breaks[0][1], "reset")]


async def test_an_idle_node_notices_that_all_is_lost(master: RedisServer) -> None:
    storage = RedisStorage(master)
    async with Node(storage.url) as node:
        await node.append(*drafts(3))
        master.ask("FLUSHALL")
        await node.until_broken()


async def test_another_log_is_there(master: RedisServer) -> None:
    """Somebody has emptied the server, and a node came first that knows nothing of the old log."""
    storage = RedisStorage(master)
    async with Way(master) as way, Node(way.engine(prefix=storage.prefix)) as node:
        await node.append(*drafts(3))
        epoch = node.engine.epoch
        way.cut()
        master.ask("FLUSHALL")
        async with Node(storage.url) as first:
            [new] = await first.append(draft("a"))
            way.open = True
            await node.until_broken()
            assert node.breaks == [(0, new.id)]
            assert node.engine.epoch == first.engine.epoch != epoch
            [last] = await node.append(draft("a"))
            assert last.seq == 2
            await first.until_fed(last.id)


async def test_a_restart_with_an_older_file(tmp_path: Path) -> None:
    with RedisServer(tmp_path, save="900 100000") as server:
        storage = RedisStorage(server)
        async with Node(storage.url) as node:
            [kept] = await node.append(draft("a"))
            server.ask("SAVE")
            [lost] = await node.append(draft("a"))
            server.restart()
            await node.until_broken()
            [(after, seam)] = node.breaks
            assert after == kept.id
            assert seam > lost.id
            [new] = await node.append_when_back(draft("a"))
            assert new.seq == 3
            page = await node.read(0)
            assert [message.id for message in page.messages] == [kept.id, new.id]
            assert page.gaps == [Gap("a", seam, "reset")]
