"""Presence: who is there, who is told to come and to go, and what must not be told."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from tests.hub.presence_world import CHANNEL, GRACE, SOON, Attended, PresenceWorld, run
from tidewire.hub import presence
from tidewire.hub.fleet import BEAT, TTL
from tidewire.hub.presence import ASK_SECONDS
from tidewire.hub.presence_records import Who, client_of_session

# One node


def test_who_comes_and_goes_is_told() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL)
        await asyncio.sleep(SOON)
        assert world.told("a") == ["join a"]
        assert await node.count() == 1
        assert await node.clients() == [client_of_session("a")]
        closed = world.loop.time()
        node.close("a")
        await asyncio.sleep(GRACE - 0.1)
        assert world.told("a") == ["join a"]
        await asyncio.sleep(1)
        assert world.told("a") == ["join a", "leave a"]
        assert GRACE <= world.news[-1].at - closed <= GRACE + 1
        assert await node.count() == 0
        await asyncio.sleep(2)
        assert not await world.records()
        assert not await world.counts()
        assert not node.presence.rooms

    run(story)


def test_who_is_back_in_time_was_never_away() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL)
        for _ in range(5):
            await asyncio.sleep(5)
            node.close("a")
            await asyncio.sleep(GRACE - 0.1)
            node.open("a", CHANNEL)
        await asyncio.sleep(10)
        assert world.told("a") == ["join a"]
        assert await node.count() == 1

    run(story)


def test_a_session_that_is_taken_up_before_its_connection_has_ended() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        first = node.presence.enter(CHANNEL, who := who_is("a"))
        await asyncio.sleep(SOON)
        assert node.presence.enter(CHANNEL, who) is first
        node.presence.leave(CHANNEL, who.client, GRACE)  # that of the older connection
        await asyncio.sleep(10)
        assert [one.event for one in world.news] == ["join"]
        node.presence.leave(CHANNEL, who.client, GRACE)
        await asyncio.sleep(10)
        assert [one.event for one in world.news] == ["join", "leave"]

    run(story)


def who_is(client: str) -> Who:
    return Who(client, "websocket", "42", "tv")


def test_who_leaves_before_it_was_written_is_told_to_leave() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL)
        node.close("a")
        await asyncio.sleep(GRACE + 2)
        assert world.told("a") == ["join a", "leave a"]

    run(story)


def test_channels_that_change() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL, "room:2", "news")
        await asyncio.sleep(5)
        node.open("a", "room:2", "room:3", "news")
        await asyncio.sleep(5)
        assert sorted((one.event, one.channel) for one in world.news) == [
            ("join", "room:1"),
            ("join", "room:2"),
            ("join", "room:3"),
            ("leave", "room:1"),
        ]

    run(story)


def test_a_channel_without_presence_costs_nothing() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        before = world.log.appends
        node.open("a", "news", "@presence:room:1")
        await asyncio.sleep(1)
        node.close("a")
        await asyncio.sleep(5)
        assert world.log.appends == before
        assert not node.presence.rooms
        assert not await world.records()

    run(story)


def test_who_stays_costs_nothing() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        for n in range(50):
            node.open(f"s{n}", CHANNEL)
        await asyncio.sleep(5)
        changes = 0
        change = world.log.change

        def counting(table: str, *rest: object) -> object:
            nonlocal changes
            changes += table != "nodes"
            return change(table, *rest)  # type: ignore[arg-type]

        world.log.change = counting  # type: ignore[assignment,method-assign]
        before = world.log.appends
        await asyncio.sleep(3600)
        assert (world.log.appends, changes) == (before, 0)
        assert node.presence._timer is None

    run(story)


def test_nodes_are_for_operators() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL, user="42")
        await asyncio.sleep(SOON)
        [member] = (await node.presence.members(CHANNEL)).members
        assert (member.user, member.device, member.transport) == ("42", None, "websocket")
        assert member.node is None
        assert abs(member.since / 1000 - (world.loop.time() + world.offset)) < 2
        [member] = (await node.presence.members(CHANNEL, nodes=True)).members
        assert member.node == node.id

    run(story)


# Pollers


@pytest.mark.parametrize(("interval", "leaves"), [(3, 9), (1, 6), (30, 90), (60, 120)])
def test_a_poller_leaves_when_it_has_missed_some_polls(interval: int, leaves: int) -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        for _ in range(12):
            node.poll("p")
            await asyncio.sleep(interval)
        assert world.told("p") == ["join p"]
        last = world.loop.time() - interval
        await asyncio.sleep(200)
        assert world.told("p") == ["join p", "leave p"]
        assert leaves <= world.news[-1].at - last <= leaves + 1

    run(story)


def test_a_poller_of_which_nothing_is_known_may_come_in_two_minutes() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.poll("p")
        await asyncio.sleep(119)
        node.poll("p")
        await asyncio.sleep(119)
        assert world.told("p") == ["join p"]
        await asyncio.sleep(5)
        assert world.told("p") == ["join p", "leave p"]

    run(story)


def test_a_poll_that_is_held_is_no_absence() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        who = Who("p", "longpoll")
        for _ in range(3):
            node.presence.poll((CHANNEL,), who, held=True)
            await asyncio.sleep(600)
            node.presence.polled((CHANNEL,), who)
            await asyncio.sleep(0.1)
        assert world.told("p") == ["join p"]
        await asyncio.sleep(7)
        assert world.told("p") == ["join p", "leave p"]

    run(story)


@pytest.mark.parametrize("where", ["same", "other"])
@pytest.mark.parametrize("polls", [1, 5])
def test_a_poll_beside_a_stream_is_its_client_and_no_longer_than_that(
    where: str, polls: int
) -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        poll_beside = (a if where == "same" else b).poll_beside
        a.open("s", CHANNEL)
        await asyncio.sleep(1)
        for _ in range(polls):
            poll_beside("s")
            await asyncio.sleep(0.3)
        for pause in (0.1, 300.0):  # by then all that polls could have left behind is over
            await asyncio.sleep(pause)
            assert await a.clients() == [client_of_session("s")]
            assert world.told("s") == ["join s"]
        assert [await node.count() for node in (a, b)] == [1, 1]
        poll_beside("s")
        await asyncio.sleep(0.1)
        closed = world.loop.time()
        a.close("s")
        await asyncio.sleep(300)
        join, *leaves = world.told("s")
        assert join == "join s"
        # Where both nodes have the client they ask each other, and may both tell of it in the end.
        assert set(leaves) == {"leave s"}
        assert len(leaves) == 1 or where == "other"
        assert GRACE <= world.news[-1].at - closed <= GRACE + 2 * ASK_SECONDS
        assert not await world.records()

    run(story)


def test_polls_beside_others_change_nothing_of_them() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        session = client_of_session("s")
        for _ in range(12):
            node.poll(session)
            node.poll_beside("s")
            await asyncio.sleep(0.01)
            node.poll_beside("s")
            await asyncio.sleep(9.99)
        last = world.loop.time() - 10
        await asyncio.sleep(200)
        assert world.told("s") == ["join s", "leave s"]
        assert 30 <= world.news[-1].at - last <= 31

    run(story)


def test_who_only_polls_beside_something_is_there_all_the_same() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.poll_beside("s")
        await asyncio.sleep(SOON)
        assert await node.clients() == [client_of_session("s")]
        await asyncio.sleep(GRACE + 1)
        assert world.told("s") == ["join s", "leave s"]

    run(story)


def test_a_poller_that_goes_from_node_to_node_is_one_and_stays() -> None:
    async def story(world: PresenceWorld) -> None:
        nodes = await world.some("abc")
        draw = random.Random(1)
        for _ in range(200):
            draw.choice(nodes).poll("p")
            await asyncio.sleep(3)
        assert world.told("p") == ["join p"]
        for _ in range(60):  # for good at one of them: the others find out one by one
            nodes[0].poll("p")
            await asyncio.sleep(3)
        assert world.told("p") == ["join p"]
        assert await world.counts() == {(CHANNEL, nodes[0].id): 1}
        await asyncio.sleep(200)
        assert world.told("p") == ["join p", "leave p"]
        assert not await world.records()

    run(story)


# Several nodes


def test_a_session_that_is_taken_up_elsewhere() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        a.open("s", CHANNEL)
        await asyncio.sleep(5)
        a.close("s")
        await asyncio.sleep(1)
        b.open("s", CHANNEL)
        await asyncio.sleep(10)
        assert world.told("s") == ["join s"]
        assert set((await world.records()).values()) == {b.id}
        assert await a.count() == await b.count() == 1
        b.close("s")
        await asyncio.sleep(10)
        assert world.told("s") == ["join s", "leave s"]

    run(story)


def test_the_end_of_the_older_connection_is_noticed_late() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        a.open("s", CHANNEL)
        await asyncio.sleep(5)
        b.open("s", CHANNEL)
        await asyncio.sleep(60)
        a.close("s")
        await asyncio.sleep(10)
        assert world.told("s") == ["join s"]
        assert await a.count() == 1

    run(story)


def test_a_node_that_stood_still_was_taken_for_gone() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        a.open("s", CHANNEL)
        await asyncio.sleep(3 * BEAT)
        a.access.away = True
        await asyncio.sleep(TTL + 2 * BEAT + 5)
        assert world.told("s") == ["join s", "leave s"]
        a.access.come_back()
        await asyncio.sleep(2 * BEAT + 3)
        assert world.told("s") == ["join s", "leave s", "join s"]
        assert await b.clients() == [client_of_session("s")]
        assert await world.counts() == {(CHANNEL, a.id): 1}

    run(story)


# A snapshot, and what follows


class Follower:
    """Reads who is there page by page, and then what is told from the first page's cursor on."""

    def __init__(self, node: Attended) -> None:
        self._node = node
        self.there: set[str] = set()

    async def read(self, limit: int) -> None:
        self._cursor = (await self._node.presence.snapshot(CHANNEL)).cursor
        after = ""
        while True:
            page = await self._node.presence.members(CHANNEL, after, limit)
            self.there |= {member.client for member in page.members}
            if page.next is None:
                return
            after = page.next
            await asyncio.sleep(0.03)  # others come and go between the pages

    async def follow(self) -> None:
        position = int(self._cursor.rpartition("-")[2])
        channel = f"@presence:{CHANNEL}"
        engine = self._node.hub.engine
        while True:
            upto = await engine.head()
            page = await engine.read({channel: position}, upto, 100, 1 << 20)
            assert not page.gaps
            for message in page.messages:
                client = json.loads(message.data)["client"]
                if message.event == "join":
                    self.there.add(client)
                else:
                    self.there.discard(client)
            position = page.position
            if not page.more:
                return


