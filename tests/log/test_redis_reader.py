"""Reading a log on Redis: how much is fetched, and what is told of what Redis has let go of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.log.harness import Clock, Logs, draft, drafts, ids
from tests.log.redis_storage import RedisStorage
from tidewire.log.redis import RedisEngine
from tidewire.model import Gap

if TYPE_CHECKING:
    from tests.log.harness import Log
    from tidewire.log.redis_reader import Reader

DAY = 24 * 3600


def reader_of(log: Log) -> Reader:
    assert isinstance(log.engine, RedisEngine)
    return log.engine._reader


class Watched:
    """Writes down what a reader asks, and what it is answered; may do something in between."""

    def __init__(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rounds: list[list[tuple[Any, ...]]] = []
        self.entries = 0
        self.between: list[Any] = []
        reader = reader_of(log)
        self._ask = reader.ask
        monkeypatch.setattr(reader, "ask", self.ask)

    async def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        replies = await self._ask(*commands)
        self.rounds.append(list(commands))
        for command, reply in zip(commands, replies, strict=True):
            if command[0] == "XRANGE":
                self.entries += len(reply)
        if self.between:
            self.between.pop(0)()
        return replies


async def test_a_few_messages_are_one_round(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await logs.open()
    await log.append(*drafts(5, "a"), *drafts(5, "b"))
    head = await log.engine.head()
    watched = Watched(log, monkeypatch)
    page = await log.engine.read({"a": 0, "b": 0, "c": 0}, head, 100, 1 << 20)
    assert len(page.messages) == 10
    assert len(watched.rounds) == 1


async def test_many_messages_are_fetched_by_their_size(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await logs.open()
    await log.append(*(draft("a", b"x" * 1000) for _ in range(2_000)))
    head = await log.engine.head()
    watched = Watched(log, monkeypatch)
    page = await log.engine.read({"a": 0}, head, 1_000, 200_000)
    assert (len(page.messages), page.more) == (200, True)
    assert len(watched.rounds) <= 4
    assert 200 <= watched.entries <= 220
    watched.entries = 0
    page = await log.engine.read({"a": 0}, head, 500, 1 << 30)
    assert (len(page.messages), page.more) == (500, True)
    assert 500 <= watched.entries <= 520


async def test_large_messages_are_not_fetched_by_the_thousand(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await logs.open()
    await log.append(*(draft("abcdefgh"[n % 8], b"x" * 100_000) for n in range(80)))
    head = await log.engine.head()
    watched = Watched(log, monkeypatch)
    page = await log.engine.read(dict.fromkeys("abcdefgh", 0), head, 256, 1)
    assert (len(page.messages), page.more) == (1, True)
    assert watched.entries <= 40


async def test_what_is_trimmed_between_two_rounds_is_found_by_the_next_page(
    logs: Logs, storage: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await logs.open()
    a = [receipt.id for receipt in await log.append(*drafts(100))]
    watched = Watched(log, monkeypatch)
    watched.between.append(lambda: storage.ask("XTRIM", "m:a", "MAXLEN", 10))
    head = a[-1]
    page = await log.engine.read({"a": 0}, head, 1_000, 1 << 20)
    assert (page.more, page.gaps) == (True, [])
    assert ids(page) == a[: len(page.messages)]
    page = await log.engine.read({"a": page.position}, head, 1_000, 1 << 20)
    assert (ids(page), page.gaps) == (a[90:], [Gap("a", a[89], "expired")])


async def test_redis_lets_go_of_all_that_is_over(
    logs: Logs, storage: RedisStorage, clock: Clock
) -> None:
    """If no server runs to remove it, too."""
    log = await logs.open(ttl=100, window=50)
    await log.append(draft("a", key="k"))
    seconds: dict[str, float] = {
        name: storage.ask("TTL", name) for name in ("m:a", "c:a", "k:a\0k", "log", "feed")
    }
    assert 150 < seconds["m:a"] < 300
    assert seconds["c:a"] > 31 * DAY
    assert 50 < seconds["k:a\0k"] < 200
    assert seconds["log"] == seconds["feed"] == -1
    long = await logs.open(ttl=40 * DAY)
    await long.append(draft("b"))
    assert storage.ask("TTL", "c:b") > 79 * DAY


async def test_messages_that_redis_has_let_go_of_are_a_gap(
    logs: Logs, storage: RedisStorage, clock: Clock
) -> None:
    log = await logs.open(ttl=100)
    a = [receipt.id for receipt in await log.append(*drafts(3))]
    clock.move(1000)
    storage.ask("DEL", "m:a")
    assert (await log.read({"a": a[0]})).gaps == [Gap("a", a[2], "expired")]
    assert await log.start("a", "start") == await log.start("a", "last", 2) == a[2]
    [receipt] = await log.append(draft())
    page = await log.read({"a": a[1]})
    assert (ids(page), page.gaps) == ([receipt.id], [Gap("a", a[2], "expired")])
    assert receipt.seq == 4


async def test_of_a_channel_that_is_forgotten_nobody_knows(
    logs: Logs, storage: RedisStorage, clock: Clock
) -> None:
    """Who comes with a position from then is told a gap, once; who comes without one is not."""
    log = await logs.open(ttl=3600)
    [old] = await log.append(draft("a"))
    assert (await log.read({"b": 0})).gaps == [], "the log is younger than that"
    await logs.close(log)
    clock.move(40 * DAY)
    log = await logs.open(ttl=3600)
    storage.ask("DEL", "c:a")
    storage.ask("DEL", "m:a")
    await log.append(draft("c"))
    [gap] = (await log.read({"a": old.id})).gaps
    assert old.id < gap.id < clock.us - 31 * DAY * 1_000_000
    assert gap.reason == "expired"
    clock.move(60)
    assert (await log.read({"a": gap.id})).gaps == []
    start = await log.start("a", "start")
    assert (await log.read({"a": start})).gaps == []
    assert (await log.read({"a": clock.us - 30 * DAY * 1_000_000})).gaps == []
    [new] = await log.append(draft("a"))
    page = await log.read({"a": gap.id})
    assert (ids(page), page.gaps) == ([new.id], [])
