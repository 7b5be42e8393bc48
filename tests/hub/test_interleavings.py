"""Order and exactly-once, whatever happens in whichever order.

Every short schedule is tried, and long ones at random. Slices, pages and memory are made small, so
that a few messages and subscribers already meet all the states that thousands would.
"""

from __future__ import annotations

import asyncio
from itertools import count, product
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.hub.world import HeldEngine, Plain, Subscriber, World
from tidewire.hub import State
from tidewire.model import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHANNELS = ("a", "b", "at-once:c")


def small(patch: pytest.MonkeyPatch) -> None:
    """Slices of two deliveries, pages of three messages, rounds of four, retries at once."""
    patch.setattr("tidewire.hub.hub.SLICE", 2)
    patch.setattr("tidewire.hub.hub.ROUND_BYTES", 4)
    patch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 3)
    patch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 3)
    patch.setattr("tidewire.hub.conflation.MOST_KEPT", 2)
    patch.setattr("tidewire.hub.hub.RETRY_SECONDS", 0)


def follow_again(world: World, subscriber: Subscriber) -> None:
    """Follow a second channel from its beginning; leave it when it is followed already."""
    if "b" in subscriber.at:
        subscriber.unfollow("b")
    else:
        subscriber.follow("b", 0)


def congest_or_drain(subscriber: Subscriber) -> None:
    """Take no more; or all again."""
    if subscriber.takes:
        subscriber.congest()
    else:
        subscriber.drain()


STEPS: dict[str, Callable[[World, Subscriber], object]] = {
    "publish a": lambda world, _: world.publish("a"),
    "publish batch": lambda world, _: world.publish("b", "a", "b", "a", "a"),
    "turn": lambda world, _: world.turn(),
    "congest or drain": lambda _, subscriber: congest_or_drain(subscriber),
    "follow or unfollow b": follow_again,
    "let a read go on": lambda world, _: let_go(world),
}


def let_go(world: World) -> None:
    """Let the oldest read of the log go on."""
    assert isinstance(world.engine, HeldEngine)
    if world.engine.waiting:
        world.engine.let_go()


@pytest.mark.parametrize("recent", [10_000, 2], ids=["from memory", "from the log"])
@pytest.mark.parametrize("size", [10_000, 3], ids=["all kept", "three kept"])
def test_every_short_schedule(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, recent: int, size: int
) -> None:
    small(monkeypatch)
    for schedule in product(STEPS, repeat=4):
        world = World(loop, recent=recent, size=size, wrap=HeldEngine)
        try:
            world.publish("a", "b", "a", "b")
            world.settle()
            # Three of one audience and one of another: the slice of two ends among them.
            others = [world.subscribe("a") for _ in range(2)]
            subscriber = world.subscribe("a")
            others.append(world.subscribe("b", "a"))
            world.settle()
            for step in schedule:
                STEPS[step](world, subscriber)
                world.check()
            assert isinstance(world.engine, HeldEngine)
            world.engine.holds = False
            while world.engine.waiting:
                world.engine.let_go()
            world.check_end()
        except AssertionError as error:
            error.add_note(" → ".join(schedule))
            raise
        finally:
            world.end()


