"""Behaviours of a recovery that other systems' tests name, and what they are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.world import HeldEngine
from tidewire.hub import State
from tidewire.model import Cursor, EngineUnavailable, Subscription

if TYPE_CHECKING:
    from tests.hub.conftest import MakeWorld
    from tests.hub.world import World


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Four messages that only the log knows, whose reads wait for the test."""
    world = make_world(recent=0, held=True)
    world.publish("a", "a", "a", "a")
    world.settle()
    return world


def engine_of(world: World) -> HeldEngine:
    """The world's log."""
    assert isinstance(world.engine, HeldEngine)
    return world.engine


def recovery(world: World) -> Subscription:
    """What a client asks for that has the first message."""
    return Subscription(("a",), (Cursor(world.engine.epoch, world.ids["a"][0]),))


def test_broker_error_on_history(world: World) -> None:
    """The subscription fails for now, and is never told that it has recovered."""
    engine = engine_of(world)
    wanted = recovery(world)
    assert world.hub.open_now(wanted, world.hub.position) is None
    opening = world.loop.create_task(world.hub.open(wanted, world.hub.position))
    world.until(lambda: engine.waiting)
    engine.fail(EngineUnavailable("the disk is away"))
    with pytest.raises(EngineUnavailable):
        world.do(opening)
    engine.holds = False
    again = world.do(world.hub.open(wanted, world.hub.position))
    assert again.recovered
    assert [message.id for message in again.page.messages] == world.ids["a"][1:]


def test_broker_error_in_the_middle_of_a_recovery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that has begun waits for the log, and goes on where it was."""
    monkeypatch.setattr("tidewire.hub.hub.RETRY_SECONDS", 0)
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 2)
    engine = engine_of(world)
    engine.holds = False
    subscriber = world.begin(world.do(world.hub.open(recovery(world), world.hub.position)))
    engine.holds = True
    world.until(lambda: engine.waiting)
    engine.fail()
    engine.holds = False
    world.check_end()
    assert subscriber.ids == world.ids["a"][1:]


def test_publish_during_recovery(world: World) -> None:
    """What comes between the read of history and the join is there once, in its order."""
    engine = engine_of(world)
    upto = world.hub.position
    opening = world.loop.create_task(world.hub.open(recovery(world), upto))
    world.until(lambda: engine.waiting)
    world.publish("a", "a")
    world.turn(3)
    engine.let_go()
    subscriber = world.begin(world.do(opening))
    world.publish("a")
    engine.holds = False
    while engine.waiting:
        engine.let_go()
    world.publish("a")
    world.check_end()
    assert subscriber.ids == world.ids["a"][1:]


def test_offset_gap_while_live(make_world: MakeWorld) -> None:
    """The client need not come back to recover: its session does so where it stands."""
    world = make_world()
    subscriber = world.subscribe("a")
    world.publish("a")
    world.settle()
    world.publish_elsewhere("a", "a")
    world.publish("a")
    world.check_end()
    assert subscriber.session.state is State.LIVE
    assert subscriber.ids == world.ids["a"]


def test_shared_history_read(world: World) -> None:
    """A hundred that recover from one position are one read."""
    engine = engine_of(world)
    openings = [
        world.loop.create_task(world.hub.open(recovery(world), world.hub.position))
        for _ in range(100)
    ]
    world.turn(5)
    assert len(engine.reads) == 1
    engine.let_go()
    found = [world.do(opening) for opening in openings]
    assert all([m.id for m in opening.page.messages] == world.ids["a"][1:] for opening in found)


def test_shared_history_read_that_fails(world: World) -> None:
    engine = engine_of(world)
    openings = [
        world.loop.create_task(world.hub.open(recovery(world), world.hub.position))
        for _ in range(3)
    ]
    world.turn(5)
    engine.fail()
    for opening in openings:
        with pytest.raises(EngineUnavailable):
            world.do(opening)


def test_shared_history_read_of_sessions_that_are_there_already(world: World) -> None:
    engine = engine_of(world)
    engine.holds = False
    subscribers = [world.begin(None) for _ in range(100)]
    engine.holds = True
    engine.reads.clear()
    for subscriber in subscribers:
        subscriber.follow("a", world.ids["a"][0])
    world.until(lambda: engine.waiting)
    assert len(engine.reads) == 1
    engine.let_go()
    world.settle()
    assert all(subscriber.ids == world.ids["a"][1:] for subscriber in subscribers)
    assert len(engine.reads) == 1
