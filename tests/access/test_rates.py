"""Token buckets, by a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.access.rates import Bucket, Buckets, Rate, rate_of

TEN = Rate(10.0)  # and 20 at once


def takes(bucket: Bucket, rate: Rate, now: float, count: int) -> int:
    """How many of *count* single tokens are there."""
    return sum(not bucket.take(rate, now) for _ in range(count))


def test_a_burst_and_not_one_more() -> None:
    bucket = Bucket()
    assert takes(bucket, TEN, 100.0, 20) == 20
    assert bucket.take(TEN, 100.0) == pytest.approx(0.1)


def test_it_fills_with_time() -> None:
    bucket = Bucket()
    takes(bucket, TEN, 100.0, 20)
    assert bucket.take(TEN, 100.05) == pytest.approx(0.05)
    assert takes(bucket, TEN, 100.1, 2) == 1
    assert takes(bucket, TEN, 101.1, 20) == 10


def test_it_never_holds_more_than_a_burst() -> None:
    bucket = Bucket()
    takes(bucket, TEN, 100.0, 20)
    assert takes(bucket, TEN, 100_000.0, 100) == 20


def test_what_is_refused_costs_nothing() -> None:
    bucket = Bucket()
    takes(bucket, TEN, 100.0, 1_000)
    assert takes(bucket, TEN, 100.5, 10) == 5


def test_more_than_a_burst_is_taken_from_a_full_one_on_credit() -> None:
    bucket = Bucket()
    assert not bucket.take(TEN, 100.0, 35)
    assert bucket.debt(TEN, 100.0) == pytest.approx(1.5)
    assert bucket.take(TEN, 101.0) == pytest.approx(0.6)
    assert takes(bucket, TEN, 102.0, 10) == 5
    assert bucket.take(TEN, 102.0, 35)  # this one is not full


def test_what_is_charged_is_taken_in_any_case() -> None:
    bucket = Bucket()
    bucket.charge(TEN, 100.0, 50)
    assert bucket.debt(TEN, 100.0) == pytest.approx(3.0)
    assert bucket.debt(TEN, 103.0) == 0.0
    assert bucket.take(TEN, 103.0)
    assert not bucket.take(TEN, 103.1)


@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0, 7.0, 50.0, 999.0])
@pytest.mark.parametrize("now", [0.0, 3.7, 12_345.6, 8_000_000.1])
def test_sums_of_fractions_lose_nothing(rate: float, now: float) -> None:
    bucket = Bucket()
    burst = max(int(2 * rate), 1)
    assert takes(bucket, Rate(rate), now, burst + 1) == burst


@given(
    st.floats(0.1, 1_000),
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=50),
)
def test_the_average_is_kept(per_second: float, wishes: list[tuple[float, int]]) -> None:
    rate, bucket, now, taken = Rate(per_second), Bucket(), 1_000.0, 0
    for pause, count in wishes:
        now += pause
        taken += count * (not bucket.take(rate, now, count))
    burst = max(2 * per_second, 50)  # a wish above the burst is on credit
    assert taken <= burst + per_second * (now - 1_000.0) + 1e-3


def test_no_rate_is_no_limit() -> None:
    assert rate_of(0) is None
    assert rate_of(0.5) == Rate(0.5)


# By key


def test_each_key_has_its_own() -> None:
    buckets = Buckets()
    assert [not buckets.take("a", TEN, 100.0) for _ in range(21)] == [True] * 20 + [False]
    assert not buckets.take("b", TEN, 100.0)
    buckets.charge("b", TEN, 100.0, 100)
    assert buckets.take("b", TEN, 100.0) == pytest.approx(8.2)


def test_full_ones_are_forgotten() -> None:
    buckets = Buckets()
    for number in range(1_000):
        buckets.take(number, TEN, 100.0 + number)
    assert len(buckets) <= 2


def test_only_so_many_are_kept_and_those_that_are_used() -> None:
    buckets = Buckets(most=100)
    for number in range(1_000):
        buckets.take("busy", TEN, 100.0, 0.02)
        buckets.take(number, TEN, 100.0)
        assert len(buckets) <= 100
    assert buckets.take("busy", TEN, 100.0)
    assert not buckets.take(0, TEN, 100.0, 20)  # forgotten: full again


def test_nothing_may_be_taken_of_nothing() -> None:
    buckets = Buckets()
    assert not buckets.take("a", TEN, 100.0, 0)
    assert len(buckets) == 0
