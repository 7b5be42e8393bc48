"""One session: what it is told first, where its gaps stand, and its cursor at every moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.world import HeldEngine, Item, World, ascending
from tidewire.hub import State
from tidewire.model import Cursor, Gap, Since, Subscription
from tidewire.model.subscription import START

if TYPE_CHECKING:
    from tests.hub.conftest import MakeWorld


@pytest.fixture
def short(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    """A log that keeps three messages of a channel; a hub that keeps none; pages of four."""
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 4)
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 4)
    return make_world(recent=0, size=3)


def lines(items: list[Item]) -> list[str]:
    """Items as short texts, ids counted from the first message of the log."""
    return [f"{item.kind} {item.channel}{item.id - 1_000_000 + 1}" for item in items]


# What comes first


def test_ready_comes_first_and_holds_the_start(world: World) -> None:
    before = world.publish("a")
    world.settle()
    subscriber = world.subscribe("a")
    assert subscriber.items == [Item("ready", before[0], reason="False")]
    assert subscriber.live


def test_ready_of_a_cursor_whose_rest_is_there(world: World) -> None:
    ids = world.publish("a", "a", "b", "a")
    world.settle()
    subscriber = world.subscribe("a", after=ids[0])
    assert subscriber.items == [
        Item("ready", ids[0], reason="True"),
        Item("message", ids[1], "a"),
        Item("message", ids[3], "a"),
    ]


def test_ready_and_the_first_page_are_one_write(world: World) -> None:
    world.publish(*["a"] * 10)
    world.settle()
    subscriber = world.subscribe("a", since=START)
    assert subscriber.writes == 1
    assert subscriber.ids == world.ids["a"]


def test_ready_of_many_starts_is_at_the_lowest(world: World) -> None:
    ids = world.publish("a", "b", "a", "b")
    world.settle()
    epoch = world.engine.epoch
    wanted = Subscription(("a", "b"), (Cursor(epoch, ids[2]), Cursor(epoch, ids[0])))
    subscriber = world.open(wanted)
    assert subscriber.items[0] == Item("ready", ids[0], reason="True")
    assert subscriber.ids == [ids[1], ids[3]]


def test_without_channels_ready_holds_the_head(world: World) -> None:
    (id,) = world.publish("a")
    world.settle()
    subscriber = world.begin(None)
    assert subscriber.items == [Item("ready", id, reason="False")]
    assert subscriber.live


def test_a_long_history_comes_in_pages(short: World) -> None:
    for channel in "abcd":
        short.publish(*[channel] * 3)
    short.settle()
    subscriber = short.subscribe(*"abcd", since=START)
    assert len(subscriber.ids) == 4
    assert not subscriber.live
    short.settle()
    assert len(subscriber.ids) == 12
    assert subscriber.writes == 3
    assert subscriber.gaps == []


# Gaps


def test_a_gap_stands_before_what_follows_it(short: World) -> None:
    short.publish(*["a"] * 6)
    short.settle()
    subscriber = short.subscribe("a", after=1_000_000)
    assert lines(subscriber.items) == [
        "ready 1",
        "gap a3",
        "message a4",
        "message a5",
        "message a6",
    ]
    assert subscriber.items[0].reason == "False"
    assert subscriber.items[1].reason == "expired"


def test_a_gap_stands_in_its_place_among_other_channels(short: World) -> None:
    short.publish("b", "a", "a", "b", "a", "a", "a", "b", "a")
    short.settle()
    subscriber = short.subscribe("a", "b", after=1_000_000)
    short.settle()
    assert lines(subscriber.items) == [
        "ready 1", "message b4", "gap a5", "message a6", "message a7", "message b8", "message a9",
    ]  # fmt: skip


def test_a_gap_beyond_the_page_comes_with_a_later_one(short: World) -> None:
    """The page ends before the gap: it must not be told too early, twice or never."""
    short.publish(*"abbccddaddd")
    short.settle()
    subscriber = short.subscribe(*"abcd", after=1_000_000)
    assert subscriber.gaps == [], "the first page holds the gap already: this shows nothing"
    assert subscriber.position == subscriber.ids[-1]
    short.settle()
    assert lines(subscriber.items)[1:] == [
        "message b2", "message b3", "message c4", "message c5", "gap d7", "message a8",
        "message d9", "message d10", "message d11",
    ]  # fmt: skip
    assert subscriber.gaps == [(1_000_006, "d", "expired")]


def test_several_gaps_come_in_the_order_of_their_ids(short: World) -> None:
    short.publish("x", *"bbbbaaaaabb", "x")
    short.settle()
    subscriber = short.subscribe("a", "b", "x", after=1_000_000)
    short.settle()
    told = [(item.kind, item.id) for item in subscriber.items[1:]]
    assert [kind for kind, _ in told].count("gap") == 2
    assert ascending(id for _, id in told)
    assert {reason for _, _, reason in subscriber.gaps} == {"expired"}


def test_what_a_slow_subscriber_missed_is_told_as_such(short: World) -> None:
    subscriber = short.subscribe("a")
    subscriber.congest()
    short.publish("a")
    short.settle()
    short.publish(*["a"] * 5)
    short.settle()
    subscriber.drain()
    short.settle()
    assert lines(subscriber.items)[1:] == [
        "message a1", "gap a3", "message a4", "message a5", "message a6",
    ]  # fmt: skip
    assert subscriber.gaps[0][2] == "slow"


def test_a_slow_subscriber_is_told_of_each_gap(short: World) -> None:
    subscriber = short.subscribe("a")
    for _ in range(3):
        subscriber.congest()
        short.publish("a")
        short.settle()
        short.publish(*["a"] * 5)
        short.settle()
        subscriber.drain()
        short.settle()
    assert [reason for _, _, reason in subscriber.gaps] == ["slow"] * 3
    short.check_end()


def test_a_cursor_of_another_log_starts_at_the_oldest_kept(short: World) -> None:
    short.publish(*["a"] * 5)
    short.settle()
    subscriber = short.open(Subscription(("a",), (Cursor("other", 1_000_004),)))
    short.settle()
    assert lines(subscriber.items) == [
        "ready 2",
        "gap a2",
        "message a3",
        "message a4",
        "message a5",
    ]
    assert (subscriber.items[0].reason, subscriber.items[1].reason) == ("False", "reset")


def test_a_cursor_of_a_future_that_was_lost_starts_at_the_end(short: World) -> None:
    short.publish(*["a"] * 2)
    short.settle()
    subscriber = short.subscribe("a", after=1_000_500)
    assert lines(subscriber.items) == ["ready 2", "gap a2"]
    assert (subscriber.items[0].reason, subscriber.items[1].reason) == ("False", "reset")
    assert subscriber.live


def test_no_gap_where_nothing_is_missing(short: World) -> None:
    """The cursor is just at the newest message that was discarded."""
    short.publish(*["a"] * 5)
    short.settle()
    subscriber = short.subscribe("a", after=1_000_001)
    assert lines(subscriber.items) == ["ready 2", "message a3", "message a4", "message a5"]
    assert subscriber.items[0].reason == "True"


def test_no_gap_for_who_starts_now(short: World) -> None:
    short.publish(*["a"] * 5)
    short.settle()
    assert lines(short.subscribe("a").items) == ["ready 5"]
    assert lines(short.subscribe("a", since=Since("last", 2)).items)[1:] == [
        "message a4", "message a5",
    ]  # fmt: skip


def test_the_cursor_does_not_pass_a_gap_that_is_not_told_yet(make_world: MakeWorld) -> None:
    """While a page was read the log has discarded beyond the page's end."""
    world = make_world(recent=0, size=3, held=True)
    assert isinstance(world.engine, HeldEngine)
    engine = world.engine
    world.publish("a", "a")
    world.settle()
    subscriber = world.begin(None)
    subscriber.follow("a", 1_000_000)
    world.until(lambda: engine.waiting)
    world.publish(*["a"] * 6)
    world.turn(2)
    engine.holds = False
    engine.let_go()
    while not subscriber.live:
        world.turn()
        subscriber.check_cursor()
    assert subscriber.gaps == [(1_000_004, "a", "expired")]
    world.check_end()


