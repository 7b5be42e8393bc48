"""Rounds: who gets what together, cut in slices, while subscribers come, go and stop taking."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.hub.world import Plain, Subscriber, World, ascending
from tidewire.hub import State

if TYPE_CHECKING:
    from tidewire.hub import Hub
    from tidewire.model import Message


@pytest.fixture(autouse=True)
def slices_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three deliveries a turn."""
    monkeypatch.setattr("tidewire.hub.hub.SLICE", 3)


def join(world: World, count: int, *channels: str) -> list[Subscriber]:
    """*count* live subscribers of one audience."""
    subscribers = [world.subscribe(*channels) for _ in range(count)]
    world.settle()
    return subscribers


def served(subscribers: list[Subscriber]) -> int:
    """How many have had their bytes of the round under way."""
    return sum(bool(subscriber.ids) for subscriber in subscribers)


def test_a_round_goes_out_in_slices(world: World) -> None:
    subscribers = join(world, 8, "a")
    world.publish("a")
    seen = []
    for _ in range(4):
        world.turn()
        seen.append(served(subscribers))
    assert seen == [3, 6, 8, 8]


def test_the_smallest_audience_is_served_first(world: World) -> None:
    """However many wait for the first message of the round, who waits for the last is not held."""
    crowd = join(world, 8, "lobby")
    (alone,) = join(world, 1, "mine")
    world.publish("lobby", "lobby", "mine")
    world.turn()
    assert (served([alone]), served(crowd)) == (1, 2)
    world.settle()
    assert served(crowd) == 8


def test_between_slices_the_loop_answers_others(world: World) -> None:
    subscribers = join(world, 9, "a")
    world.publish("a")
    world.turn()
    heard: list[int] = []
    world.loop.call_soon(lambda: heard.append(served(subscribers)))
    world.settle()
    assert heard in ([3], [6])


def test_a_slice_goes_on_with_the_next_audience(world: World) -> None:
    """Two and four of two audiences: the first slice has one of the second."""
    first = join(world, 2, "a")
    second = join(world, 4, "a", "b")
    world.publish("a")
    world.turn()
    assert (served(first), served(second)) == (2, 1)
    world.turn()
    assert (served(first), served(second)) == (2, 4)


def test_what_comes_meanwhile_is_one_round(world: World) -> None:
    """The busier the server, the fewer the writes."""
    subscribers = join(world, 9, "a")
    before = [subscriber.writes for subscriber in subscribers]
    world.publish("a")
    world.turn()
    world.publish("a")
    world.publish("a")
    world.settle()
    after = [subscriber.writes for subscriber in subscribers]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2] * 9
    assert all(subscriber.ids == world.ids["a"] for subscriber in subscribers)


def test_messages_of_one_turn_are_one_write(world: World) -> None:
    (subscriber,) = join(world, 1, "a", "b")
    writes = subscriber.writes
    for _ in range(10):
        world.publish("a")
        world.publish("b")
    world.settle()
    assert subscriber.writes == writes + 1
    assert len(subscriber.ids) == 20
    assert ascending(subscriber.ids)


def test_bytes_are_made_once_for_an_audience(world: World) -> None:
    form = Plain()
    world.form = form
    join(world, 50, "a")
    join(world, 50, "b", "a")
    world.publish("b")
    world.settle()
    assert form.made == 1
    world.publish("a")
    world.settle()
    assert form.made == 3


def test_the_order_in_which_channels_are_named_makes_no_other_audience(world: World) -> None:
    form = Plain()
    world.form = form
    join(world, 2, "a", "b")
    join(world, 2, "b", "a")
    world.publish("a", "b")
    world.settle()
    assert form.made == 1


def test_a_round_is_bounded_in_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidewire.hub.hub.ROUND_BYTES", 4)  # each message has one
    (subscriber,) = join(world, 1, "a")
    writes = subscriber.writes
    world.publish(*["a"] * 10)
    world.settle()
    assert subscriber.writes == writes + 3
    assert subscriber.ids == world.ids["a"]


def test_leaving_in_the_middle_of_a_round(world: World) -> None:
    subscribers = join(world, 9, "a")
    world.publish("a")
    world.turn()
    for subscriber in subscribers[2:5]:
        subscriber.close()
    world.settle()
    assert [bool(s.ids) for s in subscribers] == [*[True] * 3, *[False] * 2, *[True] * 4]


def test_joining_in_the_middle_of_a_round(world: World) -> None:
    subscribers = join(world, 9, "a")
    before = world.last
    published = world.publish("a")
    world.turn()
    resuming = world.subscribe("a", after=before)
    fresh = world.subscribe("a")
    world.settle()
    later = world.publish("a")
    world.settle()
    assert resuming.ids == published + later
    assert fresh.ids == later
    assert all(subscriber.ids == published + later for subscriber in subscribers)


def test_a_congested_subscriber_goes_on_from_the_log(world: World) -> None:
    subscribers = join(world, 9, "a")
    slow = subscribers[4]
    slow.congest()
    for _ in range(5):
        world.publish("a")
        world.turn()
    world.settle()
    assert len(slow.ids) == 1
    assert slow.session.congested
    assert not slow.live
    assert world.hub.slow_sessions == 1
    slow.drain()
    world.settle()
    assert all(subscriber.ids == world.ids["a"] for subscriber in subscribers)
    assert slow.live


