"""Records: small values by table and key, changed in one step, forgotten after their time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Clock, Log, drafts

if TYPE_CHECKING:
    from asyncio import Future

    from tidewire.log.engine import Change


def put(value: bytes | None) -> Change:
    """A change to *value*, whatever was there."""
    return lambda _: value


def add(value: bytes) -> Change:
    """A change that writes *value* behind what is there."""
    return lambda old: (old or b"") + value


def change(
    log: Log, change: Change, key: str = "k", *, table: str = "t", ttl: float = HOUR
) -> Future[bytes | None]:
    """Change one record."""
    return log.engine.change(table, key, change, ttl)


async def keys(
    log: Log, prefix: str = "", after: str = "", *, limit: int = 100, table: str = "t"
) -> list[str]:
    """The keys that a scan finds."""
    return [key for key, _ in await log.engine.scan(table, prefix, after, limit)]


class RecordsContract(Contract):
    """What ``change``, ``get`` and ``scan`` do."""

    async def test_a_record_is_what_was_made_of_it(self, log: Log) -> None:
        assert await log.engine.get("t", "k") is None
        assert await change(log, add(b"1")) == b"1"
        assert await change(log, add(b"2")) == b"12"
        assert await log.engine.get("t", "k") == b"12"
        assert await change(log, put(b"")) == b""
        assert await log.engine.get("t", "k") == b""
        assert await change(log, put(None)) is None
        assert await log.engine.get("t", "k") is None
        assert await keys(log) == []

    async def test_changes_are_made_in_the_order_of_calls(self, log: Log) -> None:
        answers = await asyncio.gather(*(change(log, add(b"%d" % step)) for step in range(10)))
        assert answers == [b"0123456789"[: step + 1] for step in range(10)]
        assert await log.engine.get("t", "k") == b"0123456789"

    async def test_nothing_is_lost_between_changes_and_appends(self, log: Log) -> None:
        for turn in range(5):
            changed, receipts, again = await asyncio.gather(
                change(log, add(b"a")), log.append(*drafts(3)), change(log, add(b"b"))
            )
            assert changed == b"ab" * turn + b"a"
            assert [receipt.seq for receipt in receipts] == [turn * 3 + n for n in (1, 2, 3)]
            assert again == b"ab" * (turn + 1)

    async def test_a_change_is_no_message(self, log: Log) -> None:
        await change(log, put(b"1"))
        assert await log.engine.head() == 0
        assert log.fed == []

    async def test_what_a_change_raises_is_its_callers_alone(self, log: Log) -> None:
        def refuse(old: bytes | None) -> bytes | None:
            raise ValueError("no")

        await change(log, put(b"1"))
        results = await asyncio.gather(
            change(log, add(b"2")), change(log, refuse), change(log, add(b"3")),
            return_exceptions=True,
        )  # fmt: skip
        assert (results[0], results[2]) == (b"12", b"123")
        assert isinstance(results[1], ValueError)
        assert await log.engine.get("t", "k") == b"123"

    async def test_tables_and_keys_are_apart(self, log: Log) -> None:
        names = [("t", "k"), ("t", "K"), ("T", "k"), ("t", "k\0"), ("t", "k\0k"), ("t", "%")]
        for number, (table, key) in enumerate(names):
            await change(log, put(b"%d" % number), key, table=table)
        values = [await log.engine.get(table, key) for table, key in names]
        assert values == [b"0", b"1", b"2", b"3", b"4", b"5"]

    async def test_a_record_is_forgotten_after_its_time(self, log: Log, clock: Clock) -> None:
        await change(log, put(b"1"), ttl=10)
        clock.move(9)
        assert await log.engine.get("t", "k") == b"1"
        clock.move(2)
        assert await log.engine.get("t", "k") is None
        assert await keys(log) == []
        assert await change(log, add(b"2"), ttl=10) == b"2"

    async def test_a_change_begins_the_time_anew(self, log: Log, clock: Clock) -> None:
        await change(log, put(b"1"), ttl=10)
        clock.move(9)
        await change(log, put(b"2"), ttl=10)
        clock.move(9)
        assert await log.engine.get("t", "k") == b"2"

    async def test_the_same_object_leaves_all_as_it_is(self, log: Log, clock: Clock) -> None:
        await change(log, put(b"1"), ttl=10)
        clock.move(9)
        assert await change(log, lambda old: old, ttl=10) == b"1"
        assert await change(log, lambda old: old, "other", ttl=10) is None
        clock.move(2)
        assert await log.engine.get("t", "k") is None

    async def test_a_record_outlives_a_clock_that_goes_back(self, log: Log, clock: Clock) -> None:
        await change(log, put(b"1"), ttl=10)
        clock.move(-HOUR)
        assert await change(log, add(b"2"), ttl=10) == b"12"

    async def test_a_scan_is_in_the_order_of_keys_and_in_pages(self, log: Log) -> None:
        names = ["b", "a/2", "a/1", "a/10", "c", "a/\u00e4", "a/\U0001f600", "a", "a0"]
        for name in names:
            await change(log, put(name.encode()), name)
        await change(log, put(b"x"), "a/3", table="other")
        found = sorted(name for name in names if name.startswith("a/"))
        assert await keys(log, "a/") == found
        assert await keys(log, "a/", limit=2) == found[:2]
        assert await keys(log, "a/", found[1], limit=2) == found[2:4]
        assert await keys(log, "a/", "zzz") == []
        assert await keys(log) == sorted(names)
        assert (await log.engine.scan("t", "c", "", 1)) == [("c", b"c")]

    @pytest.mark.parametrize("count", [1, 3_000])
    async def test_expired_records_are_cleaned_and_others_not(
        self, log: Log, clock: Clock, count: int
    ) -> None:
        await asyncio.gather(
            *(change(log, put(b"old"), f"old{number}", ttl=10) for number in range(count)),
            change(log, put(b"young"), "young", ttl=100),
        )
        clock.move(11)
        await log.clean()
        assert await keys(log) == ["young"]
        clock.move(-HOUR)  # what is gone does not come back
        assert await keys(log) == ["young"]
