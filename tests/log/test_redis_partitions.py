"""A log of several partitions on real Redis servers: one order on every node."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import pytest

from tests.acceptance.waiting import until
from tests.log.harness import EVERYTHING, draft
from tests.log.redis_storage import NAMESPACES, Node
from tests.redis_groups import PASSWORD, RedisCluster, cut_off
from tidewire.log.partitioned import Partitioned
from tidewire.log.redis import redis_engine
from tidewire.log.redis_address import parse_address
from tidewire.model import EngineUnavailable, Receipt, Since

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer

CHANNELS = [f"channel-{number}" for number in range(16)]
PARTITIONS = 4
SOON = 30.0
"""Seconds for what takes one or two; far above that, for a machine that stands still."""


class Spread(Node):
    """A node of a log with several partitions."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        engine = redis_engine(parse_address(url), NAMESPACES)
        assert isinstance(engine, Partitioned)
        self.whole = engine

    async def __aenter__(self) -> Self:
        self.head_at_open = await self.whole.open(self.fed.extend, self._broken)
        return self

    async def __aexit__(self, *_: object) -> None:
        async with within(SOON, "closed", self):
            await self.whole.close()

    async def publish(self, count: int, seed: int) -> list[Receipt]:
        """Append to channels at random, one call after the other, of some messages each."""
        choice = random.Random(seed)
        receipts: list[Receipt] = []
        for _ in range(count):
            names = choice.choices(CHANNELS, k=choice.randint(1, 5))
            receipts += await self.whole.append([draft(name) for name in names])
        return receipts

    @property
    def ids(self) -> list[int]:
        """The ids of the messages that it was fed."""
        return [message.id for message in self.fed]

    @property
    def reached(self) -> int:
        """Up to where its feed has come."""
        return max([0, *self.ids[-1:], *(upto for _, upto in self.breaks)])

    async def followed(self, after: int) -> list[int]:
        """The ids behind *after*: of what it was fed, and of what it has to read for its breaks."""
        ids = {id for id in self.ids if id > after}
        for begin, upto in self.breaks:
            begins = dict.fromkeys(CHANNELS, max(begin, after))
            page = await self.whole.read(begins, upto, 10_000, EVERYTHING)
            ids |= {message.id for message in page.messages}
        return sorted(ids)

    def __repr__(self) -> str:
        """Where it stands, for the text of a failure; ids from where the whole has come to."""
        emitted = self.whole._emitted
        lanes = [
            (lane.known - emitted, lane.asked and lane.asked - emitted, len(lane.waiting))
            for lane in self.whole._lanes
        ]
        answers = [entry[0] - emitted for entry in self.whole._answers]
        return f"known, asked, waiting: {lanes}; answers: {answers}; breaks: {self.breaks}"


@pytest.fixture
def url(redis_log: Callable[[], str]) -> str:
    """A new log with four partitions, all on one server."""
    return f"{redis_log()}&partitions={PARTITIONS}"


@pytest.fixture
def doubled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[RedisCluster]:
    """A cluster with a replica of each master."""
    caplog.set_level(logging.ERROR, "tidewire.log")
    with RedisCluster(tmp_path, replicas=1, password=PASSWORD) as cluster:
        yield cluster


@asynccontextmanager
async def within(seconds: float, what: str, *nodes: Spread) -> AsyncIterator[None]:
    """Fail if something takes longer, and say where *nodes* stand then."""
    timeout = asyncio.timeout(seconds)
    try:
        async with timeout:
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise AssertionError(f"not {what} within {seconds} s: {nodes}") from error


async def check_one_order(one: Spread, other: Spread) -> None:
    """Both publish at once; what both are fed, and what is read, is one log."""
    answers = await asyncio.gather(
        *(node.publish(40, n) for n, node in enumerate([one, other] * 3))
    )
    ids = sorted(receipt.id for answer in answers for receipt in answer)
    await one.until(lambda: one.ids and one.ids[-1] == ids[-1])
    await other.until(lambda: other.ids and other.ids[-1] == ids[-1])
    assert one.ids == other.ids == ids
    for name in CHANNELS:
        seqs = [message.seq for message in one.fed if message.channel == name]
        assert seqs == list(range(1, len(seqs) + 1))
    after = dict.fromkeys(CHANNELS, 0)
    read: list[int] = []
    while True:
        page = await other.whole.read(after, ids[-1], 37, EVERYTHING)
        read += [message.id for message in page.messages]
        after = dict.fromkeys(CHANNELS, page.position)
        if not page.more:
            break
    assert read == ids


async def test_two_nodes_have_one_order(url: str) -> None:
    async with Spread(url) as one, Spread(url) as other:
        await check_one_order(one, other)
        assert one.breaks == other.breaks == []


async def test_each_partition_gives_ids_of_its_own(url: str) -> None:
    async with Spread(url) as node:
        receipts = await node.publish(40, 1)
    numbers = {receipt.channel: receipt.id % PARTITIONS for receipt in receipts}
    assert len(set(numbers.values())) == PARTITIONS
    assert all(receipt.id % PARTITIONS == numbers[receipt.channel] for receipt in receipts)


