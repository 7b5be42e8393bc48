"""Reading on from the log: one read for all who ask the same, whatever comes in between."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.hub.world import HeldEngine, World
from tidewire.hub import State
from tidewire.hub.hub import READS_AT_ONCE
from tidewire.model import EngineUnavailable

if TYPE_CHECKING:
    from tests.hub.conftest import MakeWorld
    from tests.hub.world import Subscriber


@pytest.fixture
def held(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose hub has nothing in memory, and whose log answers when the test lets it.

    Pages have three messages; a failed read is tried again at once.
    """
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 3)
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 3)
    monkeypatch.setattr("tidewire.hub.hub.RETRY_SECONDS", 0)
    return make_world(recent=0, held=True)


def engine_of(world: World) -> HeldEngine:
    """The world's log."""
    assert isinstance(world.engine, HeldEngine)
    return world.engine


def behind(world: World, *channels: str) -> Subscriber:
    """A live subscriber that now follows *channels* too, from their beginning."""
    subscriber = world.begin(None)
    for channel in channels:
        subscriber.follow(channel, 0)
    return subscriber


def test_one_read_serves_all_who_ask_the_same(held: World) -> None:
    engine = engine_of(held)
    held.publish("a", "a")
    held.turn(2)
    subscribers = [behind(held, "a") for _ in range(100)]
    held.turn(2)
    assert engine.reads == [{"a": 0}]
    engine.let_go()
    held.settle()
    assert all(s.ids == held.ids["a"] for s in subscribers)
    assert len(engine.reads) == 1


def test_few_reads_are_under_way_at_once(held: World) -> None:
    engine = engine_of(held)
    channels = [f"c{n}" for n in range(10)]
    held.publish(*channels)
    held.turn(2)
    subscribers = [behind(held, channel) for channel in channels]
    held.turn(2)
    for done in range(10):
        assert len(engine.reads) == min(READS_AT_ONCE + done, 10)
        engine.let_go()
        held.turn(3)
    held.settle()
    held.check_end()
    assert [s.ids for s in subscribers] == [held.ids[channel] for channel in channels]


