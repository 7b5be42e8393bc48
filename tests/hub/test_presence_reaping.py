"""Nodes that are gone, and who sees to what they leave."""

from __future__ import annotations

import asyncio

from tests.hub.presence_world import CHANNEL, GRACE, SOON, PresenceWorld, run
from tidewire.hub.fleet import BEAT, TTL
from tidewire.hub.presence_reaping import CLAIM_SECONDS, CLAIMS
from tidewire.hub.presence_records import COUNTS, TABLE, client_of_session, count_key, member_key


def test_a_node_that_dies() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b, c = await world.some("abc")
        for n in range(1_100):
            b.open(f"s{n}", CHANNEL)
        b.open("other", "room:2")
        c.open("stays", CHANNEL)
        await asyncio.sleep(3 * BEAT)
        died = world.loop.time()
        b.die()
        await asyncio.sleep(1)
        a.open("s7", CHANNEL)  # one comes back elsewhere
        await asyncio.sleep(TTL - BEAT - 3)
        assert "leave" not in {one.event for one in world.news}
        await asyncio.sleep(2 * BEAT + GRACE + 5)
        leaves = [one for one in world.news if one.event == "leave"]
        assert len(leaves) == len({one.client for one in leaves}) == 1_100
        assert sorted(world.told("s7", "stays", "other")) == [
            *("join other", "join s7", "join stays", "leave other")
        ]
        assert leaves[-1].at - died < TTL + BEAT + GRACE + 2
        assert sorted(await a.clients()) == sorted(map(client_of_session, ["s7", "stays"]))
        assert await world.counts() == {(CHANNEL, a.id): 1, (CHANNEL, c.id): 1}
        await asyncio.sleep(120)
        assert len([one for one in world.news if one.event == "leave"]) == 1_100

    run(story)


def test_a_node_that_ends_in_order_leaves_who_comes_back() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b, _ = await world.some("abc")
        for name in ("back", "gone"):
            a.open(name, CHANNEL)
        await asyncio.sleep(10)
        for name in ("back", "gone"):
            a.close(name)
        await a.stop()
        await asyncio.sleep(GRACE - 0.5)
        b.open("back", CHANNEL)
        await asyncio.sleep(10)
        assert sorted(world.told("back", "gone")) == ["join back", "join gone", "leave gone"]
        assert await b.clients() == [client_of_session("back")]

    run(story)


def test_the_one_who_reaps_dies_as_well() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b, c = await world.some("abc")
        for n in range(600):
            a.open(f"s{n}", CHANNEL)
        await asyncio.sleep(3 * BEAT)
        # b has claimed the reaping of a, and did not get far.
        a.die()
        assert await b.presence._reaper._claim(a.id)
        b.die()
        await asyncio.sleep(120)
        assert len([one for one in world.news if one.event == "leave"]) == 600
        assert await c.count() == 0
        assert not await world.records()

    run(story)


def test_one_of_the_survivors_reaps() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b, c = await world.some("abc")
        a.open("s", CHANNEL)
        await asyncio.sleep(3 * BEAT)
        a.die()
        await asyncio.sleep(2 * TTL - 5)
        a_id = a.id
        assert await b.presence._reaper._claim(a_id)
        assert not await c.presence._reaper._claim(a_id)
        assert await b.presence._reaper._claim(a_id), "who has it may renew it"
        await asyncio.sleep(CLAIM_SECONDS + 1)
        assert await c.presence._reaper._claim(a_id), "a claim ends by itself"

    run(story)


def test_what_another_node_is_at_is_left_to_it() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b, c = await world.some("abc")
        a.open("s", CHANNEL)
        await asyncio.sleep(3 * BEAT)
        a.die()
        died = world.loop.time()
        while world.loop.time() < died + 2 * TTL + 2 * BEAT:
            await world.log.change(CLAIMS, a.id, lambda old: bytes(bytearray(b"another")), 10)
            await asyncio.sleep(1)
        assert not b.fleet.is_live(a.id)
        assert not await b.presence._reaper.reap()
        assert not await c.presence._reaper.reap()
        assert world.told("s") == ["join s"]
        await asyncio.sleep(10 + CLAIM_SECONDS)  # its claim has ended, and it has not done it
        assert world.told("s") == ["join s", "leave s"]

    run(story)


