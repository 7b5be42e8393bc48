"""Purging and forgetting a channel: everything in it is gone, and every reader is told."""

from __future__ import annotations

import asyncio

import pytest

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Clock, Log, Logs, draft, drafts, ids
from tidewire.model import Gap

reasons = pytest.mark.parametrize(
    ("forget", "reason"), [(False, "expired"), (True, "reset")], ids=["purged", "forgotten"]
)


class PurgingContract(Contract):
    """What ``purge`` does."""

    @reasons
    async def test_readers_from_before_are_told(self, log: Log, forget: bool, reason: str) -> None:
        a = [receipt.id for receipt in await log.append(*drafts(3))]
        receipt = await log.engine.purge("a", forget=forget)
        assert receipt.channel == "a"
        assert receipt.id > a[-1]
        gap = Gap("a", receipt.id, reason)
        for position in (0, a[0], a[-1], receipt.id - 1):
            page = await log.read({"a": position})
            assert (page.messages, page.gaps, page.more) == ([], [gap], False)
        page = await log.read({"a": receipt.id})
        assert (page.messages, page.gaps) == ([], [])

    @reasons
    async def test_the_feed_gets_a_record(self, log: Log, forget: bool, reason: str) -> None:
        await log.append(*drafts(2))
        receipt = await log.engine.purge("a", forget=forget)
        record = log.fed[-1]
        assert (record.id, record.channel, record.gap) == (receipt.id, "a", reason)
        assert (record.seq, record.data) == (0, b"")
        assert await log.engine.head() == receipt.id
        assert await log.newest("a") == (receipt.id, record.time)

    @reasons
    async def test_what_is_published_later_is_read(
        self, log: Log, forget: bool, reason: str
    ) -> None:
        [old] = await log.append(draft())
        receipt = await log.engine.purge("a", forget=forget)
        new = [receipt.id for receipt in await log.append(*drafts(3))]
        page = await log.read({"a": old.id})
        assert (ids(page), page.gaps) == (new, [Gap("a", receipt.id, reason)])
        page = await log.read({"a": receipt.id})
        assert (ids(page), page.gaps) == (new, [])
        assert await log.start("a", "start") == receipt.id
        assert await log.start("a", "last", 2) == new[0]
        assert await log.start("a", "last", 9) == receipt.id
        assert await log.start("a", "time", 0) == receipt.id

    async def test_a_purged_channel_counts_on(self, log: Log, clock: Clock) -> None:
        [first, _] = await log.append(draft(key="k"), draft(key="l"))
        await log.engine.purge("a", forget=False)
        assert await log.append(draft(key="k")) == [first]
        [receipt] = await log.append(draft())
        assert receipt.seq == 3

    async def test_a_forgotten_channel_begins_anew(self, log: Log) -> None:
        await log.append(draft(key="k"), draft(key="l"))
        await log.engine.purge("a", forget=True)
        receipts = await log.append(draft(key="k"), draft(), draft(key="l"))
        assert [receipt.seq for receipt in receipts] == [1, 2, 3]
        assert await log.append(draft(key="l")) == [receipts[2]]

    async def test_other_channels_are_as_they_were(self, log: Log) -> None:
        await log.append(draft("a"), draft("b", key="k"))
        await log.engine.purge("a", forget=True)
        page = await log.read({"b": 0})
        assert ([m.seq for m in page.messages], page.gaps) == ([1], [])
        assert (await log.append(draft("b", key="k")))[0].seq == 1
        assert (await log.append(draft("b")))[0].seq == 2

    async def test_purges_keep_their_place_among_appends(self, log: Log) -> None:
        one, purged, two, forgotten, three = await asyncio.gather(
            log.engine.append([draft(key="k")]),
            log.engine.purge("a", forget=False),
            log.engine.append([draft(key="k"), draft()]),
            log.engine.purge("a", forget=True),
            log.engine.append([draft(key="k")]),
        )
        assert two[0] == one[0]
        assert [r.seq for r in (*one, two[1], *three)] == [1, 2, 1]
        order = [one[0].id, purged.id, two[1].id, forgotten.id, three[0].id]
        assert [message.id for message in log.fed] == order == sorted(order)
        page = await log.read({"a": purged.id})
        assert (ids(page), page.gaps) == (order[4:], [Gap("a", forgotten.id, "reset")])

    async def test_a_channel_that_never_was(self, log: Log) -> None:
        receipt = await log.engine.purge("a", forget=False)
        assert receipt.id == log.fed[-1].id
        assert (await log.append(draft()))[0].seq == 1

    async def test_again_and_again(self, log: Log, clock: Clock) -> None:
        for forget in (False, True, True, False):
            await log.append(*drafts(2))
            await log.engine.purge("a", forget=forget)
            clock.move(100)
            await log.clean()
        page = await log.read({"a": 0})
        assert page.gaps == [Gap("a", log.fed[-1].id, "reset")]
        assert [r.seq for r in await log.append(*drafts(2))] == [3, 4]

    async def test_who_saw_the_channel_forgotten_is_not_told_again(
        self, logs: Logs, clock: Clock
    ) -> None:
        log = await logs.open(size=2)
        await log.append(*drafts(5))
        receipt = await log.engine.purge("a", forget=True)
        a = [receipt.id for receipt in await log.append(*drafts(4))]
        page = await log.read({"a": receipt.id})
        assert (ids(page), page.gaps) == (a[2:], [Gap("a", a[1], "expired")])
        page = await log.read({"a": receipt.id - 1})
        assert (ids(page), page.gaps) == (a[2:], [Gap("a", a[1], "reset")])

    async def test_sizes_count_what_is_published_later(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(size=3)
        await log.append(*drafts(5))
        for _ in range(2):
            receipt = await log.engine.purge("a", forget=False)
            a = [receipt.id for receipt in await log.append(*drafts(3))]
            page = await log.read({"a": receipt.id})
            assert (ids(page), page.gaps) == (a, [])
            a += [receipt.id for receipt in await log.append(draft())]
            for _ in range(2):
                page = await log.read({"a": receipt.id})
                assert (ids(page), page.gaps) == (a[1:], [Gap("a", a[0], "expired")])
                clock.move(100)
                await log.clean()

    async def test_a_clock_that_goes_back(self, log: Log, clock: Clock) -> None:
        [old] = await log.append(draft())
        clock.move(-HOUR)
        receipt = await log.engine.purge("a", forget=False)
        assert receipt.id == old.id + 1
        await log.append(draft())
        clock.move(2 * HOUR)
        await log.clean()
        page = await log.read({"a": 0})
        assert (ids(page), page.gaps) == ([old.id + 2], [Gap("a", receipt.id, "expired")])
