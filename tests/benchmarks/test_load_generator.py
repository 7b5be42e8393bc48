"""The load generator, as its own process, against servers that drop, repeat, reorder, close and
send in crumbs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from benchmarks.processes import LoadGenerator, ProcessError, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.loadgen.generator import Window
    from benchmarks.loadgen.subscribers import Transport

from tests.benchmarks.scripted_server import CLOSE, GAP, scripted

MESSAGES = 6
RIGHT = (1, 2, 3, 4, 5, 6)
PATIENCE = 5.0
"""Seconds that it waits for what never comes: longer than a busy machine holds up what does."""


async def window(
    transport: Transport, scripts: Sequence[Sequence[int]], patience: float = 10
) -> Window:
    async with scripted(MESSAGES, scripts) as server:

        def generate() -> Window:
            with LoadGenerator() as generator:
                target = Server(0, server.url)
                generator.open("s", transport, target, len(scripts), interval=0.01)
                return generator.publish("s", "http", 3, 200.0, batch=2, patience=patience)

        return await asyncio.to_thread(generate)


async def windows(
    transports: Sequence[Transport], scripts: Sequence[Sequence[int]]
) -> dict[Transport, Window]:
    """The same over several transports at once: each has to wait for what never comes."""
    found = await asyncio.gather(*(window(one, scripts, PATIENCE) for one in transports))
    return dict(zip(transports, found, strict=True))


@pytest.fixture(scope="module")
def wrong() -> dict[Transport, Window]:
    """What was counted where something is missing, repeated or late."""
    scripts = [
        RIGHT,
        (1, 2, 4, 5, 6),  # drops 3
        (1, 2, 3, 3, 4, 5, 6),  # repeats 3
        (1, 3, 2, 4, 5, 6),  # 2 comes late
        (1, 2, 3, 4),  # drops the last two
    ]
    return asyncio.run(windows(["ws", "sse", "longpoll", "poll"], scripts))


@pytest.fixture(scope="module")
def broken() -> dict[Transport, Window]:
    """What was counted where there are gaps, and a connection is closed."""
    return asyncio.run(windows(["ws", "sse"], [RIGHT, (1, GAP, 4, 5, 6), (1, 2, CLOSE)]))


@pytest.mark.parametrize("transport", ["ws", "sse", "longpoll", "poll"])
def test_counts_what_is_missing_repeated_and_late(
    transport: Transport, wrong: dict[Transport, Window]
) -> None:
    counted = wrong[transport]
    assert counted.expected == 30
    assert counted.received == 27
    assert counted.missing == 3
    assert counted.duplicates == 1
    assert counted.out_of_order == 1
    assert (counted.gaps, counted.closed, counted.unanswered, counted.faults) == (0, 0, 0, [])


@pytest.mark.parametrize("transport", ["ws", "sse", "longpoll", "poll"])
async def test_counts_nothing_wrong_where_nothing_is(transport: Transport) -> None:
    counted = await window(transport, [RIGHT] * 20)
    assert (counted.expected, counted.received) == (120, 120)
    assert (counted.missing, counted.duplicates, counted.out_of_order) == (0, 0, 0)
    assert counted.latency["count"] == 120
    assert 0 < counted.latency["p50"] <= counted.latency["p99"] <= counted.latency["max"]


@pytest.mark.parametrize("transport", ["ws", "sse"])
def test_counts_gaps_and_closed_connections(
    transport: Transport, broken: dict[Transport, Window]
) -> None:
    counted = broken[transport]
    assert counted.gaps == 1
    assert counted.closed == 1
    assert counted.missing == 2 + 4


async def test_a_server_that_is_not_there_is_an_error() -> None:
    async with scripted(MESSAGES, [RIGHT]) as server:
        url = server.url
    with LoadGenerator() as generator, pytest.raises(ProcessError, match="open s"):
        generator.open("s", "ws", Server(0, url), 1)