def test_all_were_killed_at_once() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        a.open("back", CHANNEL)
        b.open("gone", CHANNEL)
        await asyncio.sleep(3 * BEAT)
        a.die()
        b.die()
        await asyncio.sleep(300)
        c = await world.node("c")
        assert await c.count() == 2
        await asyncio.sleep(1)
        c.open("back", CHANNEL)
        await asyncio.sleep(30)
        assert sorted(world.told("back", "gone")) == ["join back", "join gone", "leave gone"]
        assert await c.count() == 1

    run(story)


def test_a_poller_between_two_polls_has_not_left() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        for _ in range(4):
            a.poll("p")
            await asyncio.sleep(20)
        a.poll("p")
        a.poll("gone")
        await asyncio.sleep(SOON)
        await a.stop()
        await asyncio.sleep(20)
        assert world.told("p", "gone") == ["join p", "join gone"]
        assert set((await world.records()).values()) == {b.id}
        assert await world.counts() == {(CHANNEL, b.id): 2}
        for _ in range(10):
            b.poll("p")
            await asyncio.sleep(20)
        assert world.told("p", "gone") == ["join p", "join gone", "leave gone"]
        await asyncio.sleep(200)
        assert world.told("p", "gone") == ["join p", "join gone", "leave gone", "leave p"]

    run(story)


def test_a_session_that_polls_now_is_a_poller() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        a.open("s", CHANNEL)
        await asyncio.sleep(5)
        a.close("s")
        for _ in range(5):
            a.poll(client_of_session("s"))
            await asyncio.sleep(20)
        await a.stop()
        await asyncio.sleep(15)
        b.poll(client_of_session("s"))
        await asyncio.sleep(SOON)
        assert world.told("s") == ["join s"]

    run(story)


def test_who_is_adopted_is_found_by_a_count_at_any_time() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        a.poll("p")
        await asyncio.sleep(SOON)
        changed: list[tuple[str, str]] = []
        change = b.access.change

        def noting(table: str, key: str, *rest: object) -> object:
            changed.append((table, key))
            return change(table, key, *rest)  # type: ignore[arg-type]

        b.access.change = noting  # type: ignore[assignment,method-assign]
        await a.stop()
        await asyncio.sleep(20)
        ours = [one for one in changed if one[0] in (TABLE, COUNTS)]
        assert ours == [
            (COUNTS, count_key(CHANNEL, b.id)),
            (TABLE, member_key(CHANNEL, "p")),
            (COUNTS, count_key(CHANNEL, a.id)),
        ]

    run(story)


def test_who_is_known_to_a_third_node_has_not_left() -> None:
    """A session that polled there while its record was taken over elsewhere."""

    async def story(world: PresenceWorld) -> None:
        a, b, c = await world.some("abc")
        client = client_of_session("s")
        for node in (b, b, b):
            node.poll(client)
            await asyncio.sleep(1)
        a.open("s", CHANNEL)  # takes the record over; b knows the client still, and writes nothing
        await asyncio.sleep(SOON)
        a.close("s")
        await a.stop()
        for _ in range(30):
            b.poll(client)
            await asyncio.sleep(1)
        assert world.told("s") == ["join s"]
        assert await c.clients() == [client]
        assert set((await world.records()).values()) == {b.id}

    run(story)


def test_the_log_goes_away_while_they_are_reaped() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        for n in range(20):
            a.open(f"s{n}", CHANNEL)
        await asyncio.sleep(SOON)
        change, left = b.access.change, 7

        def failing(table: str, *rest: object) -> object:
            nonlocal left
            if table == TABLE and left:
                left -= 1
                b.access.away = left == 0  # and so is the append of what is told
            return change(table, *rest)  # type: ignore[arg-type]

        b.access.change = failing  # type: ignore[assignment,method-assign]
        await a.stop()
        await asyncio.sleep(GRACE + 5)
        assert b.access.away
        b.access.come_back()
        await asyncio.sleep(120)
        leaves = [one.client for one in world.news if one.event == "leave"]
        assert len(leaves) == len(set(leaves)) == 20
        assert not await world.records()

    run(story)
