"""One log out of several: one order, whoever hears what first."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.log.harness import draft
from tests.log.memory_partitions import KEEP_ALL, MemoryPartition, SharedPartition
from tidewire.log import partitioned
from tidewire.log.partitioned import Partitioned
from tidewire.model import EngineUnavailable, Gap, Message, Namespaces, Receipt, Retention, Since

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHANNELS = [f"channel-{number}" for number in range(8)]


class Node:
    """One process's engine, and what its feed got."""

    def __init__(self, shared: Sequence[SharedPartition]) -> None:
        self.partitions = [MemoryPartition(partition) for partition in shared]
        self.engine = Partitioned(self.partitions)
        self.fed: list[Message] = []
        self.breaks: list[tuple[int, int]] = []

    async def open(self) -> int:
        """Open it: what is on its way meanwhile arrives."""
        opening = asyncio.ensure_future(
            self.engine.open(self.fed.extend, lambda *ends: self.breaks.append(ends))
        )
        while not opening.done():
            await asyncio.sleep(0)
            self.deliver()
        return opening.result()

    def deliver(self) -> None:
        for partition in self.partitions:
            partition.deliver()

    @property
    def ids(self) -> list[int]:
        return [message.id for message in self.fed]


class Cluster:
    """Partitions, each with a clock of its own, and nodes."""

    def __init__(
        self, skews: Sequence[float] = (0.0, 0.0, 0.0), namespaces: Namespaces = KEEP_ALL
    ) -> None:
        self.now = 1_000.0
        self.shared = [
            SharedPartition(number, len(skews), self.clock(skew), namespaces)
            for number, skew in enumerate(skews)
        ]
        self.nodes: list[Node] = []

    def clock(self, skew: float) -> Callable[[], float]:
        """One that is so many seconds ahead."""
        return lambda: self.now + skew

    async def join(self) -> Node:
        node = Node(self.shared)
        await node.open()
        self.nodes.append(node)
        return node

    async def settle(self) -> None:
        """Everything arrives, and those who wait for marks ask for them."""
        for _ in range(20):
            for node in self.nodes:
                node.deliver()
            await asyncio.sleep(0)
            self.now += 0.000_01

    async def append(self, node: Node, *channels: str) -> list[Receipt]:
        append = node.engine.append([draft(channel) for channel in channels])
        await self.settle()
        return append.result()

    async def close(self) -> None:
        for node in self.nodes:
            await node.engine.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioned, "GRACE_SECONDS", 0)
    monkeypatch.setattr(partitioned, "AGAIN_SECONDS", 0)


async def test_every_feed_has_all_messages_in_one_order() -> None:
    cluster = Cluster(skews=(0.0, -0.5, 2.0))
    one, other = await cluster.join(), await cluster.join()
    receipts: list[Receipt] = []
    for step in range(30):
        receipts += await cluster.append(
            (one, other)[step % 2], *CHANNELS[step % 3 :: 1 + step % 4]
        )
    ids = sorted(receipt.id for receipt in receipts)
    assert one.ids == other.ids == ids
    assert len(set(ids)) == len(ids)
    for channel in CHANNELS:
        seqs = [message.seq for message in one.fed if message.channel == channel]
        assert seqs == list(range(1, len(seqs) + 1))
    await cluster.close()


async def test_an_answer_is_given_when_the_message_is_in_its_place() -> None:
    cluster = Cluster()
    node = await cluster.join()
    append = node.engine.append([draft(CHANNELS[0])])
    number = node.engine._number_of(CHANNELS[0])
    node.partitions[number].deliver()
    await asyncio.sleep(0)
    assert not append.done()
    assert node.fed == []
    await cluster.settle()
    assert [receipt.id for receipt in append.result()] == node.ids
    await cluster.close()


