"""Appending: ids, ``seq``, the feed, the answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Clock, Log, Logs, draft, drafts, facts
from tidewire.model import Draft, Receipt, parse_cursor


class AppendingContract(Contract):
    """What ``append`` and the feed promise."""

    async def test_a_new_log_is_empty(self, log: Log) -> None:
        assert log.head_at_open == 0
        assert await log.engine.head() == 0
        assert log.fed == []

    async def test_the_epoch_can_be_written_in_cursors(self, log: Log) -> None:
        assert parse_cursor(f"{log.engine.epoch}-1").epoch == log.engine.epoch

    async def test_the_first_id_is_the_time_in_microseconds(self, log: Log, clock: Clock) -> None:
        assert await log.append(draft("a")) == [Receipt("a", clock.us, 1)]
        assert await log.engine.head() == clock.us

    async def test_ids_follow_the_clock_or_the_last_id(self, log: Log, clock: Clock) -> None:
        start = clock.us
        assert [r.id for r in await log.append(draft(), draft("b"))] == [start, start + 1]
        assert (await log.append(draft()))[0].id == start + 2
        clock.move(1)
        assert (await log.append(draft()))[0].id == clock.us == start + 1_000_000

    async def test_ids_grow_when_the_clock_goes_back(self, log: Log, clock: Clock) -> None:
        [first] = await log.append(draft())
        clock.move(-HOUR)
        [second, third] = await log.append(draft(), draft("b"))
        assert (second.id, third.id) == (first.id + 1, first.id + 2)
        clock.move(HOUR / 2)
        [fourth] = await log.append(draft())
        assert fourth.id == first.id + 3
        clock.move(HOUR)
        [fifth] = await log.append(draft())
        assert fifth.id == clock.us

    async def test_the_time_of_a_message_is_the_clock(self, log: Log, clock: Clock) -> None:
        times = [clock.us // 1000]
        await log.append(draft())
        for seconds in (1.5, -HOUR, 0.25):
            clock.move(seconds)
            times.append(clock.us // 1000)
            await log.append(draft())
        assert [message.time for message in log.fed] == times
        page = await log.read({"a": 0})
        assert [message.time for message in page.messages] == times

    async def test_seq_counts_in_each_channel(self, log: Log) -> None:
        receipts = await log.append(draft("a"), draft("b"), draft("a"), draft("c"), draft("a"))
        assert [(r.channel, r.seq) for r in receipts] == [
            ("a", 1), ("b", 1), ("a", 2), ("c", 1), ("a", 3),
        ]  # fmt: skip
        receipts = await log.append(draft("c"), draft("b"), draft("d"))
        assert [(r.channel, r.seq) for r in receipts] == [("c", 2), ("b", 2), ("d", 1)]

    async def test_an_append_of_nothing_is_answered(self, log: Log) -> None:
        assert await log.append() == []
        assert await log.engine.head() == 0
        await log.append(draft())
        head = await log.engine.head()
        assert await log.append() == []
        assert await log.engine.head() == head
        assert len(log.fed) == 1

    async def test_everything_of_a_message_is_kept(self, log: Log, clock: Clock) -> None:
        name = "A-Za_z0.9:/@#" + "x" * 242
        given = [
            Draft(name, b'{"any":"JSON","n":1.10}', "head\u00e4line", b'{"lang":"en"}'),
            Draft(name, b'"AAEC"', binary=True),
            Draft(name, '"\u2028 \U0001f30a \\u0000"'.encode(), event="\u2028"),
            Draft(name, b"null", headers=b"{}"),
            Draft(name, b'""', key="k" * 255),
        ]
        receipts = await log.append(*given)
        expected = [
            (
                log.engine.epoch, receipt.id, name, receipt.seq, clock.us // 1000,
                one.data, one.event, one.headers, one.binary, 0, None,
            )
            for one, receipt in zip(given, receipts, strict=True)
        ]  # fmt: skip
        assert [facts(message) for message in log.fed] == expected
        assert [facts(m) for m in (await log.read({name: 0})).messages] == expected

    @pytest.mark.parametrize("size", [65_535, 5_000_000])
    async def test_large_messages(self, log: Log, size: int) -> None:
        data = b'"%b"' % (b"x" * size)
        await log.append(draft("a", data), draft("a", b"1"))
        assert [message.data for message in log.fed] == [data, b"1"]
        page = await log.read({"a": 0})
        assert [message.data for message in page.messages] == [data, b"1"]

    async def test_a_large_batch_is_taken_whole(self, log: Log) -> None:
        await log.append(draft("b"))
        receipts = await log.append(*drafts(5_000))
        assert [receipt.seq for receipt in receipts] == list(range(1, 5_001))
        first = receipts[0].id
        assert [receipt.id for receipt in receipts] == list(range(first, first + 5_000))
        assert [message.id for message in log.fed[1:]] == [receipt.id for receipt in receipts]

    async def test_appends_are_accepted_in_the_order_of_the_calls(self, log: Log) -> None:
        batches = [drafts(1 + number % 3, "ab"[number % 2]) for number in range(100)]
        answers = await asyncio.gather(*(log.engine.append(batch) for batch in batches))
        given = [one.data for batch in batches for one in batch]
        assert [message.data for message in log.fed] == given
        receipts = [receipt for answer in answers for receipt in answer]
        assert [(m.channel, m.id, m.seq) for m in log.fed] == [
            (receipt.channel, receipt.id, receipt.seq) for receipt in receipts
        ]

    async def test_many_publish_at_once(self, log: Log) -> None:
        async def publish(channel: str) -> list[Receipt]:
            return [receipt for _ in range(20) for receipt in await log.append(draft(channel))]

        answers = await asyncio.gather(*(publish("abcd"[number % 4]) for number in range(16)))
        receipts = sorted((r for answer in answers for r in answer), key=lambda r: r.id)
        assert [(m.channel, m.id, m.seq) for m in log.fed] == [
            (receipt.channel, receipt.id, receipt.seq) for receipt in receipts
        ]
        for channel in "abcd":
            seqs = [receipt.seq for receipt in receipts if receipt.channel == channel]
            assert seqs == list(range(1, 81))

    async def test_who_gives_up_waiting_disturbs_nobody(self, log: Log) -> None:
        futures = [log.engine.append(drafts(2)) for _ in range(9)]
        futures[4].cancel()
        answers = await asyncio.gather(*futures, return_exceptions=True)
        await log.append(draft())
        by_id = {message.id: message for message in log.fed}
        for number, answer in enumerate(answers):
            if isinstance(answer, list):
                assert [by_id[receipt.id].seq for receipt in answer] == [r.seq for r in answer]
            else:
                assert number == 4
        # The batch that nobody waits for is there whole, or not at all.
        assert len(log.fed) in (17, 19)
        assert [m.seq for m in log.fed] == list(range(1, len(log.fed) + 1))

    async def test_what_was_accepted_is_finished_by_closing(self, logs: Logs) -> None:
        log = await logs.open()
        futures = [log.engine.append(drafts(3)) for _ in range(5)]
        await logs.close(log)
        assert all(future.done() for future in futures)
        assert [receipt.seq for future in futures for receipt in future.result()] == list(
            range(1, 16)
        )
        assert len(log.fed) == 15
