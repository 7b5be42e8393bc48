"""Durable consumers: they go on where they left off, on any transport and any server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.consumers import (
    CHANNEL,
    acknowledge,
    ask,
    counted,
    make,
    publish,
    reading,
    refuse,
)
from tests.acceptance.subscribers import TRANSPORTS, RefusedError, http_client
from tests.acceptance.websocket_client import client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

STREAMS = ("ws", "sse")
REPLACED = 4409


@pytest.fixture
def pair(start: StartServer, shared_engine: str) -> tuple[ServerProcess, ServerProcess]:
    """Two servers of one log, which wait longer than a machine stands still for a moment."""
    return start(engine=shared_engine, ack_wait=4), start(engine=shared_engine, ack_wait=4)


# Where it goes on


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(TRANSPORTS, 2)))
async def test_it_goes_on_after_its_last_acknowledgement_on_another_transport(
    server: ServerProcess, first: str, second: str
) -> None:
    url, name = server.url, f"{first}-{second}"
    async with reading(url, first, consumer=name, since="start") as reader:
        ids = await publish(url, 1, 2, 3, channel=CHANNEL)
        got = [envelope["id"] for envelope in await reader.messages(1)]
        while got[-1] != ids[2]:
            got += [envelope["id"] for envelope in await reader.messages(1)]
        await acknowledge(url, ids[1], consumer=name)
    async with reading(url, second, consumer=name) as reader:
        assert counted(await reader.messages(1)) == [(3, 2)]
        await publish(url, 4)
        assert counted(await reader.messages(1)) == [(4, 1)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_comes_while_it_is_away_waits_for_it(
    start: StartServer, engine: str, transport: str
) -> None:
    url = start(engine=engine).url
    await make(url)
    await publish(url, *range(600))
    async with reading(url, transport) as reader:
        assert counted(await reader.messages(600)) == [(n, 1) for n in range(600)]


async def test_a_new_one_begins_where_it_says(server: ServerProcess) -> None:
    ids = await publish(server.url, 1, 2, 3)
    async with reading(server.url, consumer="from-cursor", cursor=ids[0]) as reader:
        assert counted(await reader.messages(2)) == [(2, 1), (3, 1)]
    async with reading(server.url, consumer="from-last", since="-1") as reader:
        assert counted(await reader.messages(1)) == [(3, 1)]
    async with reading(server.url, consumer="from-now") as reader:
        await publish(server.url, 4)
        assert counted(await reader.messages(1)) == [(4, 1)]


async def test_where_it_begins_is_said_once(server: ServerProcess) -> None:
    await make(server.url, "once")
    await publish(server.url, 1)
    async with reading(server.url, consumer="once", since="now") as reader:
        assert counted(await reader.messages(1)) == [(1, 1)]


async def test_a_cursor_says_what_it_has_received(server: ServerProcess) -> None:
    """So an EventSource that reconnects gets on with what it lacks; the rest comes in its time."""
    await make(server.url, "source")
    async with reading(server.url, "sse", consumer="source") as reader:
        ids = await publish(server.url, 1, 2, 3)
        await reader.messages(3)
    async with reading(server.url, "sse", consumer="source", cursor=ids[1]) as reader:
        assert counted(await reader.messages(1)) == [(3, 2)]
        await publish(server.url, 4)
        assert counted(await reader.messages(1)) == [(4, 1)]


async def test_a_cursor_does_not_bring_back_what_is_acknowledged(server: ServerProcess) -> None:
    await make(server.url, "behind")
    ids = await publish(server.url, 1, 2, 3)
    await acknowledge(server.url, ids[1], consumer="behind")
    async with reading(server.url, consumer="behind", cursor=ids[0]) as reader:
        assert counted(await reader.messages(1)) == [(3, 1)]


async def test_two_consumers_know_nothing_of_each_other(server: ServerProcess) -> None:
    for name in ("one", "other"):
        await make(server.url, name)
    ids = await publish(server.url, 1, 2)
    await acknowledge(server.url, ids[1], consumer="one")
    async with reading(server.url, consumer="other") as reader:
        assert counted(await reader.messages(2)) == [(1, 1), (2, 1)]


async def test_one_position_is_right_for_many_channels(server: ServerProcess) -> None:
    channels = ("many-a", "many-b")
    await make(server.url, "many", channels="many-a,many-b")
    ids = []
    for number in range(6):
        ids += await publish(server.url, number, channel=channels[number % 2])
    await acknowledge(server.url, ids[2], consumer="many")
    async with reading(server.url, consumer="many", channels=channels) as reader:
        assert counted(await reader.messages(3)) == [(3, 1), (4, 1), (5, 1)]


async def test_a_websocket_may_name_its_channels_later(server: ServerProcess) -> None:
    await make(server.url, "later", channels="later-a,later-b")
    await publish(server.url, 1, channel="later-a")
    await publish(server.url, 2, channel="later-b")
    async with client(server, "?consumer=later") as connection:
        await connection.ok("subscribe", channels=["later-a"])
        await connection.ok("subscribe", channels=["later-b"])
        await publish(server.url, 3, channel="later-a")
        await connection.receive_messages(3)
        messages = [e for e in connection.envelopes if e["type"] == "message"]
        assert counted(messages) == [(1, 1), (2, 1), (3, 1)]


@pytest.mark.crash
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_is_acknowledged_never_comes_again_after_a_crash(
    start: StartServer, shared_engine: str, transport: str
) -> None:
    server = start(engine=shared_engine)
    await make(server.url)
    ids = await publish(server.url, *range(10))
    async with reading(server.url, transport) as reader:
        await reader.messages(10)
        await acknowledge(server.url, ids[3])
        await acknowledge(server.url, ids[5], ids[8], single=True)
        server.kill()
    again = start(engine=shared_engine)
    async with reading(again.url, transport) as reader:
        found = [envelope["data"] for envelope in await reader.messages(4)]
        await publish(again.url, "after")
        found += [envelope["data"] for envelope in await reader.messages(1)]
    assert found == [4, 6, 7, 9, "after"]


async def test_counts_survive_a_restart(start: StartServer, tmp_path: Path) -> None:
    engine = f"sqlite:///{tmp_path}/log.db"
    server = start(engine=engine)
    await make(server.url)
    await publish(server.url, 1)
    for times in (1, 2, 3):
        async with reading(server.url) as reader:
            assert counted(await reader.messages(1)) == [(1, times)]
        server.terminate()
        assert server.wait() == 0
        server = start(engine=engine)


# Polls


@pytest.mark.parametrize("path", ["/poll", "/longpoll"])
async def test_with_ack_the_cursor_of_a_poll_acknowledges(
    start: StartServer, engine: str, path: str
) -> None:
    server = start(engine=engine, ack_wait=1)
    await make(server.url)
    wanted = {"channels": CHANNEL, "consumer": "bob", "ack": "cursor", "wait": "2"}
    await publish(server.url, 1, 2)
    _, first = await ask(server.url, "GET", path, **wanted)
    assert counted(first["messages"]) == [(1, 1), (2, 1)]
    await publish(server.url, 3)
    _, second = await ask(server.url, "GET", path, **wanted, cursor=first["cursor"])
    assert counted(second["messages"]) == [(3, 1)]
    # Its answer got lost: the client asks again from where it was, and without a place at all.
    _, again = await ask(server.url, "GET", path, **wanted, cursor=first["cursor"])
    assert counted(again["messages"]) == [(3, 2)]
    _, anew = await ask(server.url, "GET", path, **wanted)
    assert counted(anew["messages"]) == [(3, 3)]


async def test_a_poll_goes_on_and_brings_what_is_due(start: StartServer, engine: str) -> None:
    server = start(engine=engine, ack_wait=4)
    await make(server.url)
    wanted = {"channels": CHANNEL, "consumer": "bob"}
    ids = await publish(server.url, 1, 2)
    _, first = await ask(server.url, "GET", "/poll", **wanted)
    await acknowledge(server.url, ids[0])
    await publish(server.url, 3)
    _, second = await ask(server.url, "GET", "/poll", **wanted, cursor=first["cursor"])
    assert counted(second["messages"]) == [(3, 1)]
    _, held = await ask(server.url, "GET", "/longpoll", **wanted, cursor=second["cursor"], wait=20)
    assert counted(held["messages"])[0] == (2, 2)
    assert held["cursor"] == second["cursor"], "a poll's cursor never goes back"


async def test_polls_of_a_consumer_are_answered_each_for_itself(server: ServerProcess) -> None:
    await make(server.url, "twice")
    await publish(server.url, 1)
    wanted = {"channels": CHANNEL, "consumer": "twice"}
    async with http_client(server.url) as http:
        found = [(await http.get("/poll", params=wanted)).json() for _ in range(3)]
    assert [counted(body["messages"]) for body in found] == [[(1, 1)], [(1, 2)], [(1, 3)]]


# One at a time


@pytest.mark.parametrize("older", STREAMS)
@pytest.mark.parametrize("newer", TRANSPORTS)
async def test_the_newer_connection_takes_over(
    server: ServerProcess, older: str, newer: str
) -> None:
    name = f"{older}-then-{newer}"
    await make(server.url, name)
    async with reading(server.url, older, consumer=name) as first:
        await publish(server.url, 1)
        assert counted(await first.messages(1)) == [(1, 1)]
        async with reading(server.url, newer, consumer=name) as second:
            assert counted(await second.messages(1)) == [(1, 2)]
            end = await first.rest()
    assert (end[0]["type"], end[0]["code"]) == ("close", REPLACED)
    assert "retry" not in end[0]
    assert end[1:] == ([{"type": "closed", "code": REPLACED}] if older == "ws" else [])


async def check_replaced(older: str, newer: str, transport: str, name: str) -> None:
    """A poll that the server *older* holds ends when a stream comes to the server *newer*."""
    async with asyncio.timeout(30):
        wanted = {"channels": CHANNEL, "consumer": name, "wait": 30}
        held = asyncio.create_task(ask(older, "GET", "/longpoll", **wanted))
        while not held.done():
            # Nothing tells when the poll is held; if it comes last, it is the stream that ends.
            with contextlib.suppress(RefusedError):
                async with reading(newer, transport, consumer=name):
                    await asyncio.wait([held], timeout=1)
        status, problem = await held
    assert (status, problem["code"]) == (409, "replaced")


@pytest.mark.parametrize("newer", STREAMS)
async def test_a_held_poll_is_told_that_it_was_replaced(server: ServerProcess, newer: str) -> None:
    name = f"held-then-{newer}"
    await make(server.url, name)
    await check_replaced(server.url, server.url, newer, name)


# Several servers of one log


@pytest.mark.parametrize("older", STREAMS)
@pytest.mark.parametrize("newer", STREAMS)
async def test_a_connection_to_another_server_takes_over(
    pair: tuple[ServerProcess, ServerProcess], older: str, newer: str
) -> None:
    await make(pair[0].url)
    async with reading(pair[0].url, older) as first:
        (id,) = await publish(pair[0].url, 1)
        await first.messages(1)
        async with reading(pair[1].url, newer) as second:
            end = await first.rest()
            assert (end[0]["type"], end[0]["code"]) == ("close", REPLACED)
            assert [envelope["id"] for envelope in await second.messages(1)] == [id]


async def test_a_held_poll_hears_of_another_server(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    await make(pair[0].url)
    await check_replaced(pair[0].url, pair[1].url, "ws", "bob")


async def test_what_another_server_was_told_is_acknowledged_here(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    await make(pair[0].url)
    async with reading(pair[0].url) as reader:
        ids = await publish(pair[1].url, 1, 2, 3)
        await reader.messages(3)
        await acknowledge(pair[1].url, ids[0], ids[2], single=True)
        assert counted(await reader.messages(1)) == [(2, 2)]
        await acknowledge(pair[1].url, ids[1])
        await publish(pair[1].url, 4)
        assert counted(await reader.messages(1)) == [(4, 1)]


async def test_what_another_server_is_asked_for_comes_here(
    start: StartServer, shared_engine: str
) -> None:
    here, there = (start(engine=shared_engine, ack_wait=600) for _ in range(2))
    await make(here.url)
    async with reading(here.url) as reader:
        ids = await publish(here.url, 1, 2)
        await reader.messages(2)
        await refuse(there.url, ids[1])
        assert counted(await reader.messages(1)) == [(2, 2)]
