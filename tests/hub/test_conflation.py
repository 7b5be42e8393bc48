"""Slow clients: the latest only, the end of the stream, or all; and nothing left out untold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.world import FIRST_ID, HeldEngine
from tidewire.hub import State
from tidewire.hub.conflation import Conflation, Flows, conflated
from tidewire.model import Flow, Gap, Message, Namespaces, Page, Retention
from tidewire.model.subscription import START

if TYPE_CHECKING:
    from tests.hub.conftest import MakeWorld
    from tests.hub.world import Subscriber, World
    from tidewire.model import Since

LATEST = Flow("latest")
FLOWS = {
    "last": LATEST,
    "by": Flow("latest", "symbol"),
    "end": Flow("disconnect"),
    "all": Flow("catch_up"),
}
NAMESPACES = Namespaces(Retention(100, 10**15), flow=LATEST, flows=FLOWS)


def page(*messages: Message, gaps: list[Gap] | None = None, more: bool = False) -> Page:
    return Page(list(messages), gaps or [], messages[-1].id, more)


def message(id: int, channel: str = "last:a", symbol: str | None = None, size: int = 1) -> Message:
    headers = None if symbol is None else b'{"other":"x","symbol":"%b"}' % symbol.encode()
    return Message("e", id, channel, id, 0, b"1" * size, headers=headers)


def left(*messages: Message) -> tuple[list[int], list[tuple[str, int, int]]]:
    """What is left of the messages: ids, and channel, id and number of what is not."""
    result = conflated(page(*messages), Flows(NAMESPACES, None))
    assert all(gap.reason == "slow" for gap in result.gaps)
    skipped = [(gap.channel, gap.id, gap.skipped) for gap in result.gaps]
    return [message.id for message in result.messages], skipped


# What is left of a stretch


def test_the_newest_of_each_channel() -> None:
    assert left(message(1), message(2, "last:b"), message(3), message(4)) == (
        [2, 4],
        [("last:a", 3, 2)],
    )


def test_one_message_is_the_newest() -> None:
    assert left(message(1), message(2, "last:b")) == ([1, 2], [])


def test_other_channels_keep_all() -> None:
    assert left(message(1, "all:x"), message(2), message(3, "all:x"), message(4)) == (
        [1, 3, 4],
        [("last:a", 2, 1)],
    )


def test_the_newest_of_each_value_of_a_header() -> None:
    """Each run of skipped ones is told in its place: before the message that follows it."""
    symbols = ["x", "y", "x", "y", "z", "x", "x"]
    quotes = [message(id, "by:q", symbol) for id, symbol in enumerate(symbols, 1)]
    assert left(*quotes) == ([4, 5, 7], [("by:q", 3, 3), ("by:q", 6, 1)])


def test_messages_without_the_header_count_as_of_one_value() -> None:
    found = left(message(1, "by:q"), message(2, "by:q", "x"), message(3, "by:q"))
    assert found == ([2, 3], [("by:q", 1, 1)])


def test_the_subscribers_own_policy_is_before_that_of_the_namespace() -> None:
    messages = page(message(1, "all:x"), message(2, "all:x"))
    assert conflated(messages, Flows(NAMESPACES, "latest")).gaps == [Gap("all:x", 1, "slow", 1)]
    flows = Flows(NAMESPACES, "catch_up")
    assert not flows.any_is("latest", ["last:a"])
    assert not flows.any_is("disconnect", ["end:a"])
    assert Flows(NAMESPACES, None).any_is("disconnect", ["all:x", "end:a"])


def test_what_the_log_says_of_the_past_is_told_on() -> None:
    conflation = Conflation(Flows(NAMESPACES, None).of)
    conflation.add(page(message(5), gaps=[Gap("last:a", 4, "expired"), Gap("all:x", 2, "expired")]))
    conflation.add(page(message(9), gaps=[Gap("last:a", 7, "expired"), Gap("all:x", 6, "expired")]))
    result = conflation.result(9, more=False)
    assert [message.id for message in result.messages] == [9]
    assert result.gaps == [
        Gap("last:a", 7, "expired"),
        Gap("all:x", 2, "expired"),
        Gap("all:x", 6, "expired"),
        Gap("last:a", 5, "slow", 1),
    ]


def test_a_record_in_the_place_of_what_was_discarded_stays() -> None:
    record = Message("e", 2, "last:a", 0, 0, b"", gap="expired")
    assert left(message(1), record, message(3), message(4)) == (
        [2, 4],
        [("last:a", 1, 1), ("last:a", 3, 1)],
    )


def test_a_stretch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidewire.hub.conflation.MOST_KEPT", 3)
    monkeypatch.setattr("tidewire.hub.conflation.MOST_BYTES", 100)

    def full(*messages: Message) -> bool:
        conflation = Conflation(Flows(NAMESPACES, None).of)
        conflation.add(page(*messages))
        return conflation.full

    assert not full(*[message(id, size=90) for id in range(1, 9)])
    assert not full(message(1, "all:x"), message(2, "all:x"))
    assert full(message(1, "all:x"), message(2, "all:x"), message(3, "all:x"))
    assert full(message(1, size=60), message(2, "last:b", size=40))


# Sessions


@pytest.fixture(params=["memory", "log"])
def world(request: pytest.FixtureRequest, make_world: MakeWorld) -> World:
    """A world with these namespaces, whose hub reads from memory, or always from the log."""
    return make_world(recent=10_000 if request.param == "memory" else 0, flows=FLOWS)


def slow(world: World, *channels: str, policy: str | None = None) -> Subscriber:
    """A live subscriber that takes one more message, and that one came."""
    subscriber = world.subscribe(*channels, policy=policy)
    world.settle()
    subscriber.congest()
    world.publish(channels[0])
    world.settle()
    assert len(subscriber.ids) == 1
    return subscriber


def test_a_slow_subscriber_gets_the_latest_and_is_told_of_the_rest(world: World) -> None:
    subscriber = slow(world, "last:a", "last:b")
    sent = world.publish("last:a", "last:a", "last:b", "last:a", "last:b")
    world.settle()
    world.check_end()
    assert subscriber.ids[1:] == sent[3:]
    assert subscriber.skips == [(sent[1], "last:a", 2), (sent[2], "last:b", 1)]
    assert world.hub.drops == {"slow": 2, "skipped": 3}


def test_channels_of_several_policies_on_one_stream(world: World) -> None:
    subscriber = slow(world, "all:x", "last:a")
    sent = world.publish("all:x", "last:a", "all:x", "last:a", "all:x")
    world.settle()
    world.check_end()
    assert subscriber.ids[1:] == [sent[0], *sent[2:]]
    assert subscriber.skips == [(sent[1], "last:a", 1)]


@pytest.mark.parametrize(
    ("namespace", "policy", "received"),
    [("all", "latest", 1), ("last", "catch_up", 5), ("end", "catch_up", 5), ("last", None, 1)],
)
def test_the_subscriber_may_choose(
    world: World, namespace: str, policy: str | None, received: int
) -> None:
    subscriber = slow(world, f"{namespace}:a", policy=policy)
    world.publish(*[f"{namespace}:a"] * 5)
    world.settle()
    world.check_end()
    assert len(subscriber.ids) == 1 + received


@pytest.mark.parametrize(("channel", "policy"), [("end:a", None), ("all:a", "disconnect")])
def test_the_end_of_the_stream(world: World, channel: str, policy: str | None) -> None:
    subscriber = world.subscribe(channel, "all:x", policy=policy)
    fast = world.subscribe(channel, "all:x", policy=policy)
    world.settle()
    subscriber.congest()
    world.publish("all:x")
    world.publish(channel)
    world.settle()
    assert subscriber.ended == (1013, "too slow", True)
    assert subscriber.session.state is State.CLOSED
    assert world.hub.drops == {"disconnected": 1}
    assert fast.ids == sorted(world.ids["all:x"] + world.ids[channel])


def test_who_catches_up_at_its_own_pace_has_not_fallen_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that comes back with a long way to go is not ended for it, and gets all."""
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 3)
    world.publish("end:a", *["last:a"] * 9)
    world.settle()
    subscriber = world.subscribe("end:a", "last:a", since=START)
    subscriber.congest()
    world.turn(20)
    received = subscriber.ids
    assert len(received) < 10
    assert subscriber.ended is None
    world.check_end()
    assert len(subscriber.ids) == 10


