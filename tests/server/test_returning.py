"""When those who were sent away may come back: the arithmetic."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tidewire.hub import NodeInfo
from tidewire.server import returning
from tidewire.server.returning import FleetPace, Returns, pace_of

if TYPE_CHECKING:
    from tests.server.conftest import MakeServer


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_times_lie_one_behind_the_other(clock: Clock) -> None:
    returns = Returns(lambda: 100.0, clock)
    delays = [returns.delay() for _ in range(1_000)]
    steps = [later - sooner for sooner, later in itertools.pairwise(delays)]
    assert all(step == pytest.approx(0.01) for step in steps)
    assert delays[-1] == pytest.approx(10.0)


def test_a_few_now_and_then_wait_for_nobody(clock: Clock) -> None:
    returns = Returns(lambda: 100.0, clock)
    for _ in range(10):
        assert returns.delay() <= 0.011
        clock.now += 1


def test_the_line_gets_shorter_as_time_passes(clock: Clock) -> None:
    returns = Returns(lambda: 100.0, clock)
    for _ in range(500):
        returns.delay()
    clock.now += 3
    assert returns.delay() == pytest.approx(2.01)
    clock.now += 60
    assert returns.delay() == pytest.approx(0.01)


def test_nobody_is_put_off_for_ever(clock: Clock) -> None:
    returns = Returns(lambda: 10.0, clock)
    delays = [returns.delay() for _ in range(20_000)]
    assert max(delays) <= returning.LONGEST
    late = delays[5_000:]  # there is no place for them in the line
    assert min(late) >= returning.LONGEST / 2
    assert len({round(delay) for delay in late}) > 100, "all would come at once"


def test_in_milliseconds_with_jitter(clock: Clock) -> None:
    returns = Returns(lambda: 1.0, clock)
    for place in range(1, 50):
        assert place * 1_000 + 100 <= returns.ms(100, 200) <= place * 1_000 + 200


def node(connections: int, capacity: int = 1_000, *, draining: bool = False) -> NodeInfo:
    return NodeInfo("n", connections=connections, capacity=capacity, draining=draining)


@pytest.mark.parametrize(
    ("nodes", "pace"),
    [
        ([node(0)], 1_000),
        ([node(900)], 1_000),  # a tenth is free
        ([node(950)], 500),
        ([node(1_000)], 100),
        ([node(2_000)], 100),
        ([node(0), node(0), node(1_000)], 2_100),
        ([node(0), node(0, draining=True)], 1_000),
        ([node(0, draining=True)], 1_000),  # one that takes its place
        ([], 1_000),
        ([node(5, 0)], 1_000),  # it has not said how many it takes
    ],
)
def test_the_pace_of_a_fleet(nodes: list[NodeInfo], pace: float) -> None:
    assert pace_of(nodes) == pytest.approx(pace)
    assert pace_of(nodes, 10) == pytest.approx(pace / 100)


def test_the_rate_of_the_doors_is_not_exceeded(make_server: MakeServer) -> None:
    assert FleetPace(make_server(max_connection_rate=20).app)() == 20
    assert FleetPace(make_server().app)() == returning.PER_SERVER


def test_the_last_of_many_who_are_refused_comes_last(make_server: MakeServer) -> None:
    server = make_server(max_connections=1)
    first = server.client()
    first.get("/sse?channels=a")
    retries = []
    for _ in range(1_000):
        client = server.client()
        retries.append(int(client.get("/poll?channels=a").headers["retry-after"]))
        client.leave()
    # It is full, so 100 a second find a place: the last one after 10 s, and a few of jitter.
    assert max(retries[:100]) <= 1 + 4 + 1
    assert 10 <= max(retries[-100:]) <= 10 + 4 + 1
    assert min(retries[-100:]) >= 9
    events = server.client()
    events.send("/sse?channels=a", {"Accept": "text/event-stream"})
    told = [line for line in events.read().split(b"\n") if line.startswith(b"retry: ")]
    assert int(told[0].removeprefix(b"retry: ")) >= 9_000
