"""Reading: bounds, order, pages."""

from __future__ import annotations

import asyncio

import pytest

from tests.log.contract_base import Contract
from tests.log.harness import Clock, Log, draft, drafts, facts, ids
from tidewire.model import Page


class ReadingContract(Contract):
    """What ``read``, ``newest`` and ``head`` promise while nothing is discarded."""

    async def test_after_is_excluded_and_upto_included(self, log: Log) -> None:
        a = [receipt.id for receipt in await log.append(*drafts(5))]
        assert ids(await log.read({"a": 0}, a[4])) == a
        assert ids(await log.read({"a": a[0]}, a[4])) == a[1:]
        assert ids(await log.read({"a": a[0] - 1}, a[4])) == a
        assert ids(await log.read({"a": a[1]}, a[3])) == a[2:4]
        assert ids(await log.read({"a": a[1]}, a[3] - 1)) == a[2:3]
        assert ids(await log.read({"a": a[4]}, a[4])) == []

    async def test_a_page_that_has_all_ends_at_upto(self, log: Log) -> None:
        a = [receipt.id for receipt in await log.append(*drafts(3))]
        for after, upto in [(0, a[2]), (a[2], a[2]), (a[1], a[1]), (a[2], a[2] + 999), (0, 5)]:
            page = await log.read({"a": after}, upto)
            assert (page.position, page.more, page.gaps) == (upto, False, [])

    async def test_a_position_beyond_upto_is_no_error(self, log: Log) -> None:
        a = [receipt.id for receipt in await log.append(*drafts(3))]
        assert await log.read({"a": a[2] + 10**9}, a[1]) == Page([], [], a[1], False)

    async def test_the_largest_numbers_are_taken(self, log: Log) -> None:
        largest = 2**63 - 1
        [one] = await log.append(draft())
        assert ids(await log.read({"a": 0}, largest)) == [one.id]
        assert ids(await log.read({"a": largest}, largest)) == []
        assert (await log.newest("a", largest))[0] == one.id

    async def test_the_limit_cuts_and_says_so(self, log: Log) -> None:
        a = [receipt.id for receipt in await log.append(*drafts(5))]
        for limit in (1, 2, 4):
            page = await log.read({"a": 0}, limit=limit)
            assert ids(page) == a[:limit]
            assert (page.position, page.more) == (a[limit - 1], True)
        for limit in (5, 6, 1000):
            page = await log.read({"a": 0}, limit=limit)
            assert ids(page) == a
            assert (page.position, page.more) == (a[4], False)
        page = await log.read({"a": 0}, a[1], limit=2)
        assert (ids(page), page.position, page.more) == (a[:2], a[1], False)

    async def test_max_bytes_cuts_and_says_so(self, log: Log) -> None:
        a = [r.id for r in await log.append(*(draft("a", b"x" * 10) for _ in range(5)))]
        for max_bytes, count in [(10, 1), (19, 1), (20, 2), (49, 4), (50, 5), (51, 5)]:
            page = await log.read({"a": 0}, max_bytes=max_bytes)
            assert ids(page) == a[:count], max_bytes
            assert (page.position, page.more) == (a[count - 1], count < 5)

    @pytest.mark.parametrize("max_bytes", [0, 1, 99])
    async def test_there_is_at_least_one_message(self, log: Log, max_bytes: int) -> None:
        a = [r.id for r in await log.append(*(draft("a", b"x" * 100) for _ in range(2)))]
        page = await log.read({"a": 0}, max_bytes=max_bytes)
        assert (ids(page), page.position, page.more) == (a[:1], a[0], True)
        page = await log.read({"a": a[0]}, max_bytes=max_bytes)
        assert (ids(page), page.position, page.more) == (a[1:], a[1], False)

    async def test_headers_count_against_max_bytes(self, log: Log) -> None:
        one = draft("a", b"x" * 10)
        with_headers = type(one)("a", b"x" * 10, headers=b'{"a":"b"}')
        await log.append(one, with_headers, one)
        assert len((await log.read({"a": 0}, max_bytes=28)).messages) == 1
        assert len((await log.read({"a": 0}, max_bytes=29)).messages) == 2

    async def test_channels_come_in_one_order(self, log: Log) -> None:
        for _ in range(3):
            await log.append(draft("a"), draft("b"), draft("other"), draft("c"), draft("a"))
        page = await log.read({"c": 0, "a": 0, "b": 0})
        assert [m.channel for m in page.messages] == list("abca") * 3
        assert ids(page) == sorted(ids(page))

    async def test_each_channel_has_its_own_position(self, log: Log) -> None:
        a1, b1, a2, b2, a3 = [
            r.id
            for r in await log.append(draft("a"), draft("b"), draft("a"), draft("b"), draft("a"))
        ]
        assert ids(await log.read({"a": a2, "b": 0})) == [b1, b2, a3]
        assert ids(await log.read({"a": 0, "b": b2})) == [a1, a2, a3]
        assert ids(await log.read({"a": a3, "b": b1}, b2)) == [b2]

    async def test_a_cut_across_channels_leaves_nothing_out(self, log: Log) -> None:
        order = "aaaabbbbabab"
        every = [r.id for r in await log.append(*(draft(c, b"x" * 10) for c in order))]
        for limit in range(1, 13):
            page = await log.read({"a": 0, "b": 0}, limit=limit)
            assert ids(page) == every[:limit]
            page = await log.read({"b": 0, "a": 0}, max_bytes=10 * limit)
            assert ids(page) == every[:limit]

    async def test_an_unknown_channel_is_empty(self, log: Log) -> None:
        assert await log.read({"a": 0}, 10) == Page([], [], 10, False)
        [one] = await log.append(draft("a"))
        assert await log.read({"b": 0}, one.id) == Page([], [], one.id, False)
        assert ids(await log.read({"b": 0, "a": 0, "c": 5})) == [one.id]
        assert await log.read({}, one.id) == Page([], [], one.id, False)

    async def test_names_are_compared_exactly(self, log: Log) -> None:
        names = ["a", "A", "a.", "a:", "a_", "a#", "aa"]
        receipts = await log.append(*(draft(name) for name in names))
        assert [receipt.seq for receipt in receipts] == [1] * len(names)
        for name, receipt in zip(names, receipts, strict=True):
            assert ids(await log.read({name: 0})) == [receipt.id]

    async def test_what_readers_make_of_a_message_is_not_kept(self, log: Log) -> None:
        await log.append(draft())
        assert log.fed[0].envelope
        for _ in range(2):
            [message] = (await log.read({"a": 0})).messages
            assert message.made_envelope is None
            assert message.forms is None
            assert message.envelope == log.fed[0].envelope

    async def test_twenty_thousand_messages_in_pages(self, log: Log) -> None:
        for _ in range(10):
            await log.append(*(draft("abc"[number % 3]) for number in range(2_000)))
        messages, gaps = await log.read_all({"a": 0, "b": 0, "c": 0}, limit=256)
        assert gaps == []
        assert [facts(message) for message in messages] == [facts(message) for message in log.fed]
        assert len(messages) == 20_000

    async def test_pages_bounded_by_bytes(self, log: Log) -> None:
        await log.append(*(draft("ab"[n % 2], b"x" * (1 + n * 37 % 400)) for n in range(300)))
        messages, _ = await log.read_all({"a": 0, "b": 0}, limit=1000, max_bytes=1000)
        assert [facts(message) for message in messages] == [facts(message) for message in log.fed]

    async def test_an_answered_append_is_read_at_once(self, log: Log) -> None:
        for _ in range(20):
            [one] = await log.append(draft())
            assert await log.engine.head() == one.id
            assert ids(await log.read({"a": one.id - 1})) == [one.id]
            assert (await log.newest("a"))[0] == one.id

    async def test_reading_while_others_append(self, log: Log) -> None:
        async def publish() -> None:
            for _ in range(50):
                await log.append(*drafts(5, "a"), draft("b"))

        publishing = asyncio.create_task(publish())
        positions = {"a": 0, "b": 0}
        seen: list[int] = []
        while not publishing.done() or len(seen) < len(log.fed):
            page = await log.read(positions, limit=7)
            seen += ids(page)
            positions = dict.fromkeys(positions, page.position)
            await asyncio.sleep(0)
        await publishing
        assert seen == [message.id for message in log.fed]

    async def test_the_newest_message_of_a_channel(self, log: Log, clock: Clock) -> None:
        expected = []
        for channel in "aba":
            clock.move(1)
            [receipt] = await log.append(draft(channel))
            expected.append((receipt.id, clock.us // 1000))
        first, second, third = expected
        head = third[0]
        found = await log.engine.newest(["a", "b", "c"], head)
        assert found == {"a": third, "b": second, "c": (0, 0)}
        found = await log.engine.newest(["a", "b"], head - 1)
        assert found == {"a": first, "b": second}
        assert await log.newest("a", first[0]) == first
        assert await log.newest("a", first[0] - 1) == (0, 0)
        assert await log.engine.newest([], head) == {}