def test_a_read_that_fails_is_tried_again(held: World, caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of(held)
    held.publish("a")
    held.turn(2)
    subscribers = [behind(held, "a"), behind(held, "a")]
    for _ in range(3):
        held.until(lambda: engine.waiting)
        engine.fail(EngineUnavailable("the disk is away"))
        held.until(lambda: not engine.waiting)
    held.until(lambda: engine.waiting)
    assert [record.getMessage() for record in caplog.records] == [
        "catching up waits for the engine: the disk is away"
    ] * 3
    engine.let_go()
    held.settle()
    assert [s.ids for s in subscribers] == [held.ids["a"]] * 2


def test_a_read_that_fails_in_a_way_nobody_foresaw_is_tried_again_too(
    held: World, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(held)
    held.publish("a")
    held.turn(2)
    subscriber = behind(held, "a")
    held.until(lambda: engine.waiting)
    engine.fail(ZeroDivisionError())
    held.until(lambda: len(engine.reads) == 2)
    assert caplog.records[0].exc_info is not None
    engine.let_go()
    held.settle()
    assert subscriber.ids == held.ids["a"]


def test_a_page_is_not_taken_twice(held: World) -> None:
    """A page was given and the next has its turn coming, when the client follows one more channel:
    two ways lead to the same read, whose page must count once.
    """
    engine = engine_of(held)
    held.publish(*["a"] * 9)
    held.turn(2)
    subscriber = behind(held, "a")
    held.turn(2)
    engine.let_go()  # the first page of three
    while not subscriber.ids:
        held.turn()
    subscriber.follow("b", held.last)
    held.turn(2)
    engine.holds = False
    engine.let_go()
    held.settle()
    assert subscriber.ids == held.ids["a"]


def test_a_page_that_comes_too_late_is_thrown_away(held: World) -> None:
    engine = engine_of(held)
    held.publish("a", "b")
    held.turn(2)
    subscriber = behind(held, "a")
    held.turn(2)
    subscriber.follow("b", 0)
    subscriber.unfollow("a")
    held.turn(2)
    assert engine.reads[:1] == [{"a": 0}]
    engine.holds = False
    while engine.waiting:
        engine.let_go()
    held.settle()
    assert subscriber.ids == held.ids["b"]


def test_who_is_gone_gets_nothing(held: World) -> None:
    engine = engine_of(held)
    held.publish("a")
    held.turn(2)
    stays, goes = behind(held, "a"), behind(held, "a")
    held.turn(2)
    goes.close()
    engine.let_go()
    held.settle()
    assert stays.ids == held.ids["a"]
    assert goes.ids == []
    assert goes.session.state is State.CLOSED


def test_messages_that_come_during_a_read_come_behind_it(held: World) -> None:
    engine = engine_of(held)
    old = held.publish("a", "a")
    held.turn(2)
    subscriber = behind(held, "a")
    held.turn(2)
    new = held.publish("a", "a", "a")
    held.turn(2)
    assert subscriber.ids == []
    engine.holds = False
    engine.let_go()
    held.settle()
    assert subscriber.ids == old + new


def test_pages_leave_turns_to_others(held: World) -> None:
    engine = engine_of(held)
    engine.holds = False
    held.publish(*["a"] * 30)
    held.turn(2)
    subscriber = behind(held, "a")
    seen = []
    while not subscriber.live:
        held.turn()
        seen.append(len(subscriber.ids))
    steps = [after - before for before, after in pairwise(seen)]
    assert max(steps) == 3
    assert subscriber.ids == held.ids["a"]


def test_a_page_that_many_wait_for_is_given_to_one_after_the_other(
    held: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one turn of the loop would be as long as all of them together take."""
    monkeypatch.setattr("tidewire.hub.hub.CATCH_UP_SECONDS", 0)
    engine = engine_of(held)
    held.publish("a", "a")
    held.turn(2)
    subscribers = [behind(held, "a") for _ in range(20)]
    held.turn(2)
    engine.let_go()
    served = [0]
    while served[-1] < len(subscribers):
        held.turn()
        served.append(sum(bool(subscriber.ids) for subscriber in subscribers))
    assert max(after - before for before, after in pairwise(served)) == 1
    assert len(engine.reads) == 1
    held.settle()


def test_live_messages_wait_for_nobody_who_is_behind(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 3)
    monkeypatch.setattr("tidewire.hub.hub.CATCH_UP_SECONDS", 0)
    world = make_world()
    world.publish(*["a"] * 30)
    world.turn(2)
    live = world.begin(None)
    live.follow_now("b")
    world.until(lambda: live.live)
    subscribers = [behind(world, "a") for _ in range(5)]
    world.turn(3)

    def written() -> int:
        return sum(subscriber.writes for subscriber in subscribers)

    before, heard = written(), []
    monkeypatch.setattr(live, "receive", lambda data: heard.append(written()))
    world.publish("b")
    world.turn()
    assert heard == [before]
    assert written() == before + 1


def test_a_congested_subscriber_is_not_read_for(held: World) -> None:
    engine = engine_of(held)
    engine.holds = False
    held.publish(*["a"] * 9)
    held.turn(2)
    subscriber = behind(held, "a")
    subscriber.congest()
    held.turn(20)
    assert len(subscriber.ids) == 3
    assert len(engine.reads) == 1
    subscriber.drain()
    held.settle()
    assert subscriber.ids == held.ids["a"]


def test_stopping_ends_every_read(make_world: MakeWorld, held: World) -> None:
    engine = engine_of(held)
    channels = [f"c{n}" for n in range(3 * READS_AT_ONCE)]
    held.publish(*channels)
    held.turn(2)
    for channel in channels:
        behind(held, channel)
    held.turn(2)
    held.do(held.hub.stop())
    held.turn(5)
    assert len(engine.reads) == READS_AT_ONCE, "a read began although the log is closed"