def test_the_next_time_is_the_same_again(world: World) -> None:
    """Live in between, it gets all."""
    subscriber = slow(world, "last:a")
    sent = []
    for _ in range(2):
        sent.append(world.publish("last:a", "last:a", "last:a")[-1])
        subscriber.drain()
        world.settle()
        sent += world.publish("last:a", "last:a")
        world.settle()
        subscriber.congest()
        sent += world.publish("last:a")
        world.settle()
    world.check_end()
    assert subscriber.ids[1:] == sent


@pytest.mark.parametrize("since", [None, START])
def test_opening_with_the_policy_latest(world: World, since: Since | None) -> None:
    first = world.publish("all:x", "all:x", "all:x", "all:y")
    world.settle()
    if since is None:
        subscriber = world.subscribe("all:x", "all:y", after=first[0], policy="latest")
        skipped = 1
    else:
        subscriber = world.subscribe("all:x", "all:y", since=since, policy="latest")
        skipped = 2
    assert subscriber.items[0].reason == str(since is None)
    assert subscriber.ids == first[2:]
    assert subscriber.skips == [(first[1], "all:x", skipped)]
    world.check_end()


def test_a_namespace_alone_does_not_shorten_what_a_cursor_asks_for(world: World) -> None:
    sent = world.publish("last:a", "last:a", "last:a")
    world.settle()
    assert world.subscribe("last:a", after=sent[0]).ids == sent[1:]


