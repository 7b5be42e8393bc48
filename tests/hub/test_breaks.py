"""Breaks of the feed: it goes on further up, and what lies between is read from the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.hub.world import HeldEngine
from tidewire.hub import State
from tidewire.model import Gap, Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.hub.conftest import MakeWorld
    from tests.hub.world import World
    from tidewire.log import MemoryEngine
    from tidewire.model import Message


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tidewire.hub")


class Seamed(HeldEngine):
    """A log that lost what it had accepted last: who reads past a seam is told a gap there."""

    def __init__(self, log: MemoryEngine) -> None:
        super().__init__(log)
        self.holds = False
        self.seams: list[int] = []

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        page = await super().read(after, upto, limit, max_bytes)
        page.gaps.extend(
            Gap(channel, seam, "reset")
            for channel, position in after.items()
            for seam in self.seams
            if position < seam <= page.position
        )
        return page


def broken(world: World, after: int, upto: int) -> None:
    """The engine tells of a break."""
    world.hub._broken(after, upto)
    world.last = max(world.last, upto)
    world.turn()


def test_everybody_reads_what_the_feed_lacks(world: World) -> None:
    subscribers = [world.subscribe("a"), world.subscribe("a", "b"), world.subscribe("b")]
    (before,) = world.publish("a")
    world.settle()
    lost = world.publish_elsewhere("a", "b", "a")
    broken(world, before, lost[-1])
    assert world.hub.position == lost[-1]
    last = world.publish("b", "a")
    world.check_end()
    assert [s.ids for s in subscribers] == [
        world.ids["a"],
        sorted(world.ids["a"] + world.ids["b"]),
        world.ids["b"],
    ]
    assert world.hub.position == last[-1]
    assert world.hub.drops["hole"] == 1, "the next messages of the channels are no holes"


def test_rounds_under_way_come_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidewire.hub.hub.SLICE", 2)
    subscribers = [world.subscribe("a") for _ in range(5)]
    world.settle()
    world.publish("a")
    world.turn()
    assert sorted(len(s.ids) for s in subscribers) == [0, 0, 0, 1, 1]
    (second,) = world.publish("a")
    lost = world.publish_elsewhere("a", "a")
    broken(world, second, lost[-1])
    world.publish("a")
    world.check_end()
    assert all(s.ids == world.ids["a"] for s in subscribers)


def test_a_slow_subscriber_reads_on_from_where_it_is(world: World) -> None:
    subscriber = world.subscribe("a")
    world.publish("a")
    world.settle()
    subscriber.congest()
    world.publish("a", "a")
    world.turn(3)
    lost = world.publish_elsewhere("a")
    broken(world, world.ids["a"][2], lost[-1])
    world.turn(3)
    world.check_end()
    assert subscriber.ids == world.ids["a"]


def test_memory_does_not_hide_it_from_who_comes_later(world: World) -> None:
    (first,) = world.publish("a")
    world.settle()
    lost = world.publish_elsewhere("a")
    broken(world, first, lost[-1])
    world.settle()
    assert world.subscribe("a", after=first).ids == lost
    assert world.hub.recent.head == lost[-1]
    assert world.hub.recent.newest(("a",)) is None


def test_who_knows_more_than_the_feed_brought_stays_there(world: World) -> None:
    """It has been served by another process, which was not cut off."""
    (first,) = world.publish("a")
    world.settle()
    lost = world.publish_elsewhere("a", "a")
    subscriber = world.subscribe("a", after=lost[0])
    assert subscriber.session.state is State.CATCHING_UP
    broken(world, first, lost[-1])
    world.check_end()
    assert subscriber.ids == lost[1:]


def seamed_world(make_world: MakeWorld) -> tuple[World, Seamed]:
    world = make_world(wrap=Seamed)
    engine = world.engine
    assert isinstance(engine, Seamed)
    return world, engine


def test_a_seam_is_told_to_all_once(make_world: MakeWorld) -> None:
    """The log has lost nothing that these have seen; but others may have seen more of it."""
    world, engine = seamed_world(make_world)
    subscribers = [world.subscribe("a"), world.subscribe("a", "b")]
    (first,) = world.publish("a")
    world.settle()
    seam = first + 10
    engine.seams.append(seam)
    world.now = (seam + 1) / 1_000_000
    broken(world, first, seam)
    world.settle()
    assert [sorted(s.gaps) for s in subscribers] == [
        [(seam, "a", "reset")],
        [(seam, "a", "reset"), (seam, "b", "reset")],
    ]
    world.publish("a", "b")
    world.check_end()
    assert [len(s.gaps) for s in subscribers] == [1, 2]
    assert subscribers[0].ids == world.ids["a"]


def test_what_came_instead_of_the_lost_is_read(make_world: MakeWorld) -> None:
    """This process was fed more than the log has now, and others wrote on without it."""
    world, engine = seamed_world(make_world)
    subscriber = world.subscribe("a")
    (common,) = world.publish("a")
    world.settle()
    (gone,) = world.publish("a")
    world.settle()
    assert subscriber.ids == [common, gone]
    world.log._channels["a"].window.drop_upto(gone)  # the log lost it
    world.ids["a"].remove(gone)
    new = world.publish_elsewhere("a", "a")
    seam = new[-1] + 10
    engine.seams.append(seam)
    world.now = (seam + 1) / 1_000_000
    broken(world, common, seam)
    subscriber.at["a"] = common
    world.settle()
    world.publish("a")
    world.settle()
    assert subscriber.ids == [common, gone, *world.ids["a"][1:]]
    assert subscriber.gaps == [(seam, "a", "reset")]


def test_listeners_hear_what_was_missed_and_then_what_comes(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidewire.hub.listeners.RETRY_SECONDS", 0)
    world = make_world(held=True)
    engine = world.engine
    assert isinstance(engine, HeldEngine)
    heard: list[int] = []

    def hear(message: Message) -> None:
        heard.append(message.id)

    world.hub.listen("!nodes", hear)
    (first,) = world.publish("!nodes")
    world.turn(2)
    lost = world.publish_elsewhere("!nodes", "a", "!nodes")
    broken(world, first, lost[-1])
    world.until(lambda: engine.waiting)
    last = world.publish("!nodes")
    world.turn(3)
    assert heard == [first]
    engine.fail()
    world.until(lambda: engine.waiting)
    engine.let_go()
    world.until(lambda: len(heard) == 4)
    assert heard == [first, lost[0], lost[2], *last]
    world.publish("!nodes")
    world.turn(2)
    assert len(heard) == 5


def test_listeners_are_told_what_they_can_no_longer_hear(world: World) -> None:
    missed: list[str] = []

    async def load() -> None:
        missed.append("access")

    world.hub.listen("!access", lambda _: None, load)
    world.hub.listen("!nodes", lambda _: None)
    (first,) = world.publish("!access")
    world.turn(2)
    world.publish_elsewhere("!access", "!nodes")
    for channel in ("!access", "!nodes"):
        world.do(world.log.purge(channel, forget=False))
    broken(world, first, world.do(world.log.head()))
    world.until(lambda: missed)
    assert missed == ["access"]


def test_another_log_begins_anew(make_world: MakeWorld) -> None:
    world, engine = seamed_world(make_world)
    subscriber = world.subscribe("a")
    world.publish("a")
    world.settle()
    kept = world.ids["a"]
    engine.epoch = "other"
    subscriber.at["a"] = 0
    broken(world, 0, world.last)
    world.settle()
    assert subscriber.gaps == [(0, "a", "reset")]
    assert subscriber.ids == kept * 2
    assert world.hub.cursor(7) == "other-7"
