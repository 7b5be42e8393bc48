"""What goes to Redis in one script: all that waits, up to a bound; what one call brings, whole."""

from __future__ import annotations

import asyncio

from tests.log.harness import Logs, draft, drafts
from tests.log.redis_storage import RedisStorage


def batches(storage: RedisStorage) -> int:
    """How many scripts appended something."""
    count: int = storage.ask("XLEN", "feed")
    return count


async def test_what_arrives_in_one_turn_shares_a_script(logs: Logs, storage: RedisStorage) -> None:
    log = await logs.open()
    await asyncio.gather(*(log.engine.append(drafts(3, "ab"[n % 2])) for n in range(100)))
    assert batches(storage) == 1


async def test_what_arrives_meanwhile_shares_the_next(logs: Logs, storage: RedisStorage) -> None:
    log = await logs.open()
    first = log.engine.append(drafts(1))
    for _ in range(3):  # it is on its way
        await asyncio.sleep(0)
    await asyncio.gather(first, *(log.engine.append(drafts(1)) for _ in range(50)))
    assert batches(storage) == 2


async def test_a_script_takes_so_many_messages(logs: Logs, storage: RedisStorage) -> None:
    log = await logs.open()
    await asyncio.gather(*(log.engine.append(drafts(1)) for _ in range(5_000)))
    assert batches(storage) == 3


async def test_a_script_takes_so_many_bytes(logs: Logs, storage: RedisStorage) -> None:
    log = await logs.open()
    large = b'"%b"' % (b"x" * 1_500_000)
    await asyncio.gather(*(log.engine.append([draft("a", large)]) for _ in range(6)))
    assert batches(storage) == 2


async def test_what_one_call_brings_stays_together(logs: Logs, storage: RedisStorage) -> None:
    log = await logs.open()
    await log.append(*(draft(f"room{number}") for number in range(5_000)))
    assert batches(storage) == 1
    await asyncio.gather(*(log.engine.append(drafts(1_500)) for _ in range(3)))
    assert batches(storage) == 4