@pytest.mark.parametrize("seed", range(12))
def test_who_follows_from_a_snapshot_knows_who_is_there(seed: int) -> None:
    async def story(world: PresenceWorld) -> None:
        draw = random.Random(seed)
        nodes = await world.some("abc")
        where: dict[str, Attended] = {}
        sessions = [f"s{n}" for n in range(40)]

        async def come_and_go() -> None:
            for _ in range(400):
                session = draw.choice(sessions)
                if session in where and draw.random() < 0.6:
                    where.pop(session).close(session)
                elif session not in where:
                    where[session] = draw.choice(nodes)
                    where[session].open(session, CHANNEL)
                draw.choice(nodes).poll(draw.choice("pqr"))
                await asyncio.sleep(draw.choice([0.0, 0.01, 0.1, 0.5]))

        async def look() -> None:
            await asyncio.sleep(draw.uniform(0, 30))
            follower = Follower(draw.choice(nodes))
            await follower.read(draw.choice([1, 3, 100]))
            followers.append(follower)

        followers: list[Follower] = []
        await asyncio.gather(come_and_go(), *(look() for _ in range(10)))
        await asyncio.sleep(200)  # all that is to be told is told
        there = {client_of_session(session) for session in where}
        for follower in followers:
            await follower.follow()
            assert follower.there == there
        for node in nodes:
            assert set(await node.clients()) == there
            assert await node.count() == len(there)

    run(story)


def test_there_are_only_so_many_pollers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says to be another with each poll cannot use up the server."""
    monkeypatch.setattr(presence, "MOST_POLLERS", 10)

    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        for n in range(50):
            node.poll(f"p{n:02}")
        who = Who("held", "longpoll")
        node.presence.poll((CHANNEL,), who, held=True)
        node.presence.polled((CHANNEL,), who)
        node.open("s", CHANNEL)
        await asyncio.sleep(1)
        assert await node.count() == 11
        assert node.hub.drops["pollers"] == 41
        node.poll("p00")  # who is one stays one
        assert node.hub.drops["pollers"] == 41
        node.poll_beside("one more")
        assert node.hub.drops["pollers"] == 42
        await asyncio.sleep(200)
        assert await node.count() == 1
        node.poll("later")
        await asyncio.sleep(1)
        assert await node.count() == 2

    run(story)
