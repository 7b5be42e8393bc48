"""Nothing is kept of who is gone, however it went."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from tests.hub.world import HeldEngine, Subscriber, World
from tidewire.hub import Session
from tidewire.hub.audience import Audience, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.hub.conftest import MakeWorld

MANY = 10_000


def in_use() -> dict[str, int]:
    """How many objects there are of each kind that the hub makes for subscribers."""
    gc.collect()
    kinds = (Session, Subscriber, Audience, Delivery)
    counts = dict.fromkeys((kind.__name__ for kind in kinds), 0)
    for found in gc.get_objects():
        if type(found) in kinds:
            counts[type(found).__name__] += 1
    return counts


def leave_alive(world: World, subscriber: Subscriber) -> None:
    """A live one goes."""
    world.settle()
    subscriber.close()


def leave_congested(world: World, subscriber: Subscriber) -> None:
    """One goes that takes no more."""
    subscriber.congest()
    world.publish("a")
    world.settle()
    subscriber.close()


def leave_during_a_read(world: World, subscriber: Subscriber) -> None:
    """One goes while the log is read for it."""
    assert isinstance(world.engine, HeldEngine)
    subscriber.follow("b", 0)
    world.until(lambda: world.engine.waiting)  # type: ignore[attr-defined]
    subscriber.close()
    world.engine.let_go()


def leave_between_pages(world: World, subscriber: Subscriber) -> None:
    """One goes that has had the first page of many."""
    assert isinstance(world.engine, HeldEngine)
    world.engine.holds = False
    subscriber.follow("b", 0)
    world.until(lambda: "b" in subscriber.at and subscriber.ids)
    subscriber.close()
    world.engine.holds = True


def leave_in_a_round(world: World, subscriber: Subscriber) -> None:
    """One goes while a round is handed out."""
    world.settle()
    world.publish("a")
    subscriber.close()


def leave_before_a_round(world: World, subscriber: Subscriber) -> None:
    """One goes that waits for the round."""
    (id,) = world.publish("a")
    subscriber.follow("a", id)
    subscriber.session.when_live(lambda: None)
    subscriber.close()


WAYS: list[Callable[[World, Subscriber], None]] = [
    leave_alive,
    leave_congested,
    leave_during_a_read,
    leave_between_pages,
    leave_in_a_round,
    leave_before_a_round,
]


def test_nothing_is_kept_of_channels_that_nobody_follows(make_world: MakeWorld) -> None:
    world = make_world()
    for n in range(1_000):
        subscriber = world.subscribe(f"a{n}", f"b{n}")
        world.settle()
        subscriber.close()
        world.subscribers.clear()
    assert (world.hub._audiences, world.hub._by_channel) == ({}, {})


def test_nothing_is_kept_of_who_is_gone(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 2)
    monkeypatch.setattr("tidewire.hub.hub.SLICE", 1)
    world = make_world(recent=4, held=True)
    world.publish(*"bbbbaaaa")
    world.settle()
    stays = world.subscribe("a")
    world.settle()
    before = in_use()
    for n in range(MANY):
        subscriber = world.subscribe("a")
        WAYS[n % len(WAYS)](world, subscriber)
        world.subscribers.remove(subscriber)
        del subscriber
        if n % 100 == 0:
            world.settle()
    world.publish("a")
    world.settle()
    stays.check_whole()
    assert in_use() == before
