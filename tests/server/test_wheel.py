"""The wheel of timers, on a clock that the test moves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.fake_loop import FakeLoop
from tidewire.server.wheel import TICK, Wheel

if TYPE_CHECKING:
    from collections.abc import Callable


class Item:
    """An entry that writes down when it was called, and does something then."""

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        self.tick = 0
        self.calls: list[float] = []
        self._then = then

    def on_timer(self, now: float) -> None:
        self.calls.append(now)
        if self._then is not None:
            self._then()


@pytest.fixture
def loop() -> FakeLoop:
    """A loop whose clock stands still unless it is moved."""
    return FakeLoop()


@pytest.fixture
def wheel(loop: FakeLoop) -> Wheel:
    """A wheel on that loop."""
    return Wheel(loop.as_loop)


@pytest.mark.parametrize("delay", [0, 0.01, 0.1, 0.15, 1, 59.99, 3600])
def test_an_entry_is_due_once_never_early_and_hardly_late(
    loop: FakeLoop, wheel: Wheel, delay: float
) -> None:
    item = Item()
    begin = loop.now
    wheel.set(item, delay)
    loop.advance(delay + 3 * TICK)
    assert len(item.calls) == 1
    assert delay <= item.calls[0] - begin <= delay + 2 * TICK
    loop.advance(4_000)
    assert len(item.calls) == 1


def test_setting_again_moves_an_entry(loop: FakeLoop, wheel: Wheel) -> None:
    later, sooner = Item(), Item()
    wheel.set(later, 1)
    wheel.set(sooner, 9)
    loop.advance(0.5)
    begin = loop.now
    wheel.set(later, 5)
    wheel.set(sooner, 1)
    loop.advance(20)
    assert [round(call - begin) for call in later.calls + sooner.calls] == [5, 1]


def test_a_cleared_entry_is_not_called(loop: FakeLoop, wheel: Wheel) -> None:
    item, other = Item(), Item()
    wheel.set(item, 1)
    wheel.set(other, 1)
    wheel.clear(item)
    wheel.clear(item)
    loop.advance(2)
    assert (len(item.calls), len(other.calls)) == (0, 1)
    wheel.set(item, 1)  # and can be set again
    loop.advance(2)
    assert len(item.calls) == 1


def test_an_entry_may_set_itself_again(loop: FakeLoop, wheel: Wheel) -> None:
    item = Item(lambda: wheel.set(item, 1))
    wheel.set(item, 1)
    loop.advance(10.05)
    assert 8 <= len(item.calls) <= 10
    gaps = [b - a for a, b in zip(item.calls, item.calls[1:], strict=False)]
    assert all(1 <= gap + 1e-6 <= 1 + 2 * TICK for gap in gaps)


def test_an_entry_set_at_once_from_a_timer_waits_for_the_next_turn(
    loop: FakeLoop, wheel: Wheel
) -> None:
    item = Item(lambda: wheel.set(item, 0))
    wheel.set(item, 0)
    loop.advance(TICK * 10)
    assert 8 <= len(item.calls) <= 10


def test_one_entry_may_clear_or_move_another_that_is_due_with_it(
    loop: FakeLoop, wheel: Wheel
) -> None:
    def interfere() -> None:
        wheel.clear(cleared)
        wheel.set(moved, 5)

    first, cleared, moved = Item(interfere), Item(), Item()
    begin = loop.now
    for item in (first, cleared, moved):
        wheel.set(item, 1)
    loop.advance(3)
    assert (len(first.calls), cleared.calls, moved.calls) == (1, [], [])
    loop.advance(10)
    assert cleared.calls == []
    assert [round(call - begin) for call in moved.calls] == [6]


def test_a_failure_does_not_stop_the_others(
    loop: FakeLoop, wheel: Wheel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("this one fails")

    items = [Item(), Item(fail), Item()]
    for item in items:
        wheel.set(item, 1)
    wheel.set(last := Item(), 2)
    with caplog.at_level(logging.ERROR):
        loop.advance(5)
    assert [len(item.calls) for item in [*items, last]] == [1, 1, 1, 1]
    assert "this one fails" in caplog.text


def test_a_late_turn_calls_all_that_became_due(loop: FakeLoop, wheel: Wheel) -> None:
    items = [Item() for _ in range(10)]
    for n, item in enumerate(items):
        wheel.set(item, n / 10)
    loop.advance(2, late=0.9)
    assert [len(item.calls) for item in items] == [1] * 10


def test_after_a_standstill_what_has_come_is_read_before_anything_is_due(
    loop: FakeLoop, wheel: Wheel
) -> None:
    item = Item()
    wheel.set(item, 10)
    loop.advance(8)
    loop.now += 20  # in which the process does not run: its timers are called first
    loop.advance(0)
    assert item.calls == []
    loop.call_soon(lambda: wheel.clear(item))  # its answer was there
    loop.advance(3)
    assert item.calls == []


def test_a_loop_that_is_always_late_puts_nothing_off_for_good(loop: FakeLoop, wheel: Wheel) -> None:
    items = [Item() for _ in range(10)]
    for n, item in enumerate(items):
        wheel.set(item, n)
    loop.advance(20, late=3)
    assert [len(item.calls) for item in items] == [1] * 10


def test_an_empty_wheel_stands_still(loop: FakeLoop, wheel: Wheel) -> None:
    assert loop.idle()
    item = Item()
    wheel.set(item, 1)
    assert not loop.idle()
    loop.advance(2)
    assert loop.idle()
    loop.advance(1_000)
    begin = loop.now
    wheel.set(item, 1)  # after a long rest too
    loop.advance(2)
    assert 1 <= item.calls[-1] - begin <= 1 + 2 * TICK


def test_stopping_forgets_every_entry(loop: FakeLoop, wheel: Wheel) -> None:
    items = [Item(wheel.stop), Item()]
    wheel.set(items[0], 1)
    wheel.set(items[1], 2)
    loop.advance(5)
    assert [len(item.calls) for item in items] == [1, 0]
    assert loop.idle()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 4), st.floats(0, 3)),
        st.tuples(st.just("clear"), st.integers(0, 4), st.just(0.0)),
        st.tuples(st.just("advance"), st.just(0), st.floats(0, 2)),
    ),
    max_size=30,
)


@given(STEPS, st.sampled_from([0.0, 0.03, 0.5]))
@settings(max_examples=200)
def test_any_sequence_calls_each_entry_when_it_was_last_set_to(
    steps: list[tuple[str, int, float]], late: float
) -> None:
    loop = FakeLoop()
    wheel = Wheel(loop.as_loop)
    items = [Item() for _ in range(5)]
    due: dict[int, float] = {}
    for what, which, seconds in [*steps, ("advance", 0, 10.0)]:
        item = items[which]
        if what == "set":
            wheel.set(item, seconds)
            due[which] = loop.now + seconds
        elif what == "clear":
            wheel.clear(item)
            due.pop(which, None)
        else:
            loop.advance(seconds, late=late)
            for n, expected in list(due.items()):
                calls = items[n].calls
                if calls:
                    assert len(calls) == 1
                    # A turn that began late counts its tick from there.
                    assert 0 <= calls.pop() - expected + 1e-6 <= 2 * TICK + 2 * late + 1e-5
                    del due[n]
                else:
                    assert expected + 2 * TICK + 2 * late > loop.now - 1e-6, "it was not called"
            assert not any(item.calls for item in items), "called although nothing was due"
    assert not due
