"""The question who is on a channel, and its answer, from a real log."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.transports.world import EPOCH, FOREVER_US, World
from tidewire.hub import Fleet, Presence
from tidewire.hub.presence_records import Who
from tidewire.model import BadRequest, InvalidChannel, Namespaces, NotFound, Retention
from tidewire.transports.presence import Wanted, check_wanted, read_presence


@pytest.fixture
def presence(world: World) -> Presence:
    """Of a node where everything but the namespace ``quiet`` has presence."""
    world.log.namespaces = world.engine.namespaces = Namespaces(
        Retention(100, FOREVER_US), presence=True, presences={"quiet": False}
    )

    async def make() -> Presence:
        return Presence(world.hub, Fleet(world.hub))

    return world.do(make())


def enter(world: World, presence: Presence, *clients: str) -> None:
    """These are on the channel ``a`` now, and written."""

    async def wait() -> None:
        for client in clients:
            presence.enter("a", Who(client, "sse", "42"))
        await asyncio.gather(*world.hub._tasks)

    world.do(wait())


def test_a_count_and_a_cursor(world: World, presence: Presence) -> None:
    enter(world, presence, "x", "y")
    found = world.do(read_presence(presence, Wanted("a")))
    assert (found.channel, found.count, found.members) == ("a", 2, None)
    assert found.cursor == f"{EPOCH}-{world.hub.recent.head}"
    assert b"members" not in msgspec.json.encode(found)


def test_members_in_pages(world: World, presence: Presence) -> None:
    enter(world, presence, "z", "x", "y")
    first = world.do(read_presence(presence, Wanted("a", members=True, limit=2)))
    assert [one["client"] for one in first.members or ()] == ["x", "y"]
    assert first.next == "y"
    assert set((first.members or [{}])[0]) == {"client", "transport", "since", "user"}
    last = world.do(read_presence(presence, Wanted("a", members=True, limit=2, after="y")))
    assert [one["client"] for one in last.members or ()] == ["z"]
    assert last.next is None
    assert b"next" not in msgspec.json.encode(last)


def test_nobody_is_there(world: World, presence: Presence) -> None:
    found = world.do(read_presence(presence, Wanted("a", members=True)))
    assert (found.count, found.members, found.next) == (0, [], None)


def test_nodes_are_for_operators(world: World, presence: Presence) -> None:
    enter(world, presence, "x")
    found = world.do(read_presence(presence, Wanted("a", members=True, nodes=True)))
    assert len((found.members or [{}])[0]["node"]) == 8


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (Wanted("a b"), InvalidChannel),
        (Wanted("a", limit=0), BadRequest),
        (Wanted("a", limit=1_001), BadRequest),
        (Wanted("a", after="x" * 65), BadRequest),
        (Wanted("quiet:a"), NotFound),
        (Wanted("@presence:a"), NotFound),
        (Wanted("x" * 246), NotFound),
    ],
)
def test_what_cannot_be_asked(presence: Presence, wanted: Wanted, error: type[Exception]) -> None:
    assert check_wanted(presence, Wanted("a")) is presence
    with pytest.raises(error):
        check_wanted(presence, wanted)


def test_where_nobody_keeps_it() -> None:
    with pytest.raises(NotFound, match="see the setting presence"):
        check_wanted(None, Wanted("a"))
