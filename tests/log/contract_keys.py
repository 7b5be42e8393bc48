"""Idempotency keys: a publish that is repeated within the window is answered, not published."""

from __future__ import annotations

import asyncio

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Clock, Log, Logs, draft


class KeysContract(Contract):
    """What a draft's ``key`` does."""

    async def test_a_repeat_gets_the_first_receipt(self, log: Log, clock: Clock) -> None:
        [first] = await log.append(draft("a", b"1", key="k"))
        newest = await log.newest("a")
        clock.move(1)
        assert await log.append(draft("a", b"2", key="k")) == [first]
        assert await log.append(draft("a", b"1", key="k")) == [first]
        assert [message.data for message in log.fed] == [b"1"]
        assert [m.data for m in (await log.read({"a": 0})).messages] == [b"1"]
        assert await log.engine.head() == first.id
        assert await log.newest("a") == newest == (first.id, log.fed[0].time)

    async def test_a_repeat_takes_no_id_and_no_seq(self, log: Log) -> None:
        [first, again, other] = await log.append(
            draft("a", key="k"), draft("a", key="k"), draft("a")
        )
        assert again == first
        assert (other.id, other.seq) == (first.id + 1, 2)

    async def test_repeats_within_a_batch(self, log: Log) -> None:
        [known] = await log.append(draft("a", key="known"))
        receipts = await log.append(
            draft("a", b"1", key="new"),
            draft("a", b"2"),
            draft("a", b"3", key="known"),
            draft("a", b"4", key="new"),
            draft("a", b"5", key="other"),
        )
        assert [receipt.seq for receipt in receipts] == [2, 3, 1, 2, 4]
        assert receipts[2] == known
        assert receipts[3] == receipts[0]
        assert [message.data for message in log.fed[1:]] == [b"1", b"2", b"5"]

    async def test_repeats_that_arrive_together(self, log: Log) -> None:
        answers = await asyncio.gather(*(log.append(draft("a", key="k")) for _ in range(10)))
        assert len({(r.id, r.seq) for answer in answers for r in answer}) == 1
        assert len(log.fed) == 1

    async def test_a_key_belongs_to_its_channel(self, log: Log) -> None:
        [a, b] = await log.append(draft("a", key="k"), draft("b", key="k"))
        assert a.id != b.id
        assert await log.append(draft("b", key="k"), draft("a", key="k")) == [b, a]
        assert len(log.fed) == 2

    async def test_keys_are_compared_exactly(self, log: Log) -> None:
        keys = ["k", "K", "k ", "k\0", "k\0x", "\u00e4", "a\u0308", "1", "01", "%", "_"]
        receipts = await log.append(*(draft("a", key=key) for key in keys))
        assert [receipt.seq for receipt in receipts] == list(range(1, len(keys) + 1))
        assert await log.append(*(draft("a", key=key) for key in keys)) == receipts

    async def test_a_key_is_forgotten_after_the_window(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(window=120)
        [first] = await log.append(draft("a", key="k"))
        clock.move(119)
        assert await log.append(draft("a", key="k")) == [first]
        clock.move(2)
        [second] = await log.append(draft("a", key="k"))
        assert second.seq == 2
        clock.move(119)  # a window of its own
        assert await log.append(draft("a", key="k")) == [second]

    async def test_a_repeat_does_not_prolong_the_window(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(window=10)
        await log.append(draft("a", key="k"))
        for _ in range(3):
            clock.move(3)
            await log.append(draft("a", key="k"))
        assert len(log.fed) == 1
        clock.move(2)
        assert (await log.append(draft("a", key="k")))[0].seq == 2

    async def test_a_key_outlives_its_message(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(size=0, ttl=1, window=120)
        [first] = await log.append(draft("a", key="k"))
        clock.move(60)
        await log.clean()
        assert await log.append(draft("a", key="k")) == [first]

    async def test_a_key_outlives_a_clock_that_goes_back(self, log: Log, clock: Clock) -> None:
        [first] = await log.append(draft("a", key="k"))
        clock.move(-HOUR)
        assert await log.append(draft("a", key="k")) == [first]

    async def test_expired_keys_are_cleaned_and_others_not(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(window=100)
        await log.append(*(draft("a", key=f"old {number}") for number in range(50)))
        clock.move(60)
        young = [draft("a", key=f"young {number}") for number in range(50)]
        receipts = await log.append(*young)
        clock.move(60)
        await log.clean()
        assert await log.append(*young) == receipts
        assert (await log.append(draft("a", key="old 7")))[0].seq == 101