async def test_who_appends_after_an_answer_comes_after_it() -> None:
    """Also in a partition whose clock is an hour behind."""
    cluster = Cluster(skews=(0.0, -3600.0, -7200.0))
    one, other = await cluster.join(), await cluster.join()
    last = 0
    for node, channel in zip(itertools.cycle([one, other]), CHANNELS * 3, strict=False):
        [receipt] = await cluster.append(node, channel)
        assert receipt.id > last
        last = receipt.id
    await cluster.close()


async def test_each_partition_has_its_own_ids() -> None:
    cluster = Cluster()
    node = await cluster.join()
    for receipt in await cluster.append(node, *CHANNELS, *CHANNELS):
        assert receipt.id % 3 == node.engine._number_of(receipt.channel)
    await cluster.close()


async def test_who_joins_late_knows_the_head_and_hears_the_rest() -> None:
    cluster = Cluster()
    one = await cluster.join()
    await cluster.append(one, *CHANNELS)
    late = Node(cluster.shared)
    assert await late.open() == one.ids[-1]
    cluster.nodes.append(late)
    receipts = await cluster.append(one, *CHANNELS)
    assert late.ids == sorted(receipt.id for receipt in receipts)
    assert late.engine.epoch == one.engine.epoch
    await cluster.close()


async def test_the_head_is_settled() -> None:
    """What is appended after it was told is above it, in every partition."""
    cluster = Cluster(skews=(5.0, 0.0, 0.0))
    one, other = await cluster.join(), await cluster.join()
    channel = next(name for name in CHANNELS if one.engine._number_of(name) == 0)
    one.engine.append([draft(channel)])
    asked = asyncio.ensure_future(other.engine.head())
    while not asked.done():
        await cluster.settle()
    head = asked.result()
    receipts = await cluster.append(other, *CHANNELS)
    assert min(receipt.id for receipt in receipts) > head
    await cluster.close()


async def test_when_the_appender_is_gone_others_ask_for_the_marks() -> None:
    cluster = Cluster()
    one, other = await cluster.join(), await cluster.join()
    cluster.nodes.remove(one)  # it hears nothing any more, not even its own answer
    one.engine.append([draft(CHANNELS[0])])
    await cluster.settle()
    assert len(other.fed) == 1
    assert sum(partition.marks for partition in other.partitions) == 2
    cluster.nodes.append(one)
    await cluster.settle()
    await cluster.close()


async def test_one_group_costs_each_other_partition_one_mark() -> None:
    cluster = Cluster()
    node = await cluster.join()
    name = CHANNELS[0]
    for _ in range(50):
        node.engine.append([draft(name)])
    for partition in node.partitions:
        partition.deliver()
    await cluster.settle()
    assert len(node.fed) == 50
    assert sum(partition.marks for partition in node.partitions) == 2
    await cluster.close()


async def test_a_mark_that_is_lost_is_asked_for_again() -> None:
    """It was given, and nobody has heard of it."""
    cluster = Cluster()
    node = await cluster.join()
    deaf = node.partitions[node.engine._number_of(CHANNELS[0]) - 1]
    append = node.engine.append([draft(CHANNELS[0])])
    for _ in range(10):
        deaf.news.clear()
        node.deliver()
        await asyncio.sleep(0)
    assert deaf.marks
    assert not append.done()
    await cluster.settle()
    assert [receipt.id for receipt in append.result()] == node.ids
    await cluster.close()


async def test_a_mark_under_way_is_not_asked_for_again() -> None:
    cluster = Cluster()
    node = await cluster.join()
    append = node.engine.append([draft(CHANNELS[0])])
    node.partitions[node.engine._number_of(CHANNELS[0])].deliver()
    for _ in range(10):  # time for many nudges
        await asyncio.sleep(0)
    assert [partition.marks for partition in node.partitions].count(1) == 2
    await cluster.settle()
    assert append.done()
    await cluster.close()