def test_congested_between_the_slices_of_a_round(world: World) -> None:
    """One that has had its bytes and one that has not fall behind while the round goes on."""
    subscribers = join(world, 9, "a")
    world.publish("a")
    world.turn()
    for subscriber in (subscribers[0], subscribers[8]):
        subscriber.congest()
        subscriber.session.fall_behind()
        subscriber.refused = True
    assert subscribers[0].position == world.last
    assert subscribers[8].position < world.last
    world.publish("a")
    world.settle()
    for subscriber in (subscribers[0], subscribers[8]):
        subscriber.drain()
    world.settle()
    assert all(subscriber.ids == world.ids["a"] for subscriber in subscribers)


def test_who_leaves_and_is_back_within_a_round_gets_it_once(world: World) -> None:
    """It reads the round's messages from the log, before the round comes to it."""
    subscribers = join(world, 9, "a")
    last = subscribers[8]
    world.publish("a")
    world.turn()
    last.follow("b", world.last)
    last.unfollow("b")
    world.until(lambda: last.live)
    assert served(subscribers[6:8]) == 0, "the round is through already: this shows nothing"
    world.settle()
    assert last.ids == world.ids["a"]


def test_a_message_published_while_a_round_is_handed_out(world: World) -> None:
    """As when a client's next request is handled because its poll was answered."""

    class Answering(Subscriber):
        def write(self, data: bytes) -> bool:
            if b"message" in data and len(self.ids) < 3:
                world.publish("a")
            return super().write(data)

    subscribers = join(world, 4, "a")
    answering = Answering(world, world.form)
    world.subscribers.append(answering)
    answering.at["a"] = world.last
    answering.session.follow({"a": world.last}, [])
    world.settle()
    world.publish("a")
    world.settle()
    assert len(world.ids["a"]) == 4
    assert all(subscriber.ids == world.ids["a"] for subscriber in [*subscribers, answering])


def test_nobody_suffers_from_a_sink_that_fails(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Subscriber):
        def write(self, data: bytes) -> bool:
            raise RuntimeError("the transport is in no state to be written to")

    before = join(world, 2, "a")
    broken = Broken(world, world.form)
    broken.session.follow({"a": world.last}, [])
    world.until(lambda: broken.live)
    behind = join(world, 5, "a")
    for _ in range(3):
        world.publish("a")
        world.settle()
    assert all(subscriber.ids == world.ids["a"] for subscriber in [*before, *behind])
    assert broken.session.state is State.CLOSED
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_round_begins_before_those_who_wait_for_it(world: World) -> None:
    (subscriber,) = join(world, 1, "a")
    positions: list[int] = []
    world.hub.after_round(lambda: positions.append(world.hub.position))
    world.turn(5)
    assert positions == []
    world.publish("b")
    world.settle()
    assert positions == [world.last]
    assert subscriber.position == world.last


def test_the_position_of_a_subscriber_in_every_state(world: World) -> None:
    subscribers = join(world, 4, "a")
    (other,) = join(world, 1, "b")
    hub: Hub = world.hub
    start = hub.position
    (id,) = world.publish("a")
    assert [subscriber.position for subscriber in subscribers] == [start] * 4
    world.turn()
    assert [subscriber.position for subscriber in subscribers] == [id, id, id, start]
    assert other.position == id, "the round has nothing for it"
    world.turn()
    assert [subscriber.position for subscriber in subscribers] == [id] * 4
    (later,) = world.publish("b")
    world.turn()
    assert [subscriber.position for subscriber in subscribers] == [later] * 4


def test_a_subscriber_without_channels(world: World) -> None:
    subscriber = world.begin(None)
    world.publish("a")
    world.settle()
    assert subscriber.live
    assert subscriber.ids == []
    assert subscriber.position == world.last
    subscriber.follow("a", 0)
    world.settle()
    assert subscriber.ids == world.ids["a"]


def test_hub_of_the_running_loop(loop: asyncio.AbstractEventLoop, world: World) -> None:
    """Messages of one turn are handed out in the next, not at once: so they are gathered."""
    (subscriber,) = join(world, 1, "a")
    world.publish("a")
    assert subscriber.ids == []
    world.turn()
    assert subscriber.ids == world.ids["a"]


def test_internal_messages_are_heard_in_the_order_of_the_log(world: World) -> None:
    heard: list[int] = []
    world.hub.listen("!nodes", lambda message: heard.append(message.id))
    subscriber = world.subscribe("a")
    ids = world.publish("!nodes", "a", "!others", "!nodes")
    world.settle()
    assert heard == [ids[0], ids[3]]
    assert subscriber.ids == [ids[1]]


def test_what_the_servers_tell_each_other_is_not_counted(world: World) -> None:
    world.hub.listen("!nodes", lambda _: None)
    join(world, 1, "a")
    world.publish("a", "!nodes", "b", "!nodes")
    world.settle()
    assert world.hub.messages == 2


def test_a_listener_may_move_sessions_whose_round_is_under_way(world: World) -> None:
    """It is called when the round's shares are made, so nobody loses what came before it."""
    subscribers = join(world, 5, "a")
    world.hub.listen("!nodes", lambda _: subscribers[4].follow("b", 0))
    world.publish("a", "!nodes", "a")
    world.settle()
    world.check_end()
    assert all(subscriber.ids == world.ids["a"] for subscriber in subscribers)


def test_a_listener_that_fails_does_not_end_the_round(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(message: Message) -> None:
        raise ValueError(message.data)

    heard: list[bytes] = []
    world.hub.listen("!nodes", fail)
    world.hub.listen("!nodes", lambda message: heard.append(message.data))
    subscriber = world.subscribe("a")
    world.publish("!nodes", "a")
    world.settle()
    assert heard == [b"1"]
    assert subscriber.ids == world.ids["a"]
    assert caplog.records[0].getMessage() == "a message of !nodes was not understood"
