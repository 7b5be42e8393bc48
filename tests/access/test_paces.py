"""How fast one client may send, and when it is given up."""

from __future__ import annotations

import pytest

from tidewire.access.caller import OPEN, Caller, CallerLimits
from tidewire.access.paces import UNPACED, Meter, Meters, Paces, paces_of
from tidewire.access.rates import Rate
from tidewire.model import TooManyRequests

PACES = paces_of(10, 1_000)


def test_settings_of_nothing_are_no_pace() -> None:
    assert paces_of(0, 0) is UNPACED
    assert paces_of(5, 0) == Paces(Rate(5.0), None)
    assert paces_of(0, 5) == Paces(None, Rate(5.0))


def test_who_has_which_pace() -> None:
    assert PACES.of(OPEN) is PACES
    assert PACES.of(Caller("anonymous")) is PACES
    assert PACES.of(Caller("user", "42")) is PACES
    assert PACES.of(Caller("key", "backend")) is UNPACED


def test_a_token_may_say_another() -> None:
    slow = Caller("user", "42", limits=CallerLimits(messages=1))
    assert PACES.of(slow) == Paces(Rate(1.0), Rate(1_000.0))
    free = Caller("user", "42", limits=CallerLimits(messages=0, bytes=0))
    assert PACES.of(free) == Paces(None, None)
    assert UNPACED.of(slow) == Paces(Rate(1.0), None)


def refusals(meter: Meter, paces: Paces, now: float, sizes: list[int]) -> list[str | None]:
    """What becomes of messages of these sizes."""
    answers = [meter.take(paces, now, size) for size in sizes]
    return [None if answer is None else answer.refusal for answer in answers]


def test_messages_beyond_the_pace_are_refused() -> None:
    assert refusals(Meter(), PACES, 5.0, [1] * 21) == [None] * 20 + ["message_rate"]


def test_bytes_beyond_the_pace_are_refused() -> None:
    assert refusals(Meter(), PACES, 5.0, [500] * 5) == [None] * 4 + ["byte_rate"]
    assert refusals(Meter(), PACES, 5.0, [10_000, 1]) == [None, "byte_rate"]


def test_a_refusal_says_the_pace_and_how_long_to_wait() -> None:
    meter = Meter()
    refusals(meter, PACES, 5.0, [1] * 20)
    answer = meter.take(PACES, 5.0, 1)
    assert answer is not None
    assert answer.detail == "send at most 10 messages a second, 20 at once: wait 0.1 s"
    assert answer.code == "too_many_requests"
    assert answer.retry_after == pytest.approx(0.1)


def test_who_sends_a_little_too_much_is_never_given_up() -> None:
    meter = Meter()
    refused = 0
    for number in range(10_000):  # 19 a second, of which 10 are taken
        now = number / 19
        refused += meter.take(PACES, now, 1) is not None
        assert not meter.is_given_up(now)
    assert refused > 4_000


def test_who_goes_on_is_given_up() -> None:
    meter = Meter()
    refusals(meter, PACES, 5.0, [1] * (20 + 50))
    assert not meter.is_given_up(5.0)
    refusals(meter, PACES, 5.0, [1])
    assert meter.is_given_up(5.0)
    assert not meter.is_given_up(6.0)


def test_one_large_message_is_one_mistake() -> None:
    meter = Meter()
    assert refusals(meter, PACES, 5.0, [2_000] + [10_000_000] * 2)[1:] == ["byte_rate"] * 2
    assert not meter.is_given_up(5.0)
    refusals(meter, PACES, 5.0, [10_000_000])
    assert meter.is_given_up(5.0)


def test_what_is_charged_has_to_be_made_up_for() -> None:
    meter = Meter()
    meter.charge(PACES, 5.0, 50, 0)
    assert meter.debt(PACES, 5.0) == pytest.approx(3.0)
    meter.charge(PACES, 5.0, 0, 10_000)
    assert meter.debt(PACES, 5.0) == pytest.approx(8.0)
    assert meter.debt(PACES, 13.0) == 0
    assert meter.debt(UNPACED, 5.0) == 0


# By key


def test_each_caller_has_its_own() -> None:
    meters = Meters()
    for _ in range(20):
        meters.check("a", PACES, 5.0, 1)
    with pytest.raises(TooManyRequests) as caught:
        meters.check("a", PACES, 5.0, 1)
    assert caught.value.refusal == "publish_rate"
    meters.check("b", PACES, 5.0, 1)


def test_the_messages_of_a_batch_count() -> None:
    meters = Meters()
    meters.check("a", PACES, 5.0, 100)
    meters.charge("a", PACES, 5.0, 99)
    with pytest.raises(TooManyRequests) as caught:
        meters.check("a", PACES, 5.0, 100)
    assert caught.value.retry_after == pytest.approx(8.1)


def test_bytes_of_a_caller() -> None:
    meters = Meters()
    meters.check("a", paces_of(0, 1_000), 5.0, 2_000)
    with pytest.raises(TooManyRequests, match="send at most 1000 bytes a second"):
        meters.check("a", paces_of(0, 1_000), 5.0, 1)
