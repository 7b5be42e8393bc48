"""Long backlogs and stalled readers: everything arrives, in pages, and the server stays small."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import Message, check_log, check_received, from_envelope
from tests.acceptance.crowd import crowd, everyone_has
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.slow_reader import SlowReader
from tests.acceptance.subscribers import (
    TRANSPORTS,
    Subscriber,
    http_client,
    numbered,
    publish_batch,
    query,
)
from tests.acceptance.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

KEPT = 20_000
TEXT = "x" * 3_900
ALLOWED_GROWTH = 24 << 20
"""Bytes for buffers and the allocator's slack."""
ALLOWED_CACHES = 24 << 20
"""Bytes for caches that are still filling. All of the backlog at once would be 80 MB and more."""


class Memory:
    """The largest resident memory of a server over a while, against that at the beginning."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.before = self.most = server.resident_memory()

    @property
    def growth(self) -> int:
        """Bytes by which the server was larger than at the beginning, at most."""
        return self.most - self.before

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Look every 10 ms."""
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    def look(self) -> None:
        """Look once."""
        self.most = max(self.most, self.server.resident_memory())

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.01)


async def fill(
    client: httpx.AsyncClient, channel: str, text: str = TEXT, count: int = KEPT
) -> list[Message]:
    """Publish ``count`` messages, 80 MB if not told otherwise, as fast as it goes."""
    published: list[Message] = []
    for first in range(0, count, 200):
        batch = numbered(200, [channel], first=first, text=text)
        published += await publish_batch(client, batch)
    return published


async def fill_and_warm_up(server: ServerProcess) -> list[Message]:
    """Publish the backlog, then 20 MB more, and read those: caches of bounded size are full now."""
    async with http_client(server.url) as client:
        published = await fill(client, "long")
        await fill(client, "warm", count=5_000)
    for transport in TRANSPORTS:
        await read_all(server, transport, "warm", 5_000)
    return published


async def read_all(server: ServerProcess, transport: str, channel: str, count: int) -> Subscriber:
    """Receive a channel from its start over one transport."""
    subscriber = Subscriber([channel], since="start")
    await subscriber.listen(server.url, transport, until=subscriber.has(count))
    return subscriber


async def test_a_long_backlog_is_caught_up_in_pages_with_flat_memory(
    start: StartServer, engine: str
) -> None:
    server = start(engine=engine, history_size=KEPT)
    published = await fill_and_warm_up(server)
    check_log(published)
    memory = Memory(server)
    async with asyncio.timeout(90), memory.watched():
        for transport in TRANSPORTS:
            subscriber = await read_all(server, transport, "long", KEPT)
            check_received(published, subscriber.messages)
            assert subscriber.gaps == []
    assert memory.growth < ALLOWED_GROWTH + ALLOWED_CACHES


async def test_slow_catching_up_does_not_hold_the_backlog_in_memory(
    start: StartServer, engine: str
) -> None:
    server = start(engine=engine, history_size=KEPT)
    published = await fill_and_warm_up(server)
    async with http_client(server.url) as client:
        memory = Memory(server)
        with contextlib.ExitStack() as stack:
            readers = [
                stack.enter_context(SlowReader(server.address, kind, ["long"], since="start"))
                for kind in ("ws", "sse")
            ]
            for _ in range(50):  # all that while neither takes more than a trickle
                for reader in readers:
                    assert reader.read(2_000)
                assert (await client.get("/healthz")).status_code == 200
                memory.look()
            for reader in readers:
                reader.hurry()
                while len(reader.messages) < KEPT:
                    assert reader.read(1 << 20)
                    memory.look()
                check_received(published, reader.messages)
    assert memory.growth < ALLOWED_GROWTH + ALLOWED_CACHES