def test_recovered_when_the_newest_is_there(make_world: MakeWorld) -> None:
    """What was discarded meanwhile would have been skipped anyway."""
    world = make_world(recent=0, size=1)
    (cursor,) = world.publish("a")
    world.settle()
    assert world.subscribe("a", after=cursor, policy="latest").items[0].reason == "True"
    world.publish("a", "a", "a")
    world.settle()
    assert world.subscribe("a", after=cursor, policy="latest").items[0].reason == "True"
    assert world.subscribe("a", after=cursor).items[0].reason == "False"


def test_a_cursor_beyond_the_end_of_the_log_gets_the_newest(world: World) -> None:
    """The log has lost its tail: its newest message is what counts now, and it is there."""
    sent = world.publish("a", "a", "a")
    world.settle()
    ready, *told = world.subscribe("a", after=sent[-1] + 1_000, policy="latest").items
    assert ready.reason == "True"
    assert [(item.kind, item.reason) for item in told[:-1]] == [("gap", "reset"), ("gap", "slow")]
    assert told[-1].id == sent[-1]


def test_not_recovered_when_the_newest_is_gone(make_world: MakeWorld) -> None:
    world = make_world(recent=0, size=0)
    cursor = world.publish("b")[0]
    world.publish("a", "a")
    world.settle()
    subscriber = world.subscribe("a", after=cursor, policy="latest")
    assert subscriber.items[0].reason == "False"
    assert subscriber.gaps == [(world.last, "a", "expired")]


def test_far_behind_the_latest_comes_stretch_by_stretch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stretch is one write; nothing that is the newest of its value is ever left out."""
    monkeypatch.setattr("tidewire.hub.conflation.MOST_KEPT", 4)
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 2)
    subscriber = slow(world, "by:q")
    for _ in range(3):
        for symbol in "abcdef":
            world.publish("by:q", headers=b'{"symbol":"%b"}' % symbol.encode())
    world.settle()
    before = subscriber.writes
    world.check_end()
    assert subscriber.ids[-6:] == world.ids["by:q"][-6:]
    assert subscriber.writes - before <= 5


def test_a_read_of_the_latest_serves_all_who_ask_the_same(make_world: MakeWorld) -> None:
    world = make_world(recent=0, held=True, flows=FLOWS)
    engine = world.engine
    assert isinstance(engine, HeldEngine)
    engine.holds = False
    subscribers = [world.subscribe("last:a") for _ in range(5)]
    gets_all = world.subscribe("last:a", policy="catch_up")
    world.settle()
    for subscriber in (*subscribers, gets_all):
        subscriber.congest()
    world.publish("last:a")
    world.settle()
    sent = world.publish("last:a", "last:a", "last:a")
    world.settle()
    engine.reads.clear()
    world.check_end()
    assert [s.ids[1:] for s in subscribers] == [sent[2:]] * 5
    assert gets_all.ids[1:] == sent
    assert len(engine.reads) == 2


def test_the_position_in_the_cursor_is_behind_what_was_skipped(world: World) -> None:
    subscriber = slow(world, "last:a")
    sent = world.publish("last:a", "last:a")
    world.settle()
    before = subscriber.position
    subscriber.drain()
    world.settle()
    assert (before, subscriber.position) == (FIRST_ID, sent[-1])
    assert subscriber.ids[1:] == sent[1:]