# Following and leaving channels


def test_following_a_channel_from_its_past(world: World) -> None:
    old = world.publish("b", "b")
    subscriber = world.subscribe("a")
    world.settle()
    (a,) = world.publish("a")
    world.settle()
    subscriber.follow("b", old[0])
    world.settle()
    later = world.publish("a", "b")
    world.settle()
    assert subscriber.ids == [a, old[1], *later]


def test_a_cursor_from_before_what_is_kept_is_expired_not_slow(short: World) -> None:
    short.publish("b", *["a"] * 6)
    short.settle()
    subscriber = short.subscribe("b")
    subscriber.follow("a", 1_000_001)
    short.settle()
    assert subscriber.gaps == [(1_000_003, "a", "expired")]


def test_gaps_of_a_start_are_told_in_their_place(world: World) -> None:
    ids = world.publish("a", "b", "a")
    world.settle()
    subscriber = world.subscribe("a")
    subscriber.at["b"] = 0
    subscriber.session.follow({"b": 0}, [Gap("b", 0, "reset")])
    world.settle()
    assert [item.kind for item in subscriber.items] == ["ready", "gap", "message"]
    assert subscriber.ids == [ids[1]]
    assert subscriber.gaps == [(0, "b", "reset")]


def test_nothing_comes_of_a_channel_that_was_left(world: World) -> None:
    subscriber = world.subscribe("a", "b")
    world.settle()
    world.publish("a", "b")
    subscriber.unfollow("b")  # before the round that would have brought it
    world.settle()
    world.publish("b")
    world.settle()
    assert subscriber.ids == world.ids["a"]


