"""Attendees and their times."""

from __future__ import annotations

from itertools import islice

import pytest

from tidewire.hub.presence_records import Who
from tidewire.hub.presence_room import STEP, Attendee, Wheel


def attendee(until: float = 0.0) -> Attendee:
    one = Attendee("room", Who("c", "poll"))
    one.until = until
    return one


def test_it_is_there_while_it_is_held_or_has_time() -> None:
    one = attendee(until=10)
    assert one.is_there(9)
    assert not one.is_there(10)
    one.holds = 1
    assert one.is_there(100)


@pytest.mark.parametrize(
    ("absences", "seconds"),
    [
        ([], 120),  # nothing is known
        ([3], 9),
        ([0.01], 6),  # not less than the least
        ([60], 120),  # nor more than the most
        ([3, 30], 90),  # longer: at once
        ([30, 3], 49.5),  # shorter: bit by bit
    ],
)
def test_for_how_long_a_poller_may_be_away(absences: list[float], seconds: float) -> None:
    one = attendee()
    now = one.seen = 1_000.0
    for absence in absences:
        now += absence
        one.polled(now)
        one.seen = now
    assert one.leaves_in(6, 120) == pytest.approx(seconds)


def test_the_first_poll_tells_nothing() -> None:
    one = attendee()
    one.polled(1_000.0)
    assert one.away < 0


def test_the_wheel_is_not_early_and_a_step_late_at_most() -> None:
    wheel = Wheel()
    one = attendee(until=10.1)
    wheel.put(one)
    assert wheel
    assert list(wheel.due(10.0)) == []
    assert list(wheel.due(10.1 + STEP)) == [one]
    assert not wheel
    assert one.slot == 0


def test_who_has_more_time_now_is_looked_at_when_it_had_less() -> None:
    wheel = Wheel()
    one = attendee(until=10)
    wheel.put(one)
    one.until = 100
    wheel.put(one)
    assert list(wheel.due(11)) == [one]
    wheel.put(one)
    assert list(wheel.due(99)) == []
    assert list(wheel.due(101)) == [one]


def test_who_has_less_time_now_is_looked_at_sooner_and_once() -> None:
    wheel = Wheel()
    one = attendee(until=100)
    wheel.put(one)
    one.until = 10
    wheel.put(one)
    assert list(wheel.due(11)) == [one]
    assert list(wheel.due(101)) == []
    assert not wheel


def test_a_look_that_is_broken_off_loses_nobody() -> None:
    wheel = Wheel()
    some = [attendee(until=10 + n / 100) for n in range(100)]
    for one in some:
        wheel.put(one)
    seen = []
    while wheel:
        seen += list(islice(wheel.due(12), 7))
    assert set(seen) == set(some)
    assert len(seen) == 100
