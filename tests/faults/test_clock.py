"""The wall clock jumps by an hour, forward and back, while the server runs.

The server's process sees another time than this one: ``libfaketime`` reads the difference from a
file. Its monotonic clock goes on as it should.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest

from tests.acceptance.checker import check_log, check_received
from tests.acceptance.subscribers import (
    TRANSPORTS,
    Subscriber,
    http_client,
    numbered,
    publish,
    publish_batch,
)
from tests.acceptance.waiting import until
from tests.faults.clients import Publisher
from tests.faults.lanes import Outcome, end, failed
from tests.faults.model import EVERYBODY, Published, View, judge

if TYPE_CHECKING:
    from tests.acceptance.checker import Message
    from tests.conftest import StartServer
    from tests.faults.report import Report
    from tests.server_process import ServerProcess

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

CHANNELS = ["a", "b", "c"]
HOUR = 3_600
JUMPS = [HOUR, 0, -HOUR, 0, -HOUR, HOUR]
"""Seconds by which the server's clock differs from the true one: jumps of one hour, and of two."""

TEN_DAYS = 10 * 24 * HOUR


class Clocked(NamedTuple):
    """A server, and the file that says how wrong its clock is."""

    server: ServerProcess
    file: Path

    def jump(self, seconds: int) -> None:
        """Set the server's clock to the true time plus ``seconds``."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(self.file)  # in one step: it is read at any moment


class StartClocked(Protocol):
    """What the fixture ``clocked`` gives."""

    def __call__(self, **settings: object) -> Clocked:
        """Start a server whose clock is right at first."""


@pytest.fixture
def clocked(
    start: StartServer, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StartClocked:
    """Start servers on either engine whose clocks can be moved."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")

    def start_clocked(**settings: object) -> Clocked:
        file = tmp_path / "clock"
        file.write_text("+0\n")
        with monkeypatch.context() as environment:
            environment.setenv("LD_PRELOAD", str(library))
            environment.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
            environment.setenv("FAKETIME_NO_CACHE", "1")
            environment.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            environment.setenv("FAKETIME_FORCE_MONOTONIC_FIX", "0")  # else locks wait too long
            environment.setenv("NO_FAKE_STAT", "1")
            return Clocked(start(engine=engine, **settings), file)  # type: ignore[arg-type]

    return start_clocked


def times_of(messages: list[Message]) -> list[float]:
    """When messages were accepted by their ids, in seconds from now."""
    return [message.position / 1e6 - time.time() for message in messages]


async def test_the_clock_jumps_under_traffic(
    clocked: StartClocked, report: Report, engine: str
) -> None:
    """Ids ascend, nothing is lost or doubled, and no stream ends because of it."""
    clock = clocked(history_size=1_000_000, history_ttl=TEN_DAYS)
    url = clock.server.url
    published, stop = Published(), asyncio.Event()
    single, batch, socket = (
        Publisher(name, published, CHANNELS, stop, patience=5.0)
        for name in ("single", "batch", "socket")
    )
    subscribers = {transport: Subscriber(CHANNELS, since="start") for transport in TRANSPORTS}
    publishing = [
        asyncio.create_task(single.over_http(url, count=1, pause=0.01)),
        asyncio.create_task(batch.over_http(url, count=10, pause=0.02)),
        asyncio.create_task(socket.over_websocket(url, pause=0.005)),
    ]
    tasks = publishing + [
        asyncio.create_task(subscriber.listen(url, transport))
        for transport, subscriber in subscribers.items()
    ]
    acknowledged = published.acknowledged
    reached: list[float] = []
    try:
        for jump in [0, *JUMPS]:
            clock.jump(jump)
            enough = len(acknowledged) + 100
            await until(lambda: len(acknowledged) > enough or failed(tasks))  # noqa: B023
            reached += times_of([max(acknowledged.values())])
        stop.set()
        await until(lambda: all(task.done() for task in publishing) or failed(tasks))
        newest = max(acknowledged.values())
        await until(
            lambda: failed(tasks) or all(s.messages[-1:] == [newest] for s in subscribers.values())
        )
    finally:
        await end(tasks)
    assert -60 < reached[0] < 60
    assert reached[1] > HOUR - 60, "the clock has not jumped"
    assert len(subscribers["ws"].readies) == len(subscribers["sse"].readies) == 1
    check_log(sorted(acknowledged.values()))
    assert all(subscriber.gaps == [] for subscriber in subscribers.values())
    views = {name: View(CHANNELS, [*s.messages]) for name, s in subscribers.items()}
    outcome = Outcome(judge(published, views, kept=CHANNELS))
    outcome.injected[EVERYBODY] = Counter({"clock jump": len(JUMPS)})
    report.add(f"clock, {engine.partition(':')[0]}", outcome)
    for verdict in outcome.verdicts.values():
        verdict.check()


async def test_a_key_is_known_for_its_window_by_the_servers_clock(clocked: StartClocked) -> None:
    """Back in time it is known for longer, never for less; an hour later its window is over."""
    clock = clocked(idempotency_window=120)
    command = {"channel": "a", "data": 1, "key": "once"}
    async with http_client(clock.server.url) as client:
        first = await publish(client, command)
        clock.jump(-HOUR)
        assert await publish(client, command) == first
        clock.jump(0)
        assert await publish(client, command) == first
        clock.jump(HOUR)
        second = await publish(client, command)
        assert (second.seq, second.position > first.position) == (2, True)
        clock.jump(0)
        assert await publish(client, command) == second


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_messages_expire_by_the_servers_clock(clocked: StartClocked, transport: str) -> None:
    """An hour forward they are gone, and it is told; back again nothing that came since is lost."""
    clock = clocked(history_ttl=600)
    subscriber = Subscriber(["a"], since="start")
    url = clock.server.url
    async with http_client(url) as client:
        await publish_batch(client, numbered(10, ["a"]))
        await subscriber.listen(url, transport, until=subscriber.has(5))
        known = list(subscriber.messages)
        clock.jump(HOUR)
        later = await publish_batch(client, numbered(10, ["a"], first=10))
        await subscriber.listen(url, transport, until=subscriber.has(len(known) + 5))
        clock.jump(0)
        last = await publish_batch(client, numbered(10, ["a"], first=20))
        total = len(known) + len(later) + len(last)
        async with asyncio.timeout(10):
            await subscriber.listen(url, transport, until=subscriber.has(total))
    assert [gap["reason"] for gap in subscriber.gaps] == ["expired"] * (len(known) < 10)
    check_received([*known, *later, *last], subscriber.messages)