async def test_who_appends_after_an_answer_comes_after_it(url: str) -> None:
    async with Spread(url) as one, Spread(url) as other:
        last = 0
        for number, name in enumerate(CHANNELS * 5):
            [receipt] = await (one, other)[number % 2].whole.append([draft(name)])
            assert receipt.id > last
            last = receipt.id


async def test_every_message_is_of_the_epoch_of_the_whole(url: str) -> None:
    async with Spread(url) as one, Spread(url) as other:
        receipts = await one.publish(20, 1)
        await other.until(lambda: len(other.fed) == len(receipts))
        page = await other.whole.read(dict.fromkeys(CHANNELS, 0), one.ids[-1], 1_000, EVERYTHING)
        single = await other.whole.read({CHANNELS[0]: 0}, one.ids[-1], 1_000, EVERYTHING)
        found = [*one.fed, *other.fed, *page.messages, *single.messages]
        assert {message.epoch for message in found} == {one.whole.epoch} == {other.whole.epoch}


async def test_who_comes_later_finds_all(url: str) -> None:
    async with Spread(url) as one:
        first = await one.publish(20, 1)
        await one.whole.change("t", "k", lambda _: b"1", 60)
        async with Spread(url) as late:
            assert late.head_at_open == max(receipt.id for receipt in first)
            assert late.whole.epoch == one.whole.epoch
            assert await late.whole.get("t", "k") == b"1"
            assert await late.whole.scan("t", "", "", 9) == [("k", b"1")]
            more = await one.publish(20, 2)
            await late.until(lambda: len(late.fed) == len(more))
            assert late.ids == sorted(receipt.id for receipt in more)
            start = await late.whole.starts(CHANNELS, Since("start", 0))
            page = await late.whole.read(start, late.ids[-1], 1_000, EVERYTHING)
            assert len(page.messages) == len(first) + len(more)


async def test_ids_that_are_given_no_more_though_no_batch_says_so(
    url: str, redis: RedisServer
) -> None:
    """A second node that has lost its tail moves them on, beyond the seam of the first."""
    async with Spread(url) as one, Spread(url) as other:
        [first] = await one.whole.append([draft(CHANNELS[0])])
        for lane in one.whole._lanes:
            if lane is not one.whole._lanes[first.id % PARTITIONS]:
                redis.ask("HSET", lane.engine._keys.log.decode(), "last", first.id + 10_000_000)  # type: ignore[attr-defined]
        [second] = await one.whole.append([draft(CHANNELS[0])])
        for node in (one, other):
            await node.until(lambda node=node: node.ids == [first.id, second.id])  # type: ignore[misc]


async def test_another_number_of_partitions_is_another_log(redis_log: Callable[[], str]) -> None:
    log = redis_log()
    async with Spread(f"{log}&partitions=2") as two:
        await two.publish(5, 1)
        async with Spread(f"{log}&partitions=3") as three:
            assert three.head_at_open == 0
            assert three.whole.epoch != two.whole.epoch


async def test_if_one_cannot_be_opened_none_stays_open(url: str, redis: RedisServer) -> None:
    async with Spread(url) as node:
        keys = [lane.engine._keys.log.decode() for lane in node.whole._lanes]  # type: ignore[attr-defined]
    redis.ask("HSET", keys[0], "format", 7)
    clients = redis.ask("CLIENT", "LIST").count("tidewire-")
    with pytest.raises(EngineUnavailable, match="its format is 7"):
        await Spread(url).whole.open(lambda messages: None)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await until(lambda: redis.ask("CLIENT", "LIST").count("tidewire-") == clients)


@pytest.mark.parametrize("cut", [False, True], ids=["linked", "cut off"])
async def test_partitions_are_on_all_masters_of_a_cluster(doubled: RedisCluster, cut: bool) -> None:
    """One fails. What it has not told its replica by then, marks among it, is lost: a break."""
    url = doubled.engine(partitions=PARTITIONS * 2)
    async with Spread(url) as one, Spread(url) as other:
        nodes = one, other
        async with within(SOON, "in one order", *nodes):
            await check_one_order(one, other)
        before = one.ids[-1]
        masters = doubled.masters()
        assert all(server.ask("DBSIZE") for server in masters)
        if cut:
            cut_off(doubled.replica_of(masters[1]), masters[1])
            async with within(SOON, "in one order", *nodes):
                await one.publish(10, 7)
        doubled.kill(masters[1])
        async with within(40, "taken", *nodes):
            receipts = [
                receipt
                for node in nodes
                for name in CHANNELS
                for receipt in await append_when_back(node, name)
            ]
        last = max(receipt.id for receipt in receipts)
        async with within(SOON, "handed on", *nodes):
            for node in nodes:
                await node.until(lambda node=node: node.reached >= last)  # type: ignore[misc]
                assert node.ids == sorted(set(node.ids))
                assert {receipt.id for receipt in receipts} <= set(await node.followed(before))
            broken = max([before, *(upto for node in nodes for _, upto in node.breaks)])
            assert await one.followed(broken) == await other.followed(broken)
        assert all(node.breaks for node in nodes) or not cut


async def append_when_back(node: Spread, name: str) -> list[Receipt]:
    """Append as soon as it is taken; a key makes sure that it is there once."""
    while True:
        try:
            return await node.whole.append([draft(name, key=f"once {name}")])
        except EngineUnavailable:
            await asyncio.sleep(0.05)
