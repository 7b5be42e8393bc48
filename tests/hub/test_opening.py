"""Where subscriptions start: cursors checked, the first page read, from memory when it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.world import FIRST_ID, HeldEngine, World
from tidewire.model import BadRequest, Cursor, EngineUnavailable, Gap, Since, Subscription
from tidewire.model.subscription import START

if TYPE_CHECKING:
    from tests.hub.conftest import MakeWorld
    from tidewire.hub import Opening


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Five messages of two channels, of which memory has the last two."""
    world = make_world(recent=2, held=True)
    world.publish("a", "b", "a", "b", "a")
    world.settle()
    engine_of(world).holds = False
    return world


def engine_of(world: World) -> HeldEngine:
    """The world's log."""
    assert isinstance(world.engine, HeldEngine)
    return world.engine


def at(world: World, *backs: int) -> tuple[Cursor, ...]:
    """Cursors at the messages of these numbers, from 1."""
    return tuple(Cursor(world.engine.epoch, FIRST_ID - 1 + back) for back in backs)


def opened(world: World, wanted: Subscription) -> Opening:
    """The opening, with the log's help if it must be."""
    upto = world.hub.position
    return world.hub.open_now(wanted, upto) or world.do(world.hub.open(wanted, upto))


def numbers(opening: Opening) -> list[int]:
    """The messages of the first page, from 1."""
    return [message.id - FIRST_ID + 1 for message in opening.page.messages]


def test_now_needs_no_log(world: World) -> None:
    opening = world.hub.open_now(Subscription(("a", "b", "c")), world.hub.position)
    assert opening is not None
    assert opening.start == (dict.fromkeys("abc", world.last), [])
    assert (opening.position, numbers(opening), opening.recovered) == (world.last, [], False)


def test_a_recent_cursor_needs_no_log(world: World) -> None:
    opening = world.hub.open_now(Subscription(("a", "b"), at(world, 3)), world.hub.position)
    assert opening is not None
    assert (numbers(opening), opening.recovered) == ([4, 5], True)
    assert engine_of(world).reads == []


def test_an_older_cursor_needs_the_log(world: World) -> None:
    wanted = Subscription(("a", "b"), at(world, 1))
    assert world.hub.open_now(wanted, world.hub.position) is None
    opening = opened(world, wanted)
    assert (numbers(opening), opening.recovered) == ([2, 3, 4, 5], True)


def test_a_cursor_for_each_channel(world: World) -> None:
    opening = opened(world, Subscription(("b", "a"), at(world, 2, 3)))
    assert opening.start.after == {"b": FIRST_ID + 1, "a": FIRST_ID + 2}
    assert opening.position == FIRST_ID + 1
    assert numbers(opening) == [4, 5]


@pytest.mark.parametrize("count", [2, 4])
def test_any_other_number_of_cursors_is_refused(world: World, count: int) -> None:
    wanted = Subscription(("a", "b", "c"), at(world, *[5] * count))
    with pytest.raises(BadRequest, match=f"{count} cursors for 3 channels") as caught:
        opened(world, wanted)
    assert caught.value.code == "invalid_cursor"


@pytest.mark.parametrize(
    ("since", "found"),
    [
        (START, [1, 2, 3, 4, 5]),
        (Since("last", 1), [4, 5]),
        (Since("last", 2), [2, 3, 4, 5]),
        (Since("last", 9), [1, 2, 3, 4, 5]),
        (Since("time", FIRST_ID // 1000), [1, 2, 3, 4, 5]),
        (Since("time", FIRST_ID // 1000 + 1), []),
    ],
)
def test_since(world: World, since: Since, found: list[int]) -> None:
    opening = opened(world, Subscription(("a", "b"), (), since))
    assert (numbers(opening), opening.recovered, opening.page.gaps) == (found, False, [])


def test_a_channel_that_never_was(world: World) -> None:
    for wanted in (Subscription(("new",), (), START), Subscription(("new",), at(world, 1))):
        opening = opened(world, wanted)
        assert (numbers(opening), opening.start.gaps, opening.page.gaps) == ([], [], [])


def test_a_cursor_of_another_log(world: World) -> None:
    opening = opened(world, Subscription(("a",), (Cursor("other", FIRST_ID),)))
    assert opening.start == ({"a": 0}, [Gap("a", 0, "reset")])
    assert (numbers(opening), opening.recovered) == ([1, 3, 5], False)


def test_only_the_channels_of_the_other_log_start_anew(world: World) -> None:
    cursors = (Cursor("other", FIRST_ID), *at(world, 4))
    opening = opened(world, Subscription(("a", "b"), cursors))
    assert opening.start == ({"a": 0, "b": FIRST_ID + 3}, [Gap("a", 0, "reset")])
    assert (numbers(opening), opening.recovered) == ([1, 3, 5], False)


def test_a_cursor_beyond_the_end_of_the_log(world: World) -> None:
    opening = opened(world, Subscription(("a",), at(world, 6)))
    assert opening.start == ({"a": world.last}, [Gap("a", world.last, "reset")])
    assert (numbers(opening), opening.recovered) == ([], False)


def test_a_cursor_beyond_what_was_handed_out_is_no_reset(world: World) -> None:
    """A publisher of another process knows its message's id before the hub has heard of it."""
    (id,) = world.publish_elsewhere("a")
    opening = opened(world, Subscription(("a",), (Cursor(world.engine.epoch, id),)))
    assert opening.start == ({"a": id}, [])
    assert opening.recovered


def test_a_first_page_with_a_gap_is_not_recovered(make_world: MakeWorld) -> None:
    world = make_world(recent=0, size=2)
    world.publish(*["a"] * 5)
    world.settle()
    opening = opened(world, Subscription(("a",), at(world, 1)))
    assert opening.page.gaps == [Gap("a", FIRST_ID + 2, "expired")]
    assert (numbers(opening), opening.recovered) == ([4, 5], False)


def test_the_first_page_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 2)
    opening = opened(world, Subscription(("a", "b"), (), START))
    assert (numbers(opening), opening.page.more) == ([1, 2], True)
    monkeypatch.setattr("tidewire.hub.opening.PAGE_BYTES", 1)
    assert numbers(opened(world, Subscription(("a", "b"), (), START))) == [1]


def test_what_came_after_the_bound_is_left_to_the_rounds(world: World) -> None:
    upto = world.hub.position
    world.publish("a")
    world.settle()
    wanted = Subscription(("a",), at(world, 4))
    opening = world.hub.open_now(wanted, upto)
    assert opening is not None
    assert (numbers(opening), opening.page.position) == ([5], upto)


def test_a_log_that_is_away(world: World) -> None:
    engine = engine_of(world)
    engine.holds = True
    opening = world.loop.create_task(
        world.hub.open(Subscription(("a",), at(world, 1)), world.hub.position)
    )
    world.until(lambda: engine.waiting)
    engine.fail()
    with pytest.raises(EngineUnavailable):
        world.do(opening)
