"""Discarding: by size and by age, exact for readers whenever the cleaning comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Clock, Log, Logs, draft, drafts, ids, retention
from tidewire.model import Gap, Message

LATER = 100.0
"""Seconds after which no engine keeps a message any longer than readers see it."""


def data(messages: list[Message]) -> list[bytes]:
    return [message.data for message in messages]


Tidy = Callable[[Log], Awaitable[None]]


async def leave_it(log: Log) -> None:
    """The background has not come yet."""


class DiscardingContract(Contract):
    """Every test runs twice: before the background has cleaned, and after."""

    @pytest.fixture(params=[leave_it, Log.clean], ids=["before cleaning", "after cleaning"])
    def tidy(self, request: pytest.FixtureRequest) -> Tidy:
        """Let the background clean, or not."""
        tidy: Tidy = request.param
        return tidy

    async def test_size_is_exact(self, logs: Logs, clock: Clock, tidy: Tidy) -> None:
        log = await logs.open(size=10)
        a = [receipt.id for receipt in await log.append(*drafts(10))]
        clock.move(LATER)
        await tidy(log)
        assert (await log.read({"a": 0})).gaps == []
        a += [receipt.id for receipt in await log.append(*drafts(15))]
        clock.move(LATER)
        await tidy(log)
        page = await log.read({"a": 0})
        assert ids(page) == a[15:]
        assert page.gaps == [Gap("a", a[14], "expired")]

    async def test_a_gap_is_named_to_those_who_lack_something(
        self, logs: Logs, clock: Clock, tidy: Tidy
    ) -> None:
        log = await logs.open(size=10)
        a = [receipt.id for receipt in await log.append(*drafts(25))]
        clock.move(LATER)
        await tidy(log)
        for after in (0, 1, a[0], a[13], a[14] - 1):
            page = await log.read({"a": after})
            assert (ids(page), page.gaps) == (a[15:], [Gap("a", a[14], "expired")])
        for after in (a[14], a[15] - 1):
            page = await log.read({"a": after})
            assert (ids(page), page.gaps) == (a[15:], [])
        page = await log.read({"a": a[20]})
        assert (ids(page), page.gaps) == (a[21:], [])

    async def test_age_is_exact(self, logs: Logs, clock: Clock, tidy: Tidy) -> None:
        log = await logs.open(ttl=10)
        a = []
        for _ in range(8):
            a += [receipt.id for receipt in await log.append(draft(), draft("b"))][:1]
            clock.move(2)
        # The ages are 16, 14, 12, 10, 8, 6, 4, 2 seconds; ten is not over ten.
        await tidy(log)
        page = await log.read({"a": 0})
        assert (ids(page), page.gaps) == (a[3:], [Gap("a", a[2], "expired")])
        clock.move(0.001)
        page = await log.read({"a": 0})
        assert (ids(page), page.gaps) == (a[4:], [Gap("a", a[3], "expired")])

    async def test_all_can_be_too_old(self, logs: Logs, clock: Clock, tidy: Tidy) -> None:
        log = await logs.open(ttl=10)
        a = [receipt.id for receipt in await log.append(*drafts(3))]
        clock.move(LATER)
        await tidy(log)
        for after, gaps in [(0, [Gap("a", a[2], "expired")]), (a[2], [])]:
            page = await log.read({"a": after})
            assert (ids(page), page.gaps, page.more) == ([], gaps, False)

    async def test_the_stricter_bound_holds(self, logs: Logs, clock: Clock, tidy: Tidy) -> None:
        log = await logs.open(size=5, ttl=200)
        old = [receipt.id for receipt in await log.append(*drafts(8))]
        clock.move(150)
        young = [receipt.id for receipt in await log.append(*drafts(2))]
        await tidy(log)
        page = await log.read({"a": 0})
        assert (ids(page), page.gaps) == (old[5:] + young, [Gap("a", old[4], "expired")])
        clock.move(100)
        await tidy(log)
        page = await log.read({"a": 0})
        assert (ids(page), page.gaps) == (young, [Gap("a", old[7], "expired")])

    async def test_each_channel_is_cut_for_itself(
        self, logs: Logs, clock: Clock, tidy: Tidy
    ) -> None:
        log = await logs.open(size=3)
        await log.append(*drafts(5, "a"), *drafts(3, "b"), *drafts(4, "c"))
        clock.move(LATER)
        await tidy(log)
        page = await log.read({"a": 0, "b": 0, "c": 0, "d": 0})
        assert [m.channel for m in page.messages] == list("aaabbbccc")
        floors = {message.channel: message.id for message in log.fed if message.seq == 2}
        floors["c"] = next(m.id for m in log.fed if (m.channel, m.seq) == ("c", 1))
        assert sorted(page.gaps) == [
            Gap("a", floors["a"], "expired"),
            Gap("c", floors["c"], "expired"),
        ]

    async def test_namespaces_differ(self, logs: Logs, clock: Clock, tidy: Tidy) -> None:
        log = await logs.open(
            size=100,
            ttl=HOUR,
            by_name={"few": retention(2, HOUR), "brief": retention(100, 50)},
        )
        names = ["few:a", "brief:a", "few", "other:few:a"]
        for name in names:
            await log.append(*drafts(4, name))
        clock.move(LATER)
        await tidy(log)
        kept = {name: len((await log.read({name: 0})).messages) for name in names}
        assert kept == {"few:a": 2, "brief:a": 0, "few": 4, "other:few:a": 4}

    async def test_a_channel_can_keep_nothing(self, logs: Logs, clock: Clock, tidy: Tidy) -> None:
        log = await logs.open(size=0)
        a = [receipt.id for receipt in await log.append(*drafts(3))]
        clock.move(LATER)
        await tidy(log)
        a += [receipt.id for receipt in await log.append(draft())]
        assert [message.id for message in log.fed] == a
        page = await log.read({"a": a[0]})
        assert (ids(page), page.gaps) == ([], [Gap("a", a[3], "expired")])
        assert (await log.read({"a": a[3]})).gaps == []
        assert (await log.newest("a"))[0] == a[3] == await log.engine.head()
        for kind, number in [("start", 0), ("last", 5), ("time", 0)]:
            assert await log.start("a", kind, number) == a[3]

    async def test_a_gap_beyond_the_bound_is_named_too(
        self, logs: Logs, clock: Clock, tidy: Tidy
    ) -> None:
        log = await logs.open(size=2)
        a = [receipt.id for receipt in await log.append(*drafts(10))]
        clock.move(LATER)
        await tidy(log)
        page = await log.read({"a": a[0]}, a[4])
        assert (ids(page), page.gaps) == ([], [Gap("a", a[7], "expired")])

    async def test_a_gap_comes_with_a_cut_page(self, logs: Logs, clock: Clock, tidy: Tidy) -> None:
        log = await logs.open(size=5)
        a = [receipt.id for receipt in await log.append(*drafts(10))]
        b = [receipt.id for receipt in await log.append(*drafts(5, "b"))]
        clock.move(LATER)
        await tidy(log)
        page = await log.read({"b": 0, "a": 0}, limit=3)
        assert (ids(page), page.gaps, page.more) == (a[5:8], [Gap("a", a[4], "expired")], True)
        messages, gaps = await log.read_all({"b": 0, "a": 0}, limit=3)
        assert [message.id for message in messages] == a[5:] + b
        assert gaps == [Gap("a", a[4], "expired")]

    async def test_seq_and_ids_go_on_after_all_was_discarded(
        self, logs: Logs, clock: Clock, tidy: Tidy
    ) -> None:
        log = await logs.open(ttl=10)
        await log.append(*drafts(3))
        last = log.fed[-1]
        clock.move(LATER)
        await tidy(log)
        assert await log.engine.head() == last.id
        assert await log.newest("a") == (last.id, last.time)
        clock.move(-HOUR)
        [receipt] = await log.append(draft())
        assert (receipt.id, receipt.seq) == (last.id + 1, 4)

    async def test_a_clock_that_goes_back_discards_nothing(
        self, logs: Logs, clock: Clock, tidy: Tidy
    ) -> None:
        log = await logs.open(ttl=10)
        await log.append(*drafts(3))
        clock.move(-HOUR)
        await log.append(*drafts(3))
        await tidy(log)
        page = await log.read({"a": 0})
        assert (data(page.messages), page.gaps) == (data(log.fed), [])

    async def test_the_newest_up_to_an_id_among_the_discarded(
        self, logs: Logs, clock: Clock, tidy: Tidy
    ) -> None:
        log = await logs.open(size=2)
        a = [receipt.id for receipt in await log.append(*drafts(10))]
        clock.move(LATER)
        await tidy(log)
        assert (await log.newest("a", a[8]))[0] == a[8]
        for upto in (a[7], a[7] - 1, a[3] + 1, a[2]):
            # Which one it was may be forgotten; that it was no later than *upto* may not.
            id, time = await log.newest("a", upto)
            assert 0 < id <= upto
            assert time <= log.fed[-1].time

    async def test_the_newest_is_known_although_it_is_discarded(
        self, logs: Logs, clock: Clock, tidy: Tidy
    ) -> None:
        log = await logs.open(size=0)
        await log.append(draft("b"))
        clock.move(-HOUR)
        time = clock.us // 1000
        [one] = await log.append(draft("a"))
        await log.append(draft("b"))
        clock.move(2 * HOUR)
        await tidy(log)
        assert await log.newest("a") == await log.newest("a", one.id) == (one.id, time)

    async def test_a_channel_is_cut_again_and_again(
        self, logs: Logs, clock: Clock, tidy: Tidy
    ) -> None:
        log = await logs.open(size=100)
        for _ in range(12):
            await log.append(*drafts(75))
            clock.move(LATER)
            await tidy(log)
            page = await log.read({"a": 0})
            assert data(page.messages) == data(log.fed)[-100:]
            floors = [m.id for m in log.fed[:-100]]
            assert page.gaps == ([Gap("a", floors[-1], "expired")] if floors else [])
