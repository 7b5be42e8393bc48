"""The supervisor's thoughts, without processes: who is started, replaced, waited for and killed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tidewire.server.slots import (
    LEAVE_GRACE,
    LONGEST_PAUSE,
    MOST_MISSED,
    PING_SECONDS,
    START_SECONDS,
    STEADY_SECONDS,
    Ended,
    Order,
    Slots,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

DRAIN = 7.0


class World:
    """A supervisor whose workers are numbers, and whose clock only the test moves."""

    def __init__(self, count: int) -> None:
        self.slots = Slots(count, DRAIN)
        self.now = 100.0
        self.hanging: set[int] = set()
        self._pids = itertools.count(1)

    def orders(self) -> list[Order]:
        """What is ordered now; starts are carried out, and pings answered."""
        orders = self.slots.orders(self.now)
        for order in orders:
            if order.kind == "start":
                self.slots.started(next(self._pids), order, self.now)
            elif order.kind == "ping" and order.pid not in self.hanging:
                self.slots.heard(order.pid)
        return [order for order in orders if order.kind != "ping"]

    def kinds(self) -> list[tuple[str, int]]:
        """What is ordered now, and for which slot."""
        return [(order.kind, order.slot) for order in self.orders()]

    def ready(self, pids: Iterable[int]) -> None:
        for pid in pids:
            self.slots.ready(pid, self.now)

    def ended(self, pid: int) -> Ended:
        return self.slots.ended(pid, self.now)


@pytest.fixture
def world() -> World:
    """Three slots, which are served by the workers 1, 2 and 3."""
    world = World(3)
    world.orders()
    world.ready([1, 2, 3])
    world.orders()
    return world


def test_each_slot_gets_a_worker() -> None:
    world = World(3)
    assert world.kinds() == [("start", 0), ("start", 1), ("start", 2)]
    assert world.kinds() == []
    complete = []
    for pid in (1, 3, 2):
        world.ready([pid])
        complete.append(world.slots.complete)
    assert complete == [False, False, True]
    assert world.slots.next_time() == world.now + PING_SECONDS


def test_who_ends_is_replaced_at_once(world: World) -> None:
    world.now += STEADY_SECONDS
    assert world.ended(2) == Ended(1, expected=False)
    assert world.kinds() == [("start", 1)]
    assert world.slots.restarts == 1
    assert world.slots.complete  # it was


def test_who_ends_again_and_again_is_waited_for(world: World) -> None:
    pauses = []
    for pid in [2, *range(4, 13)]:
        pauses.append(world.ended(pid).pause)
        world.now += pauses[-1]
        starts = [kind for kind, _ in world.kinds() if kind == "start"]
        assert starts == ["start"]
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, *[LONGEST_PAUSE] * 3]


def test_meanwhile_nothing_is_done(world: World) -> None:
    world.ended(2)
    world.orders()
    assert world.ended(4).pause == 0.5
    assert world.kinds() == []
    assert world.slots.next_time() == world.now + 0.5
    world.now += 0.4
    assert world.kinds() == []
    world.now += 0.1
    assert world.kinds() == [("start", 1)]


def test_who_has_served_for_a_while_was_no_failure(world: World) -> None:
    for pid, new in itertools.pairwise((2, 4, 5, 6)):
        world.now += STEADY_SECONDS
        assert world.ended(pid).pause == 0
        world.orders()
        world.ready([new])


def test_who_does_not_get_ready_is_killed() -> None:
    world = World(1)
    world.orders()
    assert world.slots.next_time() == world.now + START_SECONDS
    world.now += START_SECONDS
    assert world.kinds() == [("kill", 0)]
    assert world.kinds() == []


def test_a_reload_takes_one_slot_after_the_other(world: World) -> None:
    world.slots.reload()
    for old, new in ((1, 4), (2, 5), (3, 6)):
        slot = old - 1
        assert world.orders() == [Order("start", slot, generation=1)]
        assert world.orders() == []
        assert world.slots.serving == 3
        world.ready([new])
        (leave,) = world.slots.orders(world.now)[:1]
        assert leave == Order("leave", slot, old)
        assert world.slots.serving == 3
    assert not world.slots.reloading
    assert world.orders() == []
    for old in (1, 2, 3):
        assert world.ended(old) == Ended(old - 1, expected=True)
    assert world.orders() == []
    assert world.slots.restarts == 0


def test_a_reload_that_does_not_get_ready_changes_nothing(world: World) -> None:
    world.slots.reload()
    world.orders()
    ended = world.ended(4)
    assert ended.refused
    assert ended.pause == 0
    assert not ended.expected
    assert world.orders() == []
    assert not world.slots.reloading
    assert world.slots.serving == 3
    world.ended(2)
    world.now += 60
    assert [o for o in world.orders() if o.kind == "start"] == [Order("start", 1, generation=0)]


def test_a_reload_during_a_reload(world: World) -> None:
    world.slots.reload()
    world.orders()
    world.slots.reload()
    world.ready([4])
    assert world.kinds() == [("leave", 0), ("start", 0)]
    world.ready([5])
    assert world.kinds() == [("leave", 0), ("start", 1)]
    world.ready([6])
    assert world.kinds() == [("leave", 1), ("start", 2)]
    world.ready([7])
    assert world.kinds() == [("leave", 2)]
    assert not world.slots.reloading


def test_a_reload_waits_for_a_slot_that_is_not_served(world: World) -> None:
    world.ended(3)
    world.orders()
    world.slots.reload()
    assert world.orders() == []
    world.ready([4])
    assert world.kinds() == [("start", 0)]


def test_who_does_not_leave_is_killed(world: World) -> None:
    world.slots.reload()
    world.orders()
    world.ready([4])
    world.slots.orders(world.now)
    world.now += DRAIN + LEAVE_GRACE
    assert Order("kill", 0, 1) in world.slots.orders(world.now)


def test_who_leaves_by_itself_is_replaced_meanwhile(world: World) -> None:
    world.slots.leaving(2, world.now)
    assert world.kinds() == [("start", 1)]
    assert world.ended(2).expected
    assert world.slots.restarts == 0


def test_a_stop(world: World) -> None:
    world.slots.reload()
    world.orders()
    world.slots.stop(world.now)
    world.slots.stop(world.now + 1)
    assert world.kinds() == [("stop", slot) for slot in (0, 1, 2, 0)]
    assert world.ended(1).expected
    assert world.orders() == []
    assert world.slots.next_time() == world.now + DRAIN
    world.now += DRAIN
    assert {order.pid for order in world.orders() if order.kind == "kill"} == {2, 3, 4}


def test_a_stop_in_a_hurry(world: World) -> None:
    world.slots.stop(world.now)
    world.orders()
    world.slots.hurry(world.now)
    assert [order.kind for order in world.orders()] == ["kill"] * 3


def test_a_stop_while_a_worker_is_being_started(world: World) -> None:
    world.ended(1)
    (order,) = world.slots.orders(world.now)
    world.slots.stop(world.now)
    world.slots.started(9, order, world.now)
    assert Order("stop", 0, 9) in world.orders()


def test_who_hangs_is_given_up(world: World) -> None:
    world.hanging = {2}
    given_up = []
    for _ in range(MOST_MISSED + 1):
        world.now = world.slots.next_time() or 0.0
        given_up += world.orders()
    assert given_up == [Order("give_up", 1, 2)]
    assert not world.ended(2).expected
    assert world.kinds() == [("start", 1)]


def test_who_has_answered_again_did_not_hang(world: World) -> None:
    world.hanging = {2}
    for turn in range(3 * MOST_MISSED):
        world.now += PING_SECONDS
        assert world.orders() == []
        if turn % MOST_MISSED == MOST_MISSED - 2:
            world.slots.heard(2)


def test_nobody_hangs_because_all_stood_still(world: World) -> None:
    world.now += 3600
    assert world.orders() == []
    world.now += PING_SECONDS
    assert world.orders() == []