async def test_an_append_to_a_partition_that_is_away_fails() -> None:
    cluster = Cluster()
    node = await cluster.join()
    node.partitions[node.engine._number_of(CHANNELS[0])].away = True
    for channels in ([CHANNELS[0]], CHANNELS):
        append = node.engine.append([draft(channel) for channel in channels])
        await cluster.settle()
        with pytest.raises(EngineUnavailable):
            append.result()
    await cluster.close()


async def test_an_answer_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioned, "ANSWER_SECONDS", 0.01)
    cluster = Cluster()
    node = await cluster.join()
    number = node.engine._number_of(CHANNELS[0])
    for partition in node.partitions:
        partition.away = partition is not node.partitions[number]
    append = node.engine.append([draft(CHANNELS[0])])
    await cluster.settle()
    with pytest.raises(EngineUnavailable, match="a partition of the log is away"):
        await asyncio.wait_for(append, 10)
    assert node.fed == []
    for partition in node.partitions:
        partition.away = False
    await cluster.settle()
    assert len(node.fed) == 1  # it is there, and comes when the order is known
    await cluster.close()


async def test_a_new_life_of_one_partition_is_one_of_the_whole() -> None:
    cluster = Cluster()
    before = (await cluster.join()).engine.epoch
    cluster.shared[1].epoch = "other1"
    assert (await cluster.join()).engine.epoch != before
    await cluster.close()


async def test_a_purge_is_in_its_place() -> None:
    cluster = Cluster()
    one, other = await cluster.join(), await cluster.join()
    await cluster.append(one, *CHANNELS)
    purge = one.engine.purge(CHANNELS[2], forget=True)
    await cluster.settle()
    receipt = purge.result()
    await cluster.append(other, *CHANNELS)
    assert one.ids == other.ids
    assert one.fed[len(CHANNELS)].gap == "reset"
    page = await one.engine.read({CHANNELS[2]: 0}, head_of(one), 10, 10_000)
    assert page.gaps == [Gap(CHANNELS[2], receipt.id, "reset")]
    assert len(page.messages) == 1
    await cluster.close()


async def test_a_feed_that_breaks_goes_on_behind_it_in_all_partitions() -> None:
    cluster = Cluster()
    one, other = await cluster.join(), await cluster.join()
    await cluster.append(one, *CHANNELS)
    reached = other.ids[-1]
    number = other.engine._number_of(CHANNELS[0])
    cut = other.partitions[number]
    one.engine.append([draft(channel) for channel in CHANNELS])
    cut.news.clear()  # what the one partition said is lost on the way, and no longer to be had
    await cluster.settle()
    fed = list(other.ids)
    upto = await one.engine.head()
    cut.broken(reached, upto)
    await cluster.settle()
    assert [after for after, _ in other.breaks] == [fed[-1]]
    assert other.breaks[0][1] >= upto
    receipts = await cluster.append(one, *CHANNELS)
    assert other.ids == fed + sorted(receipt.id for receipt in receipts)
    assert all(receipt.id > other.breaks[0][1] for receipt in receipts)
    await cluster.close()


async def test_breaks_of_several_partitions_are_one() -> None:
    cluster = Cluster()
    node = await cluster.join()
    await cluster.append(node, *CHANNELS)
    head = node.ids[-1]
    for partition, upto in zip(node.partitions, (head + 100, head + 500, 0), strict=True):
        if upto:
            partition.broken(head, upto)
    await cluster.settle()
    assert node.breaks == [(head, head + 500)]
    [receipt] = await cluster.append(node, CHANNELS[0])
    assert receipt.id > head + 500
    await cluster.close()


async def test_another_log_in_one_partition_is_another_log() -> None:
    cluster = Cluster()
    node = await cluster.join()
    await cluster.append(node, *CHANNELS)
    before = node.engine.epoch
    node.partitions[1].epoch = "other1"
    node.partitions[1].broken(0, node.ids[-1] + 7)
    await cluster.settle()
    assert node.breaks == [(0, node.ids[-1] + 7)]
    assert node.engine.epoch != before
    await cluster.close()


