"""Starting without a cursor: the oldest message kept, the last N, a time."""

from __future__ import annotations

import pytest

from tests.log.contract_base import Contract
from tests.log.harness import Clock, Log, Logs, draft, drafts, ids
from tidewire.model import Since


class StartingContract(Contract):
    """What ``starts`` promises: reading after it begins where the subscriber asked, with no gap."""

    async def test_the_start_of_an_unknown_channel(self, log: Log) -> None:
        await log.append(draft("b"))
        for kind, number in [("start", 0), ("last", 1), ("time", 0)]:
            assert await log.start("a", kind, number) == 0
        [one] = await log.append(draft("a"))
        assert ids(await log.read({"a": 0})) == [one.id]

    async def test_each_channel_has_its_own_start(self, log: Log) -> None:
        await log.append(*drafts(3, "a"), *drafts(5, "b"))
        starts = await log.engine.starts(["a", "b", "c"], Since("last", 2))
        assert starts["c"] == 0
        page = await log.read(starts)
        assert [(m.channel, m.seq) for m in page.messages] == [
            ("a", 2), ("a", 3), ("b", 4), ("b", 5),
        ]  # fmt: skip
        assert await log.engine.starts([], Since("start")) == {}

    @pytest.mark.parametrize("size", [5, 7, 100])
    async def test_the_start_is_the_oldest_message_kept(self, logs: Logs, size: int) -> None:
        log = await logs.open(size=size)
        a = [receipt.id for receipt in await log.append(*drafts(7))]
        page = await log.read({"a": await log.start("a", "start")})
        assert (ids(page), page.gaps) == (a[-size:], [])

    @pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 7, 8, 999_999_999])
    async def test_the_last_messages(self, logs: Logs, clock: Clock, count: int) -> None:
        log = await logs.open(size=5)
        a = [receipt.id for receipt in await log.append(*drafts(7))]
        for _ in range(2):
            page = await log.read({"a": await log.start("a", "last", count)})
            assert (ids(page), page.gaps) == (a[-min(count, 5) :], [])
            clock.move(100)
            await log.clean()

    async def test_the_last_messages_of_those_that_are_not_too_old(
        self, logs: Logs, clock: Clock
    ) -> None:
        log = await logs.open(ttl=10)
        await log.append(*drafts(3))
        clock.move(11)
        young = [receipt.id for receipt in await log.append(*drafts(2))]
        for count, kept in [(1, young[1:]), (2, young), (3, young), (9, young)]:
            page = await log.read({"a": await log.start("a", "last", count)})
            assert (ids(page), page.gaps) == (kept, [])

    async def test_a_time_is_included(self, log: Log, clock: Clock) -> None:
        times = []
        for _ in range(4):
            await log.append(draft())
            times.append(clock.us // 1000)
            clock.move(1)
        seqs = [1, 2, 3, 4]
        for index, time in enumerate(times):
            for number, kept in [(time - 1, seqs[index:]), (time, seqs[index:]),
                                 (time + 1, seqs[index + 1 :])]:  # fmt: skip
                page = await log.read({"a": await log.start("a", "time", number)})
                assert ([m.seq for m in page.messages], page.gaps) == (kept, [])
        assert len((await log.read({"a": await log.start("a", "time", 0)})).messages) == 4

    async def test_a_time_before_the_oldest_message_kept(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(size=2)
        time = clock.us // 1000
        a = []
        for _ in range(5):
            a += [receipt.id for receipt in await log.append(draft())]
            clock.move(1)
        page = await log.read({"a": await log.start("a", "time", time + 500)})
        assert (ids(page), page.gaps) == (a[3:], [])

    async def test_a_time_to_come_has_nothing_yet(self, log: Log, clock: Clock) -> None:
        await log.append(*drafts(3))
        start = await log.start("a", "time", clock.us // 1000 + 60_000)
        assert (await log.read({"a": start})).messages == []
        start = await log.start("a", "time", 999_999_999_999_999)
        assert (await log.read({"a": start})).messages == []

    async def test_a_time_finds_every_message_although_the_clock_went_back(
        self, log: Log, clock: Clock
    ) -> None:
        await log.append(draft())
        clock.move(-1800)
        time = clock.us // 1000
        await log.append(draft())
        page = await log.read({"a": await log.start("a", "time", time)})
        assert [m.seq for m in page.messages if m.time >= time] == [1, 2]
