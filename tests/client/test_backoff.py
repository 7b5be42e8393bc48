"""When to try again: no clock, no randomness and no sleep but those of the test."""

from __future__ import annotations

import pytest

from tidewire.client.backoff import Backoff, retry
from tidewire.client.errors import Interrupted, Refused, Unanswered


class Time:
    """A clock that only its own sleeps move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_the_span_doubles_from_one_second_to_thirty() -> None:
    backoff = Backoff(draw=lambda: 0.5)
    assert [backoff.delay() for _ in range(8)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_all_of_the_span_is_used() -> None:
    assert Backoff(draw=lambda: 0.0).delay() == 0
    assert Backoff(draw=lambda: 0.999).delay() == pytest.approx(0.999)


def test_a_reset_starts_over() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    assert [backoff.delay(), backoff.delay()] == [1, 2]
    backoff.reset()
    assert backoff.delay() == 1


@pytest.mark.parametrize(
    ("asked", "draw", "delay"),
    [
        (3.0, 0.0, 3.0),
        (3.0, 0.5, 3.5),  # spread over a second
        (60.0, 0.5, 60.5),  # beyond our own cap
        (0.1, 0.5, 0.5),  # our own back-off is longer
        (0.0, 0.0, 0.0),
    ],
)
def test_never_sooner_than_the_server_asks(asked: float, draw: float, delay: float) -> None:
    assert Backoff(draw=lambda: draw).delay(asked) == delay


def test_failures_count_although_the_server_asks() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    assert [backoff.delay(1.0) for _ in range(4)] == [2, 2, 4, 8]


async def test_retry_until_it_succeeds() -> None:
    time = Time()
    answers: list[Interrupted | str] = [Interrupted("down"), Interrupted("busy", 7.0), "done"]
    told: list[tuple[float, str]] = []

    async def operation() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Interrupted):
            raise answer
        return answer

    result = await retry(
        operation,
        within=30,
        backoff=Backoff(draw=lambda: 0.5),
        on_wait=lambda delay, reason: told.append((delay, reason)),
        clock=time.clock,
        sleep=time.sleep,
    )
    assert result == "done"
    assert time.slept == [0.5, 7.5]
    assert told == [(0.5, "down"), (7.5, "busy")]


@pytest.mark.parametrize(
    ("asked", "slept"),
    [
        (None, [0.9, 1.8, 3.6, 3.7]),  # the last would have been 7.2 s, beyond the end
        (6.0, [6.9]),  # 3.1 s are left
        (9.5, [10.0]),
        (10.0, []),
    ],
)
async def test_retry_uses_all_of_its_time_and_no_more(
    asked: float | None, slept: list[float]
) -> None:
    time = Time()
    attempts = 0

    async def operation() -> None:
        nonlocal attempts
        attempts += 1
        raise Interrupted(f"down {attempts}", asked)

    with pytest.raises(Unanswered, match=f"down {len(slept) + 1}$"):
        await retry(
            operation,
            within=10,
            backoff=Backoff(draw=lambda: 0.9),
            clock=time.clock,
            sleep=time.sleep,
        )
    assert time.slept == pytest.approx(slept)


async def test_retry_passes_on_what_cannot_succeed() -> None:
    async def operation() -> None:
        raise Refused("no such channel", 400)

    with pytest.raises(Refused, match="no such channel"):
        await retry(operation, within=10, backoff=Backoff(draw=lambda: 0.0))
