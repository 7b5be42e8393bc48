"""Holes in the feed: what it lost is read from the log, or told as a gap; never left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.world import HeldEngine
from tidewire.hub.holes import Hole, Sequences
from tidewire.model import Message

if TYPE_CHECKING:
    from tests.hub.conftest import MakeWorld
    from tests.hub.world import World


def message(id: int, seq: int, channel: str = "a", gap: str | None = None) -> Message:
    return Message("e", id, channel, seq, 0, b"1", gap=gap)


def test_a_seq_that_is_not_the_next_one_is_a_hole() -> None:
    sequences = Sequences()
    assert sequences.holes([message(10, 7), message(11, 1, "b"), message(12, 8)]) == []
    assert sequences.holes([message(13, 2, "b"), message(14, 10), message(15, 11)]) == [
        Hole("a", 12, 14)
    ]
    assert sequences.holes([message(16, 12), message(17, 1)]) == [Hole("a", 16, 17)]


@pytest.mark.parametrize(("reason", "following"), [("expired", 8), ("reset", 1)])
def test_a_record_of_what_is_gone_is_no_hole(reason: str, following: int) -> None:
    sequences = Sequences()
    sequences.holes([message(10, 7)])
    assert sequences.holes([message(11, 0, gap=reason), message(12, following)]) == []
    assert sequences.holes([message(13, following + 2)]) == [Hole("a", 12, 13)]


def test_a_trace_stands_for_all_before_it() -> None:
    sequences = Sequences()
    trace = Message("e", 12, "a", 9, 0, b"")
    assert sequences.holes([message(10, 7), trace, message(13, 10)]) == []
    assert sequences.holes([message(14, 12)]) == [Hole("a", 13, 14)]


def test_of_channels_beyond_its_bound_nothing_is_known() -> None:
    sequences = Sequences(most=2)
    sequences.holes([message(10, 1, "a"), message(11, 1, "b"), message(12, 1, "c")])
    assert sequences.holes([message(13, 5, "a")]) == []
    assert sequences.holes([message(14, 5, "c")]) == [Hole("c", 12, 14)]


def test_live_subscribers_read_what_the_feed_lost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    subscribers = [world.subscribe("a"), world.subscribe("a"), world.subscribe("a", "b")]
    other = world.subscribe("b")
    world.publish("a", "b")
    world.settle()
    world.publish_elsewhere("a", "a")
    world.publish("a", "b", "a")
    world.turn()
    assert other.live
    world.check_end()
    assert [s.ids for s in subscribers[:2]] == [world.ids["a"]] * 2
    # Also in the order of the log, because nothing of another channel was handed out meanwhile.
    assert subscribers[2].ids == sorted(world.ids["a"] + world.ids["b"])
    assert other.ids == world.ids["b"]
    assert [record.getMessage() for record in caplog.records] == [
        "the feed has a hole in a: reading the log"
    ]
    assert world.hub.drops["hole"] == 1


def test_what_the_log_has_discarded_is_told(make_world: MakeWorld) -> None:
    world = make_world(size=2)
    subscriber = world.subscribe("a")
    first = world.publish("a")
    world.settle()
    lost = world.publish_elsewhere("a", "a", "a")
    last = world.publish("a")
    world.check_end()
    assert subscriber.ids == [*first, lost[2], *last]
    assert subscriber.gaps == [(lost[1], "a", "expired")]


def test_a_hole_that_is_found_late(world: World) -> None:
    """Other channels went on meanwhile, so the stream is past it: it comes as a backfill does."""
    subscriber = world.subscribe("a", "b")
    world.publish("a")
    world.settle()
    lost = world.publish_elsewhere("a")
    (b,) = world.publish("b")
    world.turn(3)
    assert subscriber.live
    last = world.publish("a")
    world.check_end()
    assert subscriber.ids[1:] == [b, *lost, *last]


def test_a_slow_subscriber_that_is_past_it_goes_back_too(world: World) -> None:
    subscriber = world.subscribe("a", "b")
    world.publish("a")
    world.settle()
    subscriber.congest()
    lost = world.publish_elsewhere("a")
    (b,) = world.publish("b")
    world.turn(3)
    assert subscriber.session in world.hub.behind
    last = world.publish("a")
    world.turn(3)
    assert subscriber.ids[1:] == [b]
    world.check_end()
    assert subscriber.ids[1:] == [b, *lost, *last]
    assert not world.hub.behind


def test_memory_does_not_hide_it_from_who_comes_later(world: World) -> None:
    (first,) = world.publish("a")
    world.settle()
    world.publish_elsewhere("a")
    world.publish("b", "a")
    world.settle()
    assert world.subscribe("a", after=first).ids == world.ids["a"][1:]


def test_a_round_that_is_under_way_is_finished_by_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some members have had its bytes and others not: each goes on from where it is."""
    monkeypatch.setattr("tidewire.hub.hub.SLICE", 2)
    subscribers = [world.subscribe("a") for _ in range(5)]
    world.settle()
    world.publish("a")
    world.turn()
    assert sorted(len(s.ids) for s in subscribers) == [0, 0, 0, 1, 1]
    world.publish_elsewhere("a")
    world.publish("a")
    world.check_end()
    assert all(s.ids == world.ids["a"] for s in subscribers)


def test_a_read_under_way_from_beyond_it_counts_for_nothing(make_world: MakeWorld) -> None:
    world = make_world(recent=0, held=True)
    engine = world.engine
    assert isinstance(engine, HeldEngine)
    engine.holds = False
    subscriber = world.subscribe("a", "b")
    world.publish("a", "b")
    world.settle()
    subscriber.congest()
    lost = world.publish_elsewhere("a")
    world.publish("b")
    world.turn(3)
    world.publish("b")
    world.turn(3)
    engine.holds = True
    subscriber.drain()
    world.until(lambda: engine.waiting)
    last = world.publish("a")
    world.until(lambda: len(engine.waiting) == 2)
    engine.holds = False
    while engine.waiting:
        engine.let_go()
    world.check_end()
    assert [id for id in subscriber.ids if id in world.ids["a"][1:]] == [*lost, *last]