async def test_a_break_is_over_when_a_partition_is_back_that_was_away() -> None:
    """Though nothing is appended, and that partition has no news."""
    cluster = Cluster()
    node = await cluster.join()
    await cluster.append(node, *CHANNELS)
    head = node.ids[-1]
    node.partitions[1].away = True
    node.partitions[0].broken(head, head + 100)
    await cluster.settle()
    assert node.breaks == []
    node.partitions[1].away = False
    await cluster.settle()
    assert node.breaks == [(head, head + 100)]
    await cluster.close()


async def test_what_waits_for_a_partition_that_is_away_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    node = await cluster.join()
    await cluster.append(node, *CHANNELS)
    head = node.ids[-1]
    monkeypatch.setattr(partitioned, "MOST_HELD", 20 * partitioned.KEEPING)
    number = node.engine._number_of(CHANNELS[0])
    node.partitions[number - 1].away = True
    for _ in range(50):
        node.engine.append([draft(CHANNELS[0])])
        await cluster.settle()
        assert node.engine._held == len(node.engine._lanes[number].waiting) * (
            partitioned.KEEPING + len(draft(CHANNELS[0]).data)
        )
        assert node.engine._held <= partitioned.MOST_HELD
    assert node.ids[-1] == head
    node.partitions[number - 1].away = False
    await cluster.settle()
    [(after, upto)] = node.breaks
    page = await node.engine.read({CHANNELS[0]: after}, upto, 100, 1 << 20)
    [last] = await cluster.append(node, CHANNELS[0])
    fed = [id for id in node.ids if id > head]
    assert after == head
    assert len(page.messages) + len(fed) == 51
    assert all(message.id <= upto < fed[0] for message in page.messages)
    assert fed[-1] == last.id
    await cluster.close()


async def test_another_log_that_is_behind_gives_ids_above_what_was_handed_on() -> None:
    cluster = Cluster()
    node = await cluster.join()
    await cluster.append(node, *CHANNELS)
    head = node.ids[-1]
    number = node.engine._number_of(CHANNELS[0])
    cluster.shared[number]._last_id = 0
    cluster.shared[number]._clock = lambda: 1.0
    node.partitions[number].epoch = "other1"
    node.partitions[number].broken(0, 0)
    await cluster.settle()
    [receipt] = await cluster.append(node, CHANNELS[0])
    assert receipt.id > head
    assert node.ids[-1] == receipt.id
    await cluster.close()


async def test_records_are_spread_and_found() -> None:
    cluster = Cluster()
    node = await cluster.join()
    keys = [f"k{number:02}" for number in range(20)]
    for key in keys:
        await node.engine.change("t", key, lambda _, key=key: key.encode(), 60)  # type: ignore[misc]
    assert await node.engine.get("t", "k07") == b"k07"
    found = await node.engine.scan("t", "k", "k04", 7)
    assert found == [(key, key.encode()) for key in keys[5:12]]
    assert all(partition._records for partition in cluster.shared)
    await cluster.close()


async def test_starts_and_the_newest() -> None:
    cluster = Cluster()
    node = await cluster.join()
    first = {r.channel: r.id for r in await cluster.append(node, *CHANNELS)}
    second = {r.channel: r.id for r in await cluster.append(node, *CHANNELS)}
    head = head_of(node)
    assert await node.engine.starts(CHANNELS, Since("last", 1)) == first
    newest = await node.engine.newest(CHANNELS, head)
    assert {channel: id for channel, (id, _) in newest.items()} == second
    await cluster.close()


def head_of(node: Node) -> int:
    """The id of the newest message that the node was fed."""
    return node.fed[-1].id