async def test_every_page_of_a_poll_is_small(start: StartServer) -> None:
    server = start(history_size=KEPT)
    async with http_client(server.url) as client:
        published = await fill(client, "long", "x" * 400)
        received: list[Message] = []
        parameters: dict[str, object] = {"since": "start"}
        while len(received) < KEPT:
            answer = await client.get(f"/poll?{query(['long'], **parameters)}")
            assert len(answer.content) < 2 << 20
            received += map(from_envelope, answer.json()["messages"])
            parameters = {"cursor": answer.json()["cursor"]}
        check_received(published, received)
        answer = await client.get(f"/poll?{query(['long'], **parameters)}")
        assert answer.json()["hasNew"] is False


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_a_stalled_reader_among_500_holds_up_no_one(
    start: StartServer, engine: str, transport: str
) -> None:
    server = start(engine=engine, stall_timeout=60)
    published: list[Message] = []
    async with http_client(server.url) as client, crowd(server, 499, "news") as members:
        with SlowReader(server.address, transport, ["news", "bulk"], since="now") as stalled:
            assert stalled.read(65_536)  # "ready"; from here on it takes nothing
            # The first rounds fill the stalled reader's buffers in the kernel and in the server.
            for _ in range(8):
                published += await publish_batch(client, numbered(10, ["bulk"], text="x" * 100_000))
            memory = Memory(server)
            delays = []
            async with memory.watched():
                for n in range(1, 41):
                    bulk = numbered(10, ["bulk"], first=n * 10, text="x" * 100_000)
                    published += await publish_batch(client, bulk)
                    begin = time.monotonic()
                    published += await publish_batch(client, [{"channel": "news", "data": n}])
                    await until(partial(everyone_has, members, n))
                    delays.append(max(member.last_at for member in members) - begin)
            # Of all rounds, not of the slowest: a machine that stands still for a moment delays
            # one or two of them, a server that waits for the stalled reader every one.
            assert median(delays) < 1.0, "the others waited for the stalled reader"
            grown = memory.growth
            stalled.hurry()
            while len(stalled.messages) < len(published):
                assert stalled.read(1 << 20)
            check_received(published, stalled.messages)
            assert stalled.gaps == []
            # In memory the log itself keeps the 40 MB; otherwise nothing may.
            assert grown < ALLOWED_GROWTH + (44 << 20 if engine == "memory:" else 0)


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_a_reader_that_stays_stalled_is_ended_and_resumes(
    start: StartServer, engine: str, transport: str
) -> None:
    server = start(engine=engine, stall_timeout=1)
    async with http_client(server.url) as client:
        published = await publish_batch(client, numbered(1, ["bulk"]))
        before = server.connections()
        with SlowReader(server.address, transport, ["bulk"], since="start") as stalled:
            while not stalled.messages:
                assert stalled.read(65_536)
            # Before it stalls: its second may be over when the last of what follows is published.
            assert server.connections() > before
            for first in range(1, 101, 10):
                batch = numbered(10, ["bulk"], first=first, text="x" * 100_000)
                published += await publish_batch(client, batch)
            await until(lambda: server.connections() == before)
            while stalled.read(1 << 20):
                pass
            assert len(stalled.messages) < len(published), "it was not stalled"
        subscriber = Subscriber(["bulk"])
        subscriber.cursor = stalled.cursor
        missing = len(published) - len(stalled.messages)
        await subscriber.listen(server.url, transport, until=subscriber.has(missing))
    check_received(published, stalled.messages + subscriber.messages)
    assert subscriber.readies[0]["recovered"] is True


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_a_slow_reader_that_takes_some_bytes_is_not_ended(
    start: StartServer, transport: str
) -> None:
    # So long that a test that stands still for a moment takes its bytes in time.
    server = start(stall_timeout=4)
    async with http_client(server.url) as client:
        with SlowReader(server.address, transport, ["bulk"], since="now") as reader:
            assert reader.read(65_536)
            published: list[Message] = []
            for first in range(0, 100, 10):
                batch = numbered(10, ["bulk"], first=first, text="x" * 100_000)
                published += await publish_batch(client, batch)
                assert reader.read(4_096)
            begin = time.monotonic()
            while time.monotonic() < begin + 6:
                for _ in range(10):
                    assert reader.read(4_096)
                await asyncio.sleep(0.1)
            assert len(reader.messages) < len(published), "it was not slow"
            reader.hurry()
            while len(reader.messages) < len(published):
                assert reader.read(1 << 20)
    check_received(published, reader.messages)


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_a_reader_too_slow_for_the_history_is_told_so(
    start: StartServer, engine: str, transport: str
) -> None:
    server = start(engine=engine, history_size=20)
    async with http_client(server.url) as client:
        with SlowReader(server.address, transport, ["bulk"], since="now") as reader:
            assert reader.read(65_536)
            published: list[Message] = []
            for first in range(0, 200, 10):
                batch = numbered(10, ["bulk"], first=first, text="x" * 100_000)
                published += await publish_batch(client, batch)
            while published[-1] not in reader.messages[-1:]:
                assert reader.read(1 << 20)
    assert {gap["reason"] for gap in reader.gaps} == {"slow"}
    check_received([m for m in published if m in reader.messages], reader.messages)
    assert reader.messages[-20:] == published[-20:]
    holes = [
        (earlier, later)
        for earlier, later in zip(reader.messages, reader.messages[1:], strict=False)
        if later.seq != earlier.seq + 1
    ]
    assert len(holes) == len(reader.gaps) > 0, "a hole without a gap, or a gap without a hole"


async def test_a_poller_that_never_reads_its_answer_costs_nothing_for_others(
    start: StartServer,
) -> None:
    server = start(stall_timeout=1)
    async with http_client(server.url) as client:
        await publish_batch(client, numbered(80, ["bulk"], text="x" * 100_000))
        before = server.connections()
        with RawConnection(server.address, receive_buffer=4096) as connection:
            # Pipelined: some 25 MB of answers that no one takes. In one piece, or the connection
            # of a test that stands still for a moment has ended before the last is asked for.
            connection.send(
                b"GET /poll?channels=bulk&since=start HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
            )
            memory = Memory(server)
            async with memory.watched():
                for _ in range(20):
                    assert (await client.get("/healthz")).status_code == 200
                await until(lambda: server.connections() == before)
            assert memory.growth < ALLOWED_GROWTH
