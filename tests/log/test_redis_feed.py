"""The feed of a log on Redis: what of it is kept, and for how long; what comes late, or never."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.log.harness import Clock, Logs, draft, drafts
from tests.log.redis_storage import Node, RedisStorage
from tidewire.log.redis_connection import Lost

if TYPE_CHECKING:
    import pytest

LARGE = b'"%b"' % (b"x" * 600_000)
"""More than is published: it is read from the stream."""


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


async def test_a_batch_that_was_read_before_it_came(
    storage: RedisStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection for reading was faster; what has another token is of another log."""
    async with Node(storage.url) as node:
        for _ in range(3):
            await node.append(draft())
        log, reading = node.engine._link.log, node.engine._link.reading
        assert log
        assert reading
        [[_, [_, late]]] = await reading.call("XRANGE", storage.key("feed"), 2, 2)
        node.engine._follower.pushed(log, late)
        assert not caplog.records
        node.engine._follower.pushed(log, late[:8] + bytes(16) + late[24:])
        assert "batch 2 of the feed came behind 3" in caplog.text
        await node.append_when_back(draft())
        assert [message.seq for message in node.fed] == [1, 2, 3, 4]


async def test_a_batch_that_never_came(
    storage: RedisStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing else follows; that the log is further is found out all the same."""
    async with Node(storage.url) as one, Node(storage.url) as other:
        await one.append(draft())
        await other.until(lambda: len(other.fed) == 1)
        pushed, came = other.engine._link._pushed, asyncio.Event()
        other.engine._link._pushed = lambda *_: came.set()
        [receipt] = await one.append(draft())
        await came.wait()  # the answer may be faster
        other.engine._link._pushed = pushed
        await other.until_fed(receipt.id)
        assert other.breaks == []
    assert "batch 2 of the feed has not come" in caplog.text


async def test_a_mark_counts_behind_what_was_to_be_read(
    storage: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is that far already, so it makes no batch; but reading what was before it fails."""
    async with Node(storage.url) as one, Node(storage.url) as other:
        follower = other.engine._follower
        events: list[int | str] = []
        follower.start(lambda messages: events.append(messages[-1].id), None)
        other.engine.marked = lambda id: events.append(f"mark {id}")
        reads, fails = asyncio.Event(), asyncio.Event()

        async def fail(*_: object) -> None:
            monkeypatch.undo()
            reads.set()
            await fails.wait()
            raise Lost("it ended")

        monkeypatch.setattr(follower, "_catch_up", fail)
        [large] = await one.append(draft(data=LARGE))
        await reads.wait()
        mark = other.engine.mark(large.id)
        await other.until(lambda: follower._deferred)
        assert events == []
        fails.set()
        await mark
        assert events[0] == large.id
        assert events[-1] == f"mark {large.id}"
