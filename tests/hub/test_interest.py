"""What nobody here wants may come as a trace; who wants it after all reads the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.world import HeldEngine
from tidewire.hub.interest import KEPT_SECONDS, MOST, Interest

if TYPE_CHECKING:
    from tests.hub.conftest import MakeWorld
    from tests.hub.world import World


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    world = make_world(held=True)
    engine = engine_of(world)
    engine.holds = False
    engine.traces = True
    return world


def engine_of(world: World) -> HeldEngine:
    assert isinstance(world.engine, HeldEngine)
    return world.engine


def test_what_is_followed_or_was_asked_for_lately_is_of_use() -> None:
    now = 0.0
    followed = {"a": 1}
    interest = Interest(followed, clock=lambda: now)
    assert "a" in interest
    assert "b" not in interest
    interest.note(["b"])
    followed.clear()
    assert "a" not in interest
    now = KEPT_SECONDS + 1
    interest.note(["c"])
    assert "b" in interest
    now += KEPT_SECONDS + 1
    interest.note(["c"])
    assert "b" not in interest
    assert "c" in interest


def test_what_is_noted_is_bounded() -> None:
    interest = Interest(clock=lambda: 0.0)
    for number in range(3 * MOST):
        interest.note([str(number)])
    assert str(3 * MOST - 1) in interest
    assert "0" not in interest
    assert len(interest._noted) + len(interest._before) <= 2 * MOST + 2


def test_what_is_followed_comes_whole_without_a_read(world: World) -> None:
    subscriber = world.subscribe("a")
    world.publish("a", "b", "a")
    world.check_end()
    assert subscriber.ids == world.ids["a"]
    assert engine_of(world).reads == []


def test_who_asks_for_the_past_of_a_traced_channel_reads_the_log(world: World) -> None:
    world.publish("a", "b", "a")
    world.turn(3)
    late = world.subscribe("a", after=world.ids["a"][0])
    assert late.ids == world.ids["a"][1:]
    assert engine_of(world).reads != []


def test_who_comes_between_the_feed_and_the_round_reads_what_came_as_a_trace(world: World) -> None:
    other = world.subscribe("a")
    world.publish("a", "b", "a")  # fed, with b traced, and not handed out yet
    late = world.subscribe("a", "b")
    assert late.live
    world.turn(3)
    world.check_end()
    assert late.ids == sorted(world.ids["a"] + world.ids["b"])
    assert other.ids == world.ids["a"]


def test_memory_knows_again_what_comes_after_the_trace(world: World) -> None:
    [trace] = world.publish("a")
    world.turn(3)
    recent = world.hub.recent
    assert recent.newest(("a",)) is not None
    assert recent.read({"a": trace - 1}, trace, 10, 1000) is None
    world.subscribe("a")
    [whole] = world.publish("a")
    world.turn(3)
    page = recent.read({"a": trace}, whole, 10, 1000)
    assert page is not None
    assert [message.id for message in page.messages] == [whole]


def test_a_trace_is_forgotten_with_its_message(make_world: MakeWorld) -> None:
    world = make_world(held=True, recent=2)
    engine_of(world).traces = True
    world.publish("a")
    world.publish("b", "b", "b")
    world.turn(3)
    assert world.hub.recent._traced.keys() == {"b"}
