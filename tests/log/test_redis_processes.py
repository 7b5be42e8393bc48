"""Several processes on one Redis, and processes and servers that are killed: nothing answered is
lost that Redis has on its disk.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.log.appending import Appending, Told, check_counts, check_whole, told
from tests.log.harness import draft
from tests.log.redis_storage import Node, RedisStorage
from tests.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def storage(server: RedisServer) -> RedisStorage:
    return RedisStorage(server)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What it holds is none of the next test's."""
    with ExitStack() as stack:
        yield stack


def start(
    stack: ExitStack, storage: RedisStorage, name: str, answers: int, total: int
) -> Appending:
    """Start one process and wait until it has opened the log."""
    appending = Appending(storage.url, name, answers, total)
    stack.enter_context(appending.process)
    stack.callback(appending.kill)
    assert appending.line() == "open\n"
    return appending


async def in_redis(storage: RedisStorage) -> list[Told]:
    """All messages of the log, in id order."""
    async with Node(storage.url) as node:
        head = await node.engine.head()
        page = await node.engine.read(dict.fromkeys("abc", 0), head, 1 << 30, 1 << 30)
        assert page.gaps == []
        return [(m.channel, m.id, m.seq, m.data.decode()) for m in page.messages]


async def test_two_processes_share_one_log(storage: RedisStorage, stack: ExitStack) -> None:
    processes = [start(stack, storage, name, 1000, 2000) for name in ("one", "other")]
    for process in processes:
        process.begin()
    feeds = []
    answered: list[Told] = []
    for process in processes:
        *answers, fed = process.rest()
        answered += itertools.chain.from_iterable(answers)
        feeds.append(fed)
        assert process.end() == 0
    messages = await in_redis(storage)
    assert sorted(messages) == sorted(answered)
    assert len(messages) >= 2000
    check_counts(messages)
    for fed in feeds:  # it may end before the other's last messages
        assert fed == messages[: len(fed)]
        assert len(fed) >= 2000


@pytest.mark.crash
async def test_what_was_answered_outlives_kill_9(storage: RedisStorage, stack: ExitStack) -> None:
    answered: list[Told] = []
    for turn in range(3):
        survivor = start(stack, storage, f"survivor{turn}", 300, 0)
        victim = start(stack, storage, f"victim{turn}", 10**9, 0)
        for process in (survivor, victim):
            process.begin()
        for _ in range(20 + 13 * turn):
            answered += told(victim.line())
        victim.kill()
        for answers in victim.rest():
            answered += answers
        assert victim.end() == -9
        *rest, _ = survivor.rest()
        answered += itertools.chain.from_iterable(rest)
        assert survivor.end() == 0
        messages = await in_redis(storage)
        check_counts(messages)
        check_whole(messages, answered, most=6 * (turn + 1))  # one of each task of a victim


@pytest.mark.crash
async def test_what_was_answered_outlives_a_kill_of_redis(
    server: RedisServer, storage: RedisStorage, stack: ExitStack
) -> None:
    async with Node(storage.url) as node, Node(storage.url) as other:
        answered = await node.append(draft("a"))
        for _ in range(3):
            for _ in range(20):
                answered += await node.append_when_back(draft("a"), draft("b"))
            server.kill()
            server.restart()
        [last] = await node.append_when_back(draft("c"))
        await other.until_fed(last.id)
        assert [m.id for m in other.fed] == [m.id for m in node.fed]
        assert other.breaks == node.breaks == []
        messages = await in_redis(storage)
        check_counts(messages)
        assert {(r.channel, r.id, r.seq) for r in answered} <= {m[:3] for m in messages}