@settings(max_examples=150, deadline=None)
@given(
    counts=st.lists(st.integers(0, 7), min_size=1, max_size=60),
    limit=st.integers(1, 9),
    max_bytes=st.integers(1, 40),
    size=st.integers(1, 12),
    wanted=st.sets(st.sampled_from(CHANNELS), min_size=1),
)
def test_pages_are_those_of_one_log(
    counts: list[int], limit: int, max_bytes: int, size: int, wanted: set[str]
) -> None:
    """Read to the end page by page, a subscriber gets all that is kept, in order, and gaps."""

    async def run() -> None:
        cluster = Cluster(namespaces=Namespaces(Retention(size, 10**15)))
        node = await cluster.join()
        for number in counts:
            node.engine.append([draft(CHANNELS[number])])
        await cluster.settle()
        head = head_of(node)
        kept = {
            name: [message.id for message in node.fed if message.channel == name][-size:]
            for name in wanted
        }
        after = dict.fromkeys(wanted, 0)
        seen: list[int] = []
        gaps: dict[str, int] = {}
        for _ in range(len(counts) + 1):
            page = await node.engine.read(after, head, limit, max_bytes)
            assert len(page.messages) <= limit
            seen += [message.id for message in page.messages]
            for gap in page.gaps:
                gaps[gap.channel] = gap.id
                after[gap.channel] = max(after[gap.channel], gap.id)
            after = {name: max(id, page.position) for name, id in after.items()}
            if not page.more:
                break
        assert seen == sorted(id for ids in kept.values() for id in ids)
        for name in wanted:
            all_ids = [message.id for message in node.fed if message.channel == name]
            assert gaps.get(name) == (all_ids[-size - 1] if len(all_ids) > size else None)
        await cluster.close()

    asyncio.run(run())


appends = st.tuples(
    st.just("append"), st.integers(0, 1), st.lists(st.integers(0, 7), min_size=1, max_size=4)
)
arrivals = st.tuples(st.sampled_from(["news", "reply"]), st.integers(0, 1), st.integers(0, 2))


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.one_of(appends, arrivals, arrivals, arrivals), max_size=50),
    skews=st.tuples(*[st.floats(-1, 1)] * 3),
)
def test_whatever_arrives_first(
    steps: list[tuple[str, int, int | list[int]]], skews: tuple[float, float, float]
) -> None:
    """Two nodes, three partitions, and every order in which news and replies can come."""

    async def run() -> None:
        cluster = Cluster(skews)
        nodes = [await cluster.join(), await cluster.join()]
        appends: list[tuple[Node, asyncio.Future[list[Receipt]]]] = []
        answered = 0

        def check() -> None:
            nonlocal answered
            for node in nodes:
                assert node.ids == sorted(set(node.ids))
            for node, append in appends:
                if append.done():
                    answered = max(answered, *(r.id for r in append.result()))
                    assert {r.id for r in append.result()} <= set(node.ids)

        for kind, index, what in steps:
            node = nodes[index]
            if isinstance(what, list):
                append = node.engine.append([draft(CHANNELS[number]) for number in what])
                appends.append((node, append))
            else:
                partition = node.partitions[what]
                queue = partition.news if kind == "news" else partition.replies
                if queue:
                    queue.popleft()()
            await asyncio.sleep(0)
            check()
        await cluster.settle()
        check()
        receipts = [receipt for _, append in appends for receipt in append.result()]
        assert nodes[0].ids == nodes[1].ids == sorted(receipt.id for receipt in receipts)
        await cluster.close()

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(data=st.data(), count=st.integers(1, 12))
def test_what_is_appended_after_an_answer_is_behind_it(data: st.DataObject, count: int) -> None:
    async def run() -> None:
        skews = data.draw(st.tuples(*[st.floats(-10, 10)] * 3))
        cluster = Cluster(skews)
        nodes = [await cluster.join(), await cluster.join()]
        last = 0
        for _ in range(count):
            node = data.draw(st.sampled_from(nodes))
            names = data.draw(st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3))
            ids = [receipt.id for receipt in await cluster.append(node, *names)]
            assert min(ids) > last
            last = max(ids)
        await cluster.close()

    asyncio.run(run())
