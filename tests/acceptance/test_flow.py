"""Slow clients, really slow: what each policy gives them, what it costs, and what is counted."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.checker import Message, check_order, check_received, position
from tests.acceptance.slow_reader import SlowReader
from tests.acceptance.subscribers import http_client, numbered, publish_batch, query
from tests.acceptance.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from tests.conftest import StartServer

TEXT = "x" * 20_000
NAMESPACES = json.dumps(
    {
        "prices": {"slow_policy": "latest"},
        "quotes": {"slow_policy": "latest", "conflate_by": "symbol"},
        "tight": {"slow_policy": "disconnect"},
    }
)
ALLOWED_GROWTH = 32 << 20

both = pytest.mark.parametrize("transport", ["ws", "sse"])


async def drops(client: httpx.AsyncClient) -> dict[str, int]:
    """What ``/metrics`` counts as dropped, by reason; those that never happened are left out."""
    text = (await client.get("/metrics")).text
    found = re.findall(r'^tidewire_drops_total\{reason="(\w+)"\} ([0-9.e+]+)$', text, re.MULTILINE)
    return {reason: int(float(count)) for reason, count in found if float(count)}


async def flood(
    client: httpx.AsyncClient, channels: Sequence[str], count: int = 200
) -> list[Message]:
    """Publish so much that no slow reader's buffers hold it: 20 kB a message."""
    published: list[Message] = []
    for first in range(0, count, 50):
        published += await publish_batch(client, numbered(50, channels, first=first, text=TEXT))
    return published


def slow(start: SlowReader) -> SlowReader:
    """A reader that has read its ``ready``, and reads on only when told."""
    assert start.read(65_536)
    return start


def read_up_to(reader: SlowReader, newest: Message) -> None:
    """Read fast until the newest message is there."""
    reader.hurry()
    while not reader.messages or reader.messages[-1].position < newest.position:
        assert reader.read(1 << 20)


def check_told(published: list[Message], reader: SlowReader) -> int:
    """Each published message came, or is counted in a gap in its place; return how many did not.

    The gaps of one channel, and its messages, are in the order of the log and do not overlap.
    """
    check_order(reader.messages)
    missing = 0
    for channel in {message.channel for message in published}:
        seqs = {m.position: m.seq for m in published if m.channel == channel}
        here = [(m.position, 0) for m in reader.messages if m.channel == channel]
        gaps = [gap for gap in reader.gaps if gap["channel"] == channel]
        assert all(gap["reason"] == "slow" for gap in gaps)
        here += [(position(gap["id"])[1], gap["skipped"]) for gap in gaps]
        reached = 0
        for place, skipped in sorted(here):
            reached += skipped or 1
            assert seqs[place] == reached
            missing += skipped
        assert reached == len(seqs)
    return missing


@both
async def test_the_latest_of_each_channel(start: StartServer, engine: str, transport: str) -> None:
    server = start(engine=engine, namespaces=NAMESPACES)
    channels = ["prices:a", "prices:b"]
    async with http_client(server.url) as client:
        with SlowReader(server.address, transport, channels) as reader:
            slow(reader)
            published = await flood(client, channels)
            read_up_to(reader, published[-1])
            skipped = check_told(published, reader)
            assert skipped > 100
            assert {m.channel for m in reader.messages[-2:]} == set(channels)
            assert [m.position for m in reader.messages[-2:]] == [
                m.position for m in published[-2:]
            ]
            assert await drops(client) == {"skipped": skipped, "slow": len(reader.gaps)}
            more = await publish_batch(client, numbered(4, channels))
            read_up_to(reader, more[-1])
            assert [m.position for m in reader.messages[-4:]] == [m.position for m in more]


@both
async def test_the_newest_of_each_value_of_a_header(
    start: StartServer, engine: str, transport: str
) -> None:
    server = start(engine=engine, namespaces=NAMESPACES)
    symbols = ["AA", "BB", "CC"]
    async with http_client(server.url) as client:
        with SlowReader(server.address, transport, ["quotes:all"]) as reader:
            slow(reader)
            published: list[Message] = []
            for n in range(60):
                batch = numbered(3, ["quotes:all"], first=n * 3, text=TEXT)
                for command, symbol in zip(batch, symbols, strict=True):
                    command["headers"] = {"symbol": symbol}
                published += await publish_batch(client, batch)
            read_up_to(reader, published[-1])
            assert check_told(published, reader) > 100
            assert [m.body for m in reader.messages[-3:]] == [m.body for m in published[-3:]]


@both
async def test_streams_of_several_policies_lose_nothing_where_all_is_wanted(
    start: StartServer, engine: str, transport: str
) -> None:
    server = start(engine=engine, namespaces=NAMESPACES)
    async with http_client(server.url) as client:
        with SlowReader(server.address, transport, ["news", "prices:a"]) as reader:
            slow(reader)
            published = await flood(client, ["news", "prices:a"])
            read_up_to(reader, published[-1])
            assert check_told(published, reader) > 50
            news = [m for m in published if m.channel == "news"]
            check_received(news, [m for m in reader.messages if m.channel == "news"])


