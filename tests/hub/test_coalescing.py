"""Coalescing: what waits, how long, and who takes it along."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.hub.world import Plain, World
from tidewire.hub.audience import Audience
from tidewire.hub.coalescing import MOST_BYTES, Coalescing
from tidewire.model import Flow, Message, Namespaces, Retention

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOWS = {"room": Flow(coalesce=0.05), "slow": Flow(coalesce=1.0)}


class Clock:
    """The loop's time: only the test moves it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        patch.setattr(loop, "time", lambda: self.now)


@pytest.fixture
def clock(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(loop, monkeypatch)


@pytest.fixture
def world(loop: asyncio.AbstractEventLoop, clock: Clock) -> Iterator[World]:
    world = World(loop, flows=FLOWS)
    yield world
    world.end()


def test_what_comes_within_the_time_is_one_write(world: World, clock: Clock) -> None:
    subscribers = [world.subscribe("room:1") for _ in range(3)]
    for _ in range(4):
        world.publish("room:1")
        world.turn(3)
        clock.now += 0.01
    assert [s.ids for s in subscribers] == [[], [], []]
    clock.now += 0.01
    world.turn(3)
    assert [s.ids for s in subscribers] == [world.ids["room:1"]] * 3
    assert [s.writes for s in subscribers] == [2, 2, 2]  # ready, and the four together


def test_a_channel_that_does_not_wait_takes_along_what_is_held(world: World) -> None:
    subscriber = world.subscribe("room:1", "b")
    world.publish("room:1")
    world.turn(3)
    assert subscriber.ids == []
    world.publish("b")
    world.turn(3)
    assert subscriber.ids == [*world.ids["room:1"], *world.ids["b"]]


def test_the_shorter_time_counts(world: World, clock: Clock) -> None:
    subscriber = world.subscribe("room:1", "slow:1")
    world.publish("slow:1", "room:1")
    world.turn(3)
    clock.now += 0.06
    world.turn(3)
    assert len(subscriber.ids) == 2


def test_others_do_not_wait(world: World) -> None:
    waiting, other = world.subscribe("room:1", "b"), world.subscribe("b")
    world.publish("room:1")
    world.publish("b")
    world.turn(3)
    assert other.ids == world.ids["b"]
    assert len(waiting.ids) == 2


def test_who_comes_meanwhile_gets_nothing_twice(world: World, clock: Clock) -> None:
    first = world.subscribe("room:1")
    world.publish("room:1")
    world.turn(3)
    second = world.subscribe("room:1", after=0)
    world.publish("room:1")
    world.turn(3)
    clock.now += 1
    world.turn(3)
    world.check_end()
    assert first.ids == second.ids == world.ids["room:1"]


def test_the_cursor_is_before_what_is_held(world: World, clock: Clock) -> None:
    subscriber = world.subscribe("room:1")
    before = subscriber.position
    world.publish("room:1")
    world.turn(3)
    assert subscriber.position == before
    clock.now += 1
    world.turn(3)
    assert subscriber.position == world.last


def test_who_leaves_meanwhile_reads_it_from_the_log(world: World, clock: Clock) -> None:
    subscriber = world.subscribe("room:1")
    world.publish("room:1")
    world.turn(3)
    subscriber.follow("b", world.last)
    world.turn(3)
    clock.now += 1
    world.check_end()
    assert subscriber.ids == world.ids["room:1"]


def test_when_the_last_one_goes_nothing_is_written(world: World, clock: Clock) -> None:
    subscriber = world.subscribe("room:1")
    world.publish("room:1")
    world.turn(3)
    subscriber.close()
    clock.now += 1
    world.turn(3)
    world.check_end()
    assert subscriber.ids == []


def test_more_than_fits_is_written_at_once(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    namespaces = Namespaces(Retention(1, 1), flows=FLOWS)
    coalescing = Coalescing(namespaces, loop, lambda audience: None)
    audience = Audience(frozenset(["room:1"]), Plain())
    half = b"1" * (MOST_BYTES // 2 + 1)
    messages = [Message("e", id, "room:1", id, 0, half) for id in (1, 2)]
    assert coalescing.share(audience, messages[:1], 0) == []
    assert coalescing.share(audience, messages[1:], 1) == messages
    coalescing.stop()


def test_of_two_audiences_each_is_called_in_its_time(
    loop: asyncio.AbstractEventLoop, clock: Clock
) -> None:
    called: list[Audience] = []
    coalescing = Coalescing(Namespaces(Retention(1, 1), flows=FLOWS), loop, called.append)
    slow, quick = (Audience(frozenset([name]), Plain()) for name in ("slow:1", "room:1"))
    for audience, name in ((slow, "slow:1"), (quick, "room:1")):
        assert coalescing.share(audience, [Message("e", 1, name, 1, 0, b"1")], 0) == []
    for seconds, expected in ((0.06, [quick]), (0.5, [quick]), (0.5, [quick, slow])):
        clock.now += seconds
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert called == expected
