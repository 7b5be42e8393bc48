"""Time to live: from its end a message is a gap in its place, cleaned or not."""

from __future__ import annotations

import pytest

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Clock, Log, Logs, draft, ids
from tidewire.model import Gap


class ExpiryContract(Contract):
    """What a draft's ``ttl_ms`` does."""

    @pytest.fixture(params=[False, True], ids=["unswept", "swept"])
    def sweeping(self, request: pytest.FixtureRequest) -> bool:
        return bool(request.param)

    async def later(self, log: Log, seconds: float, *, sweeping: bool) -> None:
        """Let time pass, and the cleaning run if this test wants it to."""
        log.clock.move(seconds)
        if sweeping:
            log.clock.move(60)
            await log.clean()
            log.clock.move(-60)

    async def test_it_is_there_until_its_time_is_over(self, log: Log, clock: Clock) -> None:
        await log.append(draft(ttl=10))
        message = log.fed[-1]
        assert message.expires == message.time + 10_000
        clock.move(9.999)
        page = await log.read({"a": 0})
        assert (ids(page), page.gaps) == ([message.id], [])
        assert page.messages[0].expires == message.expires
        clock.move(0.001)
        page = await log.read({"a": 0})
        assert (ids(page), page.gaps) == ([], [Gap("a", message.id, "expired", 1)])

    async def test_it_is_a_gap_in_its_place(self, log: Log, clock: Clock, sweeping: bool) -> None:
        receipts = await log.append(
            draft(),
            draft(ttl=5),
            draft("b"),
            draft(ttl=5),
            draft(),
            draft(ttl=5),
            draft("b", ttl=9),
        )
        a = [receipt.id for receipt in receipts]
        await self.later(log, 6, sweeping=False)
        page = await log.read({"a": 0, "b": 0})
        assert ids(page) == [a[0], a[2], a[4], a[6]]
        assert page.gaps == [Gap("a", a[3], "expired", 2), Gap("a", a[5], "expired", 1)]
        await self.later(log, 6, sweeping=sweeping)
        page = await log.read({"a": 0, "b": 0})
        assert ids(page) == [a[0], a[2], a[4]]
        assert page.gaps[2:] == [Gap("b", a[6], "expired", 1)]
        page = await log.read({"a": a[1]})
        assert (ids(page), page.gaps[0]) == ([a[4]], Gap("a", a[3], "expired", 1))
        assert (await log.read({"a": a[5]})).gaps == []

    async def test_it_keeps_its_place_in_the_count(
        self, log: Log, clock: Clock, sweeping: bool
    ) -> None:
        a = [r.id for r in await log.append(draft(ttl=5), draft(), draft(ttl=5))]
        await self.later(log, 6, sweeping=sweeping)
        page = await log.read({"a": 0})
        assert [message.seq for message in page.messages] == [2]
        assert (await log.append(draft()))[0].seq == 4
        assert await log.newest("a", a[2]) == (a[2], log.fed[2].time)
        assert await log.start("a", "last", 2) == a[1]

    async def test_pages_of_nothing_but_gaps_move_on(
        self, log: Log, clock: Clock, sweeping: bool
    ) -> None:
        a = [r.id for r in await log.append(*(draft(ttl=5) for _ in range(10)), draft())]
        await self.later(log, 6, sweeping=sweeping)
        page = await log.read({"a": 0}, limit=4)
        assert page == ([], [Gap("a", a[3], "expired", 4)], a[3], True)
        page = await log.read({"a": a[3]}, limit=4)
        assert page == ([], [Gap("a", a[7], "expired", 4)], a[7], True)
        page = await log.read({"a": a[7]}, limit=4)
        assert (ids(page), page.gaps, page.more) == ([a[10]], [Gap("a", a[9], "expired", 2)], False)

    async def test_it_counts_for_the_size_of_its_channel(
        self, logs: Logs, clock: Clock, sweeping: bool
    ) -> None:
        log = await logs.open(size=2)
        a = [r.id for r in await log.append(draft(), draft(ttl=5), draft())]
        await self.later(log, 6, sweeping=sweeping)
        page = await log.read({"a": 0})
        assert ids(page) == [a[2]]
        assert page.gaps == [Gap("a", a[0], "expired"), Gap("a", a[1], "expired", 1)]

    async def test_a_repeat_of_its_key_gets_its_receipt(
        self, log: Log, clock: Clock, sweeping: bool
    ) -> None:
        [first] = await log.append(draft(key="k", ttl=5))
        await self.later(log, 6, sweeping=sweeping)
        assert await log.append(draft(key="k", ttl=5)) == [first]

    async def test_a_clock_that_goes_back_after_the_cleaning(self, log: Log, clock: Clock) -> None:
        [receipt] = await log.append(draft(ttl=5))
        await self.later(log, 6, sweeping=True)
        clock.move(-HOUR)  # what is gone does not come back
        page = await log.read({"a": 0})
        assert (page.messages, page.gaps) == ([], [Gap("a", receipt.id, "expired", 1)])
