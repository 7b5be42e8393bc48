"""Versions: what is not above the newest one of its channel is neither stored nor delivered."""

from __future__ import annotations

import asyncio

from tests.log.contract_base import Contract
from tests.log.harness import Clock, Log, Logs, draft, drafts


class VersionsContract(Contract):
    """What a draft's ``version`` does."""

    async def test_an_old_version_gets_the_receipt_of_the_newest(self, log: Log) -> None:
        [one] = await log.append(draft("a", b"1", version=5))
        [two] = await log.append(draft("a", b"2", version=7))
        for version in (1, 5, 6, 7):
            assert await log.append(draft("a", b"x", version=version)) == [two]
        [three] = await log.append(draft("a", b"3", version=2**53))
        assert [r.seq for r in (one, two, three)] == [1, 2, 3]
        assert [message.data for message in log.fed] == [b"1", b"2", b"3"]
        assert await log.append(draft("a", b"x", version=2**53)) == [three]

    async def test_in_one_batch_and_together(self, log: Log) -> None:
        first, second = await asyncio.gather(
            log.append(draft(version=2), draft(version=1), draft(version=3)),
            log.append(draft(version=3), draft(), draft(version=4)),
        )
        assert first[1] == first[0]
        assert second[0] == first[2]
        assert [r.seq for r in (first[0], first[2], second[1], second[2])] == [1, 2, 3, 4]

    async def test_messages_without_a_version_change_nothing(self, log: Log) -> None:
        [one] = await log.append(draft(version=5))
        await log.append(*drafts(3))
        assert await log.append(draft(version=5)) == [one]

    async def test_a_version_belongs_to_its_channel(self, log: Log) -> None:
        await log.append(draft("a", version=5))
        [b] = await log.append(draft("b", version=1))
        assert b.seq == 1

    async def test_the_key_comes_first(self, log: Log) -> None:
        [one] = await log.append(draft(key="k", version=1))
        [two] = await log.append(draft(version=2))
        assert await log.append(draft(key="k", version=3)) == [one]
        assert await log.append(draft(key="l", version=2)) == [two]
        assert (await log.append(draft(key="l", version=3)))[0].seq == 3  # l was not used before

    async def test_it_outlives_its_message_and_a_purge(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(size=0)
        [one] = await log.append(draft(version=5))
        clock.move(100)
        await log.clean()
        assert await log.append(draft(version=5)) == [one]
        await log.engine.purge("a", forget=False)
        assert await log.append(draft(version=4)) == [one]

    async def test_a_forgotten_channel_has_no_version(self, log: Log) -> None:
        await log.append(draft(version=5))
        _, receipts = await asyncio.gather(
            log.engine.purge("a", forget=True), log.append(draft(version=1), draft(version=1))
        )
        assert [(r.id, r.seq) for r in receipts] == [(log.fed[-1].id, 1)] * 2
        assert await log.append(draft(version=1)) == receipts[:1]
