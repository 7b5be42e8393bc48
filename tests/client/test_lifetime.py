"""How long a token says that it is good."""

from __future__ import annotations

import pytest

from tests.client.tokens import token_of
from tidewire.client.lifetime import Lifetime, lifetime_of

NOW = 50.0  # of a clock that never goes back
WALL = 1_800_000_000.0


def test_it_ends_when_it_says() -> None:
    life = lifetime_of(token_of(exp=WALL + 60), NOW, WALL)
    assert life == Lifetime(NOW, NOW + 60)
    assert not life.is_half_over(NOW + 29)
    assert life.is_half_over(NOW + 30)
    assert not life.is_over(NOW + 59)
    assert life.is_over(NOW + 60)


def test_one_that_was_issued_a_while_ago_has_less_left() -> None:
    token = token_of(iat=WALL - 40, exp=WALL + 20)
    assert lifetime_of(token, NOW, WALL) == Lifetime(NOW, NOW + 20)


@pytest.mark.parametrize("off", [-7200, 7200])
def test_a_clock_that_is_wrong_takes_it_for_new(off: float) -> None:
    token = token_of(iat=WALL + off, exp=WALL + off + 60)
    assert lifetime_of(token, NOW, WALL) == Lifetime(NOW, NOW + 60)


def test_the_next_is_due_at_70_to_90_per_cent() -> None:
    life = Lifetime(NOW, NOW + 100)
    assert life.due(0.0) == pytest.approx(NOW + 70)
    assert life.due(0.5) == pytest.approx(NOW + 80)
    assert life.due(0.999) < NOW + 90


@pytest.mark.parametrize(
    "token",
    [
        "opaque",
        "a.b.c",
        "a.\N{SNOWMAN}.c",
        "a.e30.c",
        "a.W10.c",
        token_of(sub="42"),
        token_of(exp=WALL - 1),
        token_of(exp=WALL, iat=WALL),
        token_of(exp="soon"),
        token_of(exp=True),
        token_of(exp=10**400),
        token_of(exp=float("inf")),
        token_of(exp=None),
    ],
)
def test_what_does_not_say_how_long(token: str) -> None:
    assert lifetime_of(token, NOW, WALL) is None
