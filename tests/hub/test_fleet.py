"""The fleet: who is there, who has gone, and what an outage must not make of it."""

from __future__ import annotations

import asyncio

from tests.hub.fleet_world import FleetWorld, run
from tidewire.hub.fleet import BEAT, TTL
from tidewire.model import EngineUnavailable


def test_a_node_is_seen_at_once() -> None:
    async def story(world: FleetWorld) -> None:
        a = await world.node("a")
        before = world.loop.time()
        b = await world.node("b")
        assert a.sees(b)
        assert b.sees(a)
        assert world.loop.time() - before < BEAT / 2
        assert a.fleet.is_live(a.id)
        assert a.fleet.is_live(b.id)
        assert not a.fleet.is_live("nobody")

    run(story)


def test_the_list_has_what_each_says_of_itself() -> None:
    async def story(world: FleetWorld) -> None:
        nodes = await world.three()
        for node in nodes:
            listed = await node.fleet.nodes()
            assert [(one.id, one.host) for one in listed] == [(one.id, one.name) for one in nodes]

    run(story)


def test_a_goodbye_is_heard_at_once_and_once() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await world.three()
        before = world.loop.time()
        await b.stop()
        await asyncio.sleep(0.01)
        assert a.gone == c.gone == [b.id]
        assert world.loop.time() - before < BEAT / 2
        await asyncio.sleep(3 * TTL)
        assert a.gone == c.gone == [b.id]
        assert a.sees(c)

    run(story)


def test_a_node_that_dies_is_gone_when_its_lease_has_ended() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await world.three()
        await asyncio.sleep(3 * BEAT)
        b.die()
        await asyncio.sleep(TTL - BEAT - 1)
        assert a.fleet.is_live(b.id)
        assert not a.gone
        await asyncio.sleep(2 * BEAT + 1)
        assert a.gone == c.gone == [b.id]
        assert not a.fleet.is_live(b.id)
        await asyncio.sleep(3 * TTL)
        assert a.gone == c.gone == [b.id]

    run(story)


def test_an_idle_node_writes_its_lease_and_nothing_else() -> None:
    async def story(world: FleetWorld) -> None:
        await world.node()
        appends = world.log.appends
        await asyncio.sleep(100)
        assert world.log.appends == appends

    run(story)


def test_an_outage_ends_nobody() -> None:
    async def story(world: FleetWorld) -> None:
        nodes = await world.three()
        for node in nodes:
            node.access.away = True
        await asyncio.sleep(10 * TTL)
        for node in nodes:  # one after the other: the first finds all leases ended
            node.access.come_back()
            await asyncio.sleep(1)
        await asyncio.sleep(3 * TTL)
        assert all(not node.gone for node in nodes)
        assert nodes[0].sees(*nodes[1:])
        # Their leases had ended, and they hear so: others may have acted on it.
        assert [node.lapses for node in nodes] == [1, 1, 1]

    run(story)


def test_who_does_not_come_back_from_an_outage_is_gone_after_a_whole_lease() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await world.three()
        for node in (a, b, c):
            node.access.away = True
        await asyncio.sleep(2 * TTL)
        c.die()
        a.access.come_back()
        b.access.come_back()
        await asyncio.sleep(TTL - 1)
        assert a.fleet.is_live(c.id)
        await asyncio.sleep(2 * BEAT)
        assert a.gone == b.gone == [c.id]

    run(story)


def test_the_list_read_just_after_an_outage_ends_nobody() -> None:
    """Before the node's own beat has found that there was one."""

    async def story(world: FleetWorld) -> None:
        a, b, _ = await world.three()
        await asyncio.sleep(BEAT)
        b.access.away = True
        a.access.away = True
        world.loop.now += TTL + 1  # nobody's timer has run meanwhile
        a.access.come_back()
        assert {node.id for node in await a.fleet.nodes()} >= {a.id, b.id}
        assert not a.gone
        b.access.come_back()
        await asyncio.sleep(3 * TTL)
        assert not a.gone

    run(story)


def test_an_outage_that_only_some_leases_outlast_ends_nobody() -> None:
    async def story(world: FleetWorld) -> None:
        a, c = await world.node(), await world.node()
        await asyncio.sleep(BEAT)
        for node, seconds in ((c, 8), (a, 8)):
            node.access.away = True
            await asyncio.sleep(seconds)
        assert not a.gone
        a.access.come_back()  # its own lease is there still, but that of c has ended
        await asyncio.sleep(BEAT / 2)
        c.access.come_back()
        await asyncio.sleep(3 * TTL)
        assert a.lapses == 0
        assert c.lapses == 1
        assert not a.gone

    run(story)