def test_the_gap_of_a_channel_that_was_left_is_not_told(short: World) -> None:
    short.publish("b", *["a"] * 6)
    short.settle()
    subscriber = short.subscribe("b")
    subscriber.follow("a", 1_000_001)
    subscriber.unfollow("a")
    short.settle()
    assert subscriber.gaps == []


def test_leaving_every_channel(world: World) -> None:
    subscriber = world.subscribe("a")
    subscriber.unfollow("a")
    world.publish("a")
    world.settle()
    assert subscriber.ids == []
    assert subscriber.live
    subscriber.follow("a", world.last)
    later = world.publish("a")
    world.settle()
    assert subscriber.ids == later


def test_when_live_waits_for_the_backfill(make_world: MakeWorld) -> None:
    world = make_world(recent=0, held=True)
    assert isinstance(world.engine, HeldEngine)
    world.publish("b", "b")
    world.settle()
    subscriber = world.begin(None)
    called: list[int] = []
    subscriber.session.when_live(lambda: called.append(-1))
    assert called == [-1], "it is live"
    subscriber.follow("b", 0)
    subscriber.session.when_live(lambda: called.append(len(subscriber.ids)))
    subscriber.session.when_live(lambda: called.append(len(subscriber.ids)))
    world.turn(5)
    assert called == [-1]
    world.engine.let_go()
    world.settle()
    assert called == [-1, 2, 2]


def test_when_live_never_comes_to_who_is_gone(world: World) -> None:
    world.publish("a")
    subscriber = world.begin(None)
    called: list[int] = []
    subscriber.follow("a", world.last)  # not handed out yet: it waits for the round
    subscriber.session.when_live(lambda: called.append(1))
    subscriber.close()
    subscriber.session.when_live(lambda: called.append(2))
    world.turn(5)
    assert called == []


def test_a_follower_from_the_end_waits_for_the_rounds(world: World) -> None:
    """It asks for what comes after a message that no round has brought yet."""
    world.subscribe("a")
    world.settle()
    published = world.publish("a", "a")
    world.hub.recent.extend([])
    subscriber = world.begin(None)
    subscriber.follow("a", published[1])
    assert not subscriber.live
    later = world.publish("a")
    world.settle()
    assert subscriber.ids == later


def test_waiting_for_the_rounds_costs_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long they take: the hub has not even heard of the message yet."""
    (id,) = world.publish_elsewhere("a")
    subscriber = world.begin(None)
    tried: list[object] = []
    monkeypatch.setattr(world.hub, "catch_up", tried.append)
    subscriber.session.follow({"a": id}, [])
    assert tried == [subscriber.session]
    monkeypatch.undo()
    world.hub.catch_up(subscriber.session)
    monkeypatch.setattr(world.hub, "catch_up", tried.append)
    world.turn(20)
    assert len(tried) == 1
    assert subscriber.position == id


# The end


def test_a_closed_session_gets_nothing_and_changes_nothing(world: World) -> None:
    subscriber = world.subscribe("a")
    world.settle()
    subscriber.close()
    subscriber.close()
    subscriber.session.resume()
    subscriber.session.leave()
    world.hub.catch_up(subscriber.session)
    world.publish("a")
    world.settle()
    assert subscriber.ids == []
    assert subscriber.session.state is State.CLOSED


def test_draining_without_having_been_congested_is_nothing(world: World) -> None:
    subscriber = world.subscribe("a")
    world.settle()
    subscriber.session.resume()
    assert subscriber.live
    assert world.hub.slow_sessions == 0


@pytest.mark.parametrize("cut", range(12))
def test_going_on_elsewhere_from_the_cursor_of_any_moment(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr("tidewire.hub.hub.SLICE", 1)
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 2)
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 2)
    world = make_world(recent=3)
    world.publish("a", "b", "a", "b", "a")
    world.settle()
    first = world.subscribe("a", "b", since=START)
    for step in range(cut):
        if step % 3 == 0:
            world.publish("b", "a")
        world.turn()
    position = first.position
    first.close()
    second = world.subscribe("a", "b", after=position)
    world.publish("a")
    world.settle()
    assert first.ids + second.ids == sorted(world.ids["a"] + world.ids["b"])
