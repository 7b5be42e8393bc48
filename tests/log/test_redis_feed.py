"""The feed of a log on Redis: what of it is kept, and for how long."""

from __future__ import annotations

from tests.log.harness import Clock, Logs, draft, drafts
from tests.log.redis_storage import RedisStorage


async def test_batches_are_numbered(logs: Logs, storage: RedisStorage) -> None:
    log = await logs.open()
    for _ in range(3):
        await log.append(*drafts(2))
    await log.append(draft(key="k"))
    await log.append(draft(key="k"))  # it appends nothing, so it is none
    entries = storage.ask("XRANGE", "feed", "-", "+")
    assert [id for id, _ in entries] == ["1-0", "2-0", "3-0", "4-0"]


async def test_batches_are_kept_for_a_minute_at_least(
    logs: Logs, storage: RedisStorage, clock: Clock
) -> None:
    log = await logs.open()
    for _ in range(100):
        await log.append(draft())
        clock.move(7)
        assert storage.ask("XLEN", "feed") <= 20, "two minutes and a little"
    assert storage.ask("XLEN", "feed") >= 60 // 7


async def test_the_feed_is_bounded_in_bytes(logs: Logs, storage: RedisStorage) -> None:
    log = await logs.open()
    large = b'"%b"' % (b"x" * 5_000_000)
    for _ in range(20):
        await log.append(draft("a", large))
    assert 6 <= storage.ask("XLEN", "feed") <= 16