class Schedules(RuleBasedStateMachine):
    """Everything that can happen to a hub, in any order.

    The model is in the subscribers: the list of what was published, and how far each has it.
    """

    size = 10_000
    recent = 4
    flows: ClassVar[Mapping[str, Flow] | None] = None
    traces = False

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        small(self.patch)
        self.loop = asyncio.new_event_loop()
        self.world = World(
            self.loop, recent=self.recent, size=self.size, wrap=HeldEngine, flows=self.flows
        )
        assert isinstance(self.world.engine, HeldEngine)
        self.engine = self.world.engine
        self.engine.traces = self.traces
        self.engine.holds = False
        self.forms = [Plain(), Plain()]

    @property
    def subscribers(self) -> list[Subscriber]:
        return [s for s in self.world.subscribers if s.session.state is not State.CLOSED]

    def pick(self, index: int) -> Subscriber:
        """One of the subscribers, by any number."""
        return self.subscribers[index % len(self.subscribers)]

    @rule(channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=6))
    def publish(self, channels: list[str]) -> None:
        self.world.publish(*channels)

    @rule(count=st.integers(1, 3))
    def turn(self, count: int) -> None:
        self.world.turn(count)

    @rule(
        channels=st.sets(st.sampled_from(CHANNELS), min_size=1).map(sorted),
        form=st.integers(0, 1),
        back=st.none() | st.integers(0, 12),
        policy=st.sampled_from([None, "latest", "disconnect"]),
    )
    @precondition(lambda self: len(self.world.subscribers) < 12 and not self.engine.holds)
    def join(self, channels: list[str], form: int, back: int | None, policy: str | None) -> None:
        after = None if back is None else max(self.world.hub.recent.head - back, 0)
        self.world.subscribe(*channels, after=after, form=self.forms[form], policy=policy)

    @rule(index=st.integers(0, 100))
    @precondition(lambda self: self.subscribers and not self.engine.holds)
    def resume_elsewhere(self, index: int) -> None:
        """A client that lost its connection comes back with its cursor, and has the rest."""
        old = self.pick(index)
        if not old.at:
            return
        position = old.position
        new = self.world.subscribe(*old.at, after=position, form=old.session.form)
        old.close()
        assert all(at >= position for at in new.at.values())

    @rule(index=st.integers(0, 100))
    @precondition(lambda self: self.subscribers)
    def congest(self, index: int) -> None:
        self.pick(index).congest()

    @rule(index=st.integers(0, 100))
    @precondition(lambda self: self.subscribers)
    def drain(self, index: int) -> None:
        self.pick(index).drain()

    @rule(index=st.integers(0, 100))
    @precondition(lambda self: self.subscribers)
    def close(self, index: int) -> None:
        self.pick(index).close()

    @rule(index=st.integers(0, 100), channel=st.sampled_from(CHANNELS), back=st.integers(0, 12))
    @precondition(lambda self: self.subscribers)
    def follow(self, index: int, channel: str, back: int) -> None:
        subscriber = self.pick(index)
        head = self.world.hub.recent.head
        subscriber.follow(channel, max(head - back, 0))

    @rule(index=st.integers(0, 100), channel=st.sampled_from(CHANNELS))
    @precondition(lambda self: self.subscribers)
    def follow_now(self, index: int, channel: str) -> None:
        self.pick(index).follow_now(channel)

    @rule(index=st.integers(0, 100), channel=st.sampled_from(CHANNELS))
    @precondition(lambda self: self.subscribers)
    def unfollow(self, index: int, channel: str) -> None:
        if channel in self.pick(index).at:
            self.pick(index).unfollow(channel)

    @rule()
    def hold_reads(self) -> None:
        self.engine.holds = True

    @rule()
    @precondition(lambda self: self.engine.waiting)
    def let_a_read_go_on(self) -> None:
        self.engine.let_go()

    @rule()
    @precondition(lambda self: self.engine.waiting)
    def let_a_read_fail(self) -> None:
        self.engine.fail()

    @rule()
    def let_all_reads_go_on(self) -> None:
        self.engine.holds = False
        while self.engine.waiting:
            self.engine.let_go()

    @rule()
    def memory_forgets(self) -> None:
        """Nothing but the log knows the past any more."""
        recent = self.world.hub.recent
        recent.floor = recent.head
        while recent._order:
            recent._drop_oldest()
        recent._newest.clear()

    @invariant()
    def nothing_is_lost_or_repeated(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            self.let_all_reads_go_on()
            self.world.check_end()
        finally:
            self.world.end()
            self.loop.close()
            self.patch.undo()


class SchedulesOfAShortHistory(Schedules):
    """The same, when the log keeps but five messages of each channel."""

    size = 5


class SchedulesOfTraces(Schedules):
    """The same, when the engine brings whole only what is asked for, and that is soon forgotten."""

    traces = True

    def __init__(self) -> None:
        super().__init__()
        self.patch.setattr("tidewire.hub.interest.KEPT_SECONDS", -1)


class SchedulesOfCoalescing(Schedules):
    """The same, when two of the channels wait for what comes next, for some turns of the loop."""

    flows: ClassVar[Mapping[str, Flow] | None] = {"": Flow(coalesce=0.005)}

    def __init__(self) -> None:
        super().__init__()
        ticks = count()
        self.patch.setattr(self.loop, "time", lambda: next(ticks) * 0.001)


class SchedulesOfBreaks(Schedules):
    """The same, when the feed breaks now and then and goes on further up."""

    @rule(channels=st.lists(st.sampled_from(CHANNELS), max_size=6))
    def the_feed_breaks(self, channels: list[str]) -> None:
        after = self.world.last
        if channels:
            self.world.publish_elsewhere(*channels)
        assert self.engine.broken is not None
        self.engine.broken(after, self.world.last)


class SchedulesOfBreaksAndCoalescing(SchedulesOfBreaks, SchedulesOfCoalescing):
    """All of that."""


@pytest.fixture(autouse=True)
def no_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """One session a turn, and pages are shown for good: the same examples do the same each time."""
    monkeypatch.setattr("tidewire.hub.hub.CATCH_UP_SECONDS", 0.0)
    monkeypatch.setattr("tidewire.hub.pages.SHOWN_SECONDS", 1_000.0)


BOUNDS = settings(max_examples=250, stateful_step_count=40)

TestSchedules = Schedules.TestCase
TestSchedules.settings = BOUNDS
TestSchedulesOfAShortHistory = SchedulesOfAShortHistory.TestCase
TestSchedulesOfAShortHistory.settings = BOUNDS
TestSchedulesOfTraces = SchedulesOfTraces.TestCase
TestSchedulesOfTraces.settings = BOUNDS
TestSchedulesOfCoalescing = SchedulesOfCoalescing.TestCase
TestSchedulesOfCoalescing.settings = BOUNDS
TestSchedulesOfBreaks = SchedulesOfBreaks.TestCase
TestSchedulesOfBreaks.settings = BOUNDS
TestSchedulesOfBreaksAndCoalescing = SchedulesOfBreaksAndCoalescing.TestCase
TestSchedulesOfBreaksAndCoalescing.settings = BOUNDS


def test_what_was_gone_before_is_nothing_to_who_starts_behind_it() -> None:
    """Found by the above, in one run of many."""
    state = SchedulesOfAShortHistory()
    state.publish(channels=["a"] * 5)
    state.turn(count=1)
    state.publish(channels=["b"] * 6)
    state.join(back=5, channels=["b"], form=0, policy=None)
    state.follow(back=0, channel="b", index=0)
    state.teardown()