@both
async def test_the_end_of_the_stream_and_nothing_lost_after_it(
    start: StartServer, engine: str, transport: str
) -> None:
    server = start(engine=engine, namespaces=NAMESPACES)
    async with http_client(server.url) as client:
        with SlowReader(server.address, transport, ["tight:a"]) as reader:
            slow(reader)
            published = await flood(client, ["tight:a"])
            reader.hurry()
            while reader.close is None:
                assert reader.read(1 << 20)
            assert (reader.close["code"], reader.close["reason"]) == (1013, "too slow")
            assert reader.close["retry"] > 0
            while reader.read(1 << 20):
                pass
            assert await drops(client) == {"disconnected": 1}
            with SlowReader(
                server.address, transport, ["tight:a"], cursor=reader.cursor, policy="catch_up"
            ) as again:
                read_up_to(again, published[-1])
                check_received(published, reader.messages + again.messages)
        await until(lambda: server.connections() <= 1)


async def test_polls_for_the_latest(start: StartServer, engine: str) -> None:
    server = start(engine=engine)
    async with http_client(server.url) as client:
        published = await publish_batch(client, numbered(20, ["a", "b"]))
        cursor = f"{published[0].epoch}-{published[3].position}"
        for address, parameters in (
            ("/poll", {"cursor": cursor}),
            ("/longpoll", {"cursor": cursor}),
            ("/poll", {"since": "-8"}),
            ("/longpoll", {"since": "-8"}),
        ):
            wanted = query(["a", "b"], policy="latest", **parameters)
            body: dict[str, Any] = (await client.get(f"{address}?{wanted}")).json()
            epoch, end = position(body["cursor"])
            assert (epoch, end) == (published[0].epoch, published[-1].position)
            assert [m["seq"] for m in body["messages"]] == [10, 10]
            assert [(g["channel"], g["reason"], g["skipped"]) for g in body["gaps"]] == [
                ("a", "slow", 7),
                ("b", "slow", 7),
            ]
            assert body["recovered"] is ("cursor" in parameters)
        assert await drops(client) == {"slow": 8, "skipped": 56}


@both
async def test_a_stream_may_begin_with_the_latest(
    start: StartServer, engine: str, transport: str
) -> None:
    server = start(engine=engine)
    async with http_client(server.url) as client:
        published = await flood(client, ["a"])
        cursor = f"{published[0].epoch}-{published[0].position}"
        with SlowReader(server.address, transport, ["a"], cursor=cursor, policy="latest") as reader:
            read_up_to(reader, published[-1])
            assert [m.seq for m in reader.messages] == [200]
            assert [gap["skipped"] for gap in reader.gaps] == [198]


async def test_twenty_slow_readers_cost_next_to_nothing(start: StartServer, engine: str) -> None:
    """Each of 60 MB published could wait for each of them: they all wait in the log, once."""
    # They answer no ping and are read one after the other, however long that takes.
    patience = {"ping_interval": 600, "stall_timeout": 600}
    server = start(engine=engine, namespaces=NAMESPACES, history_size=100, **patience)
    channels = ["prices:a", "prices:b", "news"]
    async with http_client(server.url) as client:
        await flood(client, channels, 600)  # what is kept anyway is there before
        with ExitStack() as stack:
            readers = [
                slow(stack.enter_context(SlowReader(server.address, transport, channels)))
                for transport in ("ws", "sse")
                for _ in range(10)
            ]
            before = server.resident_memory()
            published = await flood(client, channels, 3_000)
            grown = server.resident_memory() - before
            for reader in readers:
                read_up_to(reader, published[-1])
            assert all(a.position < b.position for r in readers for a, b in pairwise(r.messages))
            grown = max(grown, server.resident_memory() - before)
        assert grown < ALLOWED_GROWTH
        found = await drops(client)
        # Of the channel of which all was wanted, history has kept but a hundred.
        assert found["slow"] >= 60
        assert found["skipped"] > 20 * 100


async def test_metrics_follow_the_streams(start: StartServer) -> None:
    server = start()
    async with http_client(server.url) as client:

        async def value(sample: str) -> float:
            text = (await client.get("/metrics")).text
            return float(text.partition(f"\n{sample} ")[2].partition("\n")[0])

        with (
            SlowReader(server.address, "ws", ["a"]) as ws,
            SlowReader(server.address, "sse", ["a"]) as sse,
        ):
            slow(ws)
            slow(sse)
            assert await value('tidewire_sessions{state="live"}') == 2
            assert await value('tidewire_connections{transport="websocket"}') == 1
            assert await value('tidewire_connections{transport="sse"}') == 1
            await publish_batch(client, numbered(3, ["a"]))
            assert await value("tidewire_messages_total") == 3