def test_a_clock_put_forward_ends_nobody() -> None:
    async def story(world: FleetWorld) -> None:
        nodes = await world.three()
        await asyncio.sleep(BEAT)
        world.offset += 3_600  # the engine's: every lease has ended
        await asyncio.sleep(3 * TTL)
        assert all(not node.gone for node in nodes)
        assert all(node.lapses == 1 for node in nodes)

    run(story)


def test_who_was_cut_off_alone_is_gone_and_comes_back() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await world.three()
        b.access.away = True
        await asyncio.sleep(2 * TTL)
        assert a.gone == c.gone == [b.id]
        assert not b.gone
        b.access.come_back()
        await asyncio.sleep(2 * BEAT)
        assert b.lapses == 1
        assert a.lapses == 0
        assert a.sees(b, c)
        assert a.gone == [b.id]
        b.die()
        await asyncio.sleep(2 * TTL)
        assert a.gone == [b.id, b.id], "of a second end it was not told"

    run(story)


def test_a_node_that_comes_while_the_leases_are_read_stays() -> None:
    async def story(world: FleetWorld) -> None:
        a = await world.node()
        a.access.held = asyncio.Event()
        looking = asyncio.ensure_future(a.fleet.nodes())
        await asyncio.sleep(0)  # what it will find was read before b had its lease
        b = await world.node()
        assert a.sees(b)
        a.access.held.set()
        await looking
        assert a.sees(b)
        assert not a.gone

    run(story)


def test_a_node_that_goes_while_the_leases_are_read_does_not_come_back() -> None:
    async def story(world: FleetWorld) -> None:
        a, b = await world.node(), await world.node()
        a.access.held = asyncio.Event()
        looking = asyncio.ensure_future(a.fleet.nodes())
        await asyncio.sleep(0)
        await b.stop()
        await asyncio.sleep(0.01)
        assert a.gone == [b.id]
        a.access.held.set()
        await looking
        assert a.sees()

    run(story)


def test_what_could_not_be_said_is_said_later() -> None:
    async def story(world: FleetWorld) -> None:
        a, b = await world.node(), await world.node()
        await asyncio.sleep(BEAT)
        b.connections = 7
        b.access.mute = True
        world.offset += 3_600
        await asyncio.sleep(2 * BEAT)
        assert b.lapses == 1, "it did not hear that it had been taken for gone"
        appends = world.log.appends
        b.access.mute = False
        await asyncio.sleep(BEAT)
        assert world.log.appends == appends + 1
        assert a.sees(b)

    run(story)


def test_a_lease_of_another_version_is_a_lease() -> None:
    async def story(world: FleetWorld) -> None:
        a = await world.node()
        await world.log.change("nodes", "stranger", lambda _: b"\x93 what is this", 3 * BEAT)
        assert [node.id for node in await a.fleet.nodes()] == ["stranger", a.id]
        await asyncio.sleep(5 * BEAT)
        assert a.gone == ["stranger"]

    run(story)


def test_news_are_heard_before_the_next_beat() -> None:
    async def story(world: FleetWorld) -> None:
        a, b = await world.node(), await world.node()
        b.connections = 7
        b.fleet.announce()
        await asyncio.sleep(0.01)
        assert a.fleet.others[0].connections == 7

    run(story)


def test_a_start_without_the_log_is_made_up_for() -> None:
    async def story(world: FleetWorld) -> None:
        a = await world.node()
        b = await world.node()
        await b.stop()
        late = type(b)(world.log, "late")
        await late.hub.start()
        late.access.away = True
        await late.fleet.start()
        await asyncio.sleep(2 * BEAT)
        assert a.sees()
        late.access.come_back()
        await asyncio.sleep(BEAT)
        assert a.sees(late)
        assert late.sees(a)
        assert late.lapses == 0

    run(story)


def test_the_list_says_when_it_cannot_be_read() -> None:
    async def story(world: FleetWorld) -> None:
        a = await world.node()
        a.access.away = True
        try:
            await a.fleet.nodes()
        except EngineUnavailable:
            return
        raise AssertionError("it was read all the same")

    run(story)


def test_one_who_fails_does_not_keep_the_others_from_hearing() -> None:
    async def story(world: FleetWorld) -> None:
        a, b = await world.node(), await world.node()
        heard: list[str] = []

        def fail(node: str) -> None:
            raise RuntimeError(node)

        a.fleet._on_gone.insert(0, fail)
        a.fleet.on_gone(heard.append)
        await b.stop()
        await asyncio.sleep(0.01)
        assert heard == [b.id]

    run(story)


def test_a_goodbye_does_not_wait_for_a_log_that_is_away() -> None:
    async def story(world: FleetWorld) -> None:
        a = await world.node()
        a.access.away = True
        before = world.loop.time()
        await a.stop()
        assert world.loop.time() - before < 2

    run(story)
