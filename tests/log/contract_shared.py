"""Several engines on one log: one order, one count, every message in every feed."""

from __future__ import annotations

import asyncio

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Clock, Log, Logs, draft, drafts, facts, ids
from tidewire.model import Receipt


class SharedContract(Contract):
    """What holds when several engines, of one process or of several, have one log open."""

    async def test_they_are_one_log(self, logs: Logs) -> None:
        one, other = await logs.open(), await logs.open()
        assert one.engine.epoch == other.engine.epoch
        [receipt] = await one.append(draft())
        assert await other.engine.head() == receipt.id
        assert ids(await other.read({"a": 0})) == [receipt.id]
        late = await logs.open()
        assert late.head_at_open == receipt.id

    async def test_ids_and_seq_are_counted_together(self, logs: Logs, clock: Clock) -> None:
        one, other = await logs.open(), await logs.open()
        receipts = []
        for step in range(10):
            receipts += await (one, other)[step % 2].append(draft("a"), draft("b"))
        clock.move(-HOUR)
        for step in range(10):
            receipts += await (one, other)[step % 2].append(draft("a"), draft("b"))
        first = receipts[0].id
        assert [receipt.id for receipt in receipts] == list(range(first, first + 40))
        assert [receipt.seq for receipt in receipts] == [1 + n // 2 for n in range(40)]

    async def test_each_feed_has_all_messages_in_order(self, logs: Logs) -> None:
        one, other = await logs.open(), await logs.open()
        for step in range(20):
            await (one, other)[step * 7 % 3 % 2].append(*drafts(1 + step % 3))
        head = await one.engine.head()
        await one.fed_up_to(head)
        await other.fed_up_to(head)
        assert [facts(m) for m in one.fed] == [facts(m) for m in other.fed]
        assert [m.id for m in one.fed] == ids(await one.read({"a": 0}))

    async def test_an_idle_engine_is_fed(self, logs: Logs) -> None:
        one, idle = await logs.open(), await logs.open()
        for _ in range(3):
            [receipt] = await one.append(draft())
            await idle.fed_up_to(receipt.id)
        assert [facts(m) for m in idle.fed] == [facts(m) for m in one.fed]

    async def test_what_is_appended_while_an_engine_opens_is_fed(self, logs: Logs) -> None:
        one = await logs.open()
        for _ in range(20):
            other, [receipt] = await asyncio.gather(logs.open(), one.append(draft()))
            if other.head_at_open < receipt.id:
                await other.fed_up_to(receipt.id)
            await logs.close(other)

    async def test_the_answer_comes_after_all_that_came_before_it(self, logs: Logs) -> None:
        one, other = await logs.open(), await logs.open()
        earlier = await one.append(*drafts(100))
        [receipt] = await other.append(draft())
        assert [m.id for m in other.fed] == [*(r.id for r in earlier), receipt.id]

    async def test_many_write_at_once(self, logs: Logs) -> None:
        engines = [await logs.open() for _ in range(3)]

        async def publish(log: Log) -> list[Receipt]:
            receipts = []
            for step in range(15):
                receipts += await log.append(draft("ab"[step % 2]), draft("c"))
            return receipts

        answers = await asyncio.gather(*(publish(log) for log in engines for _ in range(2)))
        receipts = sorted((r for answer in answers for r in answer), key=lambda r: r.id)
        for channel in "abc":
            seqs = [receipt.seq for receipt in receipts if receipt.channel == channel]
            assert seqs == list(range(1, len(seqs) + 1))
        for log in engines:
            await log.fed_up_to(receipts[-1].id)
            assert [(m.channel, m.id, m.seq) for m in log.fed] == [
                (receipt.channel, receipt.id, receipt.seq) for receipt in receipts
            ]

    async def test_keys_are_shared(self, logs: Logs) -> None:
        one, other = await logs.open(), await logs.open()
        [first] = await one.append(draft("a", key="k"))
        [again] = await other.append(draft("a", key="k"))
        assert again == first
        both = await asyncio.gather(
            one.append(draft("a", key="l")), other.append(draft("a", key="l"))
        )
        assert both[0] == both[1]
        assert await one.engine.head() == both[0][0].id
        assert both[0][0].seq == 2

    async def test_a_feed_gets_even_what_is_discarded_at_once(
        self, logs: Logs, clock: Clock
    ) -> None:
        one, other = await logs.open(size=0), await logs.open(size=0)
        receipts = await one.append(*drafts(5))
        await one.clean()
        await other.fed_up_to(receipts[-1].id)
        assert [m.id for m in other.fed] == [receipt.id for receipt in receipts]

    async def test_cleaning_by_one_counts_for_all(self, logs: Logs, clock: Clock) -> None:
        one, other = await logs.open(size=3), await logs.open(size=3)
        await one.append(*drafts(10))
        clock.move(100)
        await one.clean()
        page, same = await one.read({"a": 0}), await other.read({"a": 0})
        assert [m.seq for m in page.messages] == [m.seq for m in same.messages] == [8, 9, 10]
        assert page.gaps == same.gaps

    async def test_purges_are_heard_of(self, logs: Logs) -> None:
        one, other = await logs.open(), await logs.open()
        await one.append(draft("a", key="k", version=9), draft("b"))
        for forget in (False, True):
            receipt = await one.engine.purge("a", forget=forget)
            await other.fed_up_to(receipt.id)
            assert facts(other.fed[-1]) == facts(one.fed[-1])
            assert other.fed[-1].gap == ("reset" if forget else "expired")
        [receipt] = await other.append(draft("a", key="k", version=1))
        assert receipt.seq == 1
        await one.fed_up_to(receipt.id)
        assert one.fed[-1].seq == 1

    async def test_versions_are_shared(self, logs: Logs) -> None:
        one, other = await logs.open(), await logs.open()
        answers = await asyncio.gather(
            *(log.append(draft(version=n)) for n in range(1, 20) for log in (one, other))
        )
        receipts = [receipt for answer in answers for receipt in answer]
        assert len({receipt.id for receipt in receipts}) == max(r.seq for r in receipts)
        assert receipts[-1] == receipts[-2]

    async def test_a_feed_gets_what_is_withdrawn_at_once(self, logs: Logs, clock: Clock) -> None:
        one, other = await logs.open(), await logs.open()
        [receipt] = await one.append(draft("a", b"1", ttl=0.001))
        clock.move(1)
        await one.clean()
        await other.fed_up_to(receipt.id)
        assert facts(other.fed[0]) == facts(one.fed[0])

    async def test_records_are_shared(self, logs: Logs) -> None:
        one, other = await logs.open(), await logs.open()
        await asyncio.gather(
            *(
                log.engine.change("t", "k", lambda old: (old or b"") + b"x", HOUR)
                for log in (one, other)
                for _ in range(20)
            )
        )
        for log in (one, other) * 3:  # each must see what the other has made of it meanwhile
            await log.engine.change("t", "k", lambda old: (old or b"") + b"y", HOUR)
        found = await one.engine.get("t", "k")
        assert found == await other.engine.get("t", "k") == b"x" * 40 + b"y" * 6
