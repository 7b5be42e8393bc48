"""The commands of a WebSocket, on a real hub: their answers and their order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.transports.client import Client, id_of, ids, kinds
from tests.transports.frames import text
from tests.transports.world import EPOCH, World
from tidewire.model import Cursor, Draft, EngineUnavailable, Subscription
from tidewire.transports.dialogue import MOST_UNDER_WAY


def cursor(id: int) -> str:
    """An id as clients see it."""
    return f"{EPOCH}-{id}"


def publish(ref: int, data: object = 1, channel: str = "news") -> dict[str, object]:
    """A command to publish."""
    return {"type": "publish", "ref": ref, "channel": channel, "data": data}


# Before any command


def test_ready_comes_first(world: World) -> None:
    id = world.publish()
    assert Client(world).take() == [
        {"type": "ready", "id": cursor(id), "session": "s1", "recovered": False, "channels": []}
    ]


def test_channels_of_the_handshake(world: World) -> None:
    sent = [world.publish() for _ in range(3)]
    client = Client(world, Subscription(("news",), (Cursor(EPOCH, sent[0]),)))
    later = world.publish()
    ready, *messages = client.take()
    assert (ready["type"], ready["recovered"], ready["channels"]) == ("ready", True, ["news"])
    assert ids(messages) == [*sent[1:], later]


# Ping


@pytest.mark.parametrize("ref", [7, "x", 0, ""])
def test_ping(world: World, ref: object) -> None:
    assert Client(world).ask({"type": "ping", "ref": ref}) == [{"type": "ok", "ref": ref}]


def test_ping_without_a_ref(world: World) -> None:
    assert Client(world).ask({"type": "ping"}) == [{"type": "ok"}]


# Subscribe


def test_subscribe_from_now_on(world: World) -> None:
    before = world.publish("a")
    client = Client(world)
    assert client.ask({"type": "subscribe", "ref": 1, "channels": ["a", "b", "a"]}) == [
        {"type": "ok", "ref": 1, "id": cursor(before), "channels": ["a", "b"]}
    ]
    sent = [world.publish("a"), world.publish("b")]
    world.publish("c")
    assert ids(client.take()) == sent


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("shape", ["cursor", "since", "object", "object since", "number"])
def test_the_answer_comes_behind_the_backfill(world: World, forgotten: bool, shape: str) -> None:
    sent = [world.publish() for _ in range(4)]
    if forgotten:
        world.forget()
    fields: dict[str, dict[str, object]] = {
        "cursor": {"channels": ["news"], "cursor": cursor(sent[1])},
        "since": {"channels": ["news"], "since": "-2"},
        "object": {"channels": {"news": cursor(sent[1])}},
        "object since": {"channels": {"news": "-2"}},
        "number": {"channels": {"news": -2}},
    }
    answers = Client(world).ask({"type": "subscribe", "ref": 1} | fields[shape])
    assert kinds(answers) == ["message", "message", "ok"]
    assert ids(answers) == sent[2:]
    assert id_of(answers[-1]) == sent[-1]


def test_each_channel_has_its_own_start(world: World) -> None:
    a = [world.publish("a") for _ in range(2)]
    b = [world.publish("b") for _ in range(2)]
    world.publish("c")
    channels: dict[str, object] = {"a": cursor(a[0]), "b": "start", "c": "now"}
    answers = Client(world).ask({"type": "subscribe", "channels": channels})
    assert ids(answers) == [a[1], *b]
    assert kinds(answers)[-1] == "ok"


def test_a_large_backfill_comes_before_the_answer(world: World) -> None:
    for _ in range(600):
        world.log.append([Draft("news", b"1")])
    world.turn()
    world.forget()
    client = Client(world)
    client.take()
    client.send({"type": "subscribe", "ref": 1, "channels": ["news"], "since": "start"})
    answers = client.take()
    assert len(ids(answers)) == 600
    assert ids(answers) == sorted(set(ids(answers)))
    assert kinds(answers)[-1] == "ok"


def test_what_comes_meanwhile_is_in_its_place(world: World) -> None:
    first = world.publish()
    world.forget()
    client = Client(world)
    client.take()
    world.engine.holds = True
    client.send({"type": "subscribe", "ref": 1, "channels": ["news"], "since": "start"})
    second = world.publish()
    assert client.take() == []
    world.engine.holds = False
    world.engine.release()
    world.turn()
    answers = client.take()
    assert ids(answers) == [first, second]
    assert kinds(answers)[-1] == "ok"
    assert id_of(answers[-1]) == second


def test_a_gap_in_the_backfill(small_world: World) -> None:
    sent = [small_world.publish() for _ in range(6)]
    small_world.forget()
    answers = Client(small_world).ask(
        {"type": "subscribe", "channels": ["news"], "cursor": cursor(sent[0])}
    )
    assert kinds(answers) == ["gap", "message", "message", "message", "ok"]
    assert (answers[0]["id"], answers[0]["channel"]) == (cursor(sent[2]), "news")


def test_a_cursor_of_another_log_is_told_as_reset(world: World) -> None:
    sent = world.publish()
    answers = Client(world).ask({"type": "subscribe", "channels": ["news"], "cursor": "other-5"})
    assert kinds(answers) == ["gap", "message", "ok"]
    assert answers[0]["reason"] == "reset"
    assert ids(answers) == [sent]


@pytest.mark.parametrize("channels", [["news"], {"news": "now"}])
def test_subscribing_again_from_now_on_skips_nothing(world: World, channels: object) -> None:
    """The client is behind: what is due to it comes, although it asks to start at the newest."""
    client = Client(world, Subscription(("news",)))
    client.take()
    client.wire.takes = False
    sent = [world.publish() for _ in range(3)]
    client.send({"type": "subscribe", "ref": 1, "channels": channels})
    assert ids(client.take()) == sent[:1]
    client.wire.takes = True
    client.stream.resume()
    world.turn()
    *messages, ok = client.take()
    assert ids(messages) == sent[1:]
    assert ok == {"type": "ok", "ref": 1, "id": cursor(sent[2]), "channels": ["news"]}


def test_subscribing_again_from_a_cursor_sends_again(world: World) -> None:
    client = Client(world)
    client.send({"type": "subscribe", "channels": ["news"]})
    id = world.publish()
    assert ids(client.ask({"type": "subscribe", "channels": ["news"], "since": "start"})) == [id]
    later = world.publish()
    assert ids(client.take()) == [later]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "no_channels"),
        ({"channels": []}, "no_channels"),
        ({"channels": {}}, "no_channels"),
        ({"channels": ["a b"]}, "invalid_channel"),
        ({"channels": [""]}, "invalid_channel"),
        ({"channels": {"a b": "now"}}, "invalid_channel"),
        ({"channels": ["a"], "cursor": "x"}, "invalid_cursor"),
        ({"channels": {"a": "x"}}, "invalid_cursor"),
        ({"channels": {"a": "-0"}}, "invalid_since"),
        ({"channels": {"a": "\xb2"}}, "invalid_since"),
        ({"channels": ["a"], "since": "later"}, "invalid_since"),
        ({"channels": ["a"], "since": 10**18}, "invalid_since"),
        ({"channels": {"a": "now"}, "since": "now"}, "malformed"),
        ({"channels": {"a": "now"}, "cursor": "e-1"}, "malformed"),
        ({"channels": ["a", "b", "c", "d", "e"]}, "too_many_channels"),
        ({"channels": "a"}, "malformed"),
    ],
)
def test_wrong_subscriptions(world: World, fields: dict[str, object], code: str) -> None:
    (error,) = Client(world).ask({"type": "subscribe", "ref": 9} | fields)
    assert (error["type"], error["code"], error["ref"]) == ("error", code, 9)
    assert error["message"]


def test_the_channels_of_a_connection_are_counted_together(world: World) -> None:
    client = Client(world)
    (answer,) = client.ask({"type": "subscribe", "channels": ["a", "b", "c"]})
    assert answer["type"] == "ok"
    (answer,) = client.ask({"type": "subscribe", "channels": ["d", "e"]})
    assert answer["code"] == "too_many_channels"
    (answer,) = client.ask({"type": "subscribe", "channels": ["a", "d"]})
    assert answer["type"] == "ok"


def test_an_engine_that_is_away(world: World) -> None:
    client = Client(world)
    client.take()
    world.engine.holds = True
    client.send({"type": "subscribe", "ref": 1, "channels": ["a"], "since": "start"})
    world.engine.release(EngineUnavailable("the disk is away"))
    world.turn()
    (error,) = client.take()
    assert (error["code"], error["ref"]) == ("engine_unavailable", 1)
    world.engine.holds = False
    assert client.ask({"type": "ping"}) == [{"type": "ok"}]


# Unsubscribe


def test_unsubscribe(world: World) -> None:
    client = Client(world)
    client.send({"type": "subscribe", "channels": ["a", "b"]})
    before = world.publish("a")
    (answer,) = client.ask({"type": "unsubscribe", "ref": 2, "channels": ["a"]})
    assert answer == {"type": "ok", "ref": 2, "id": cursor(before), "channels": ["a"]}
    world.publish("a")
    kept = world.publish("b")
    assert ids(client.take()) == [kept]


def test_unsubscribe_from_everything(world: World) -> None:
    client = Client(world)
    client.send({"type": "subscribe", "channels": ["a"]})
    (answer,) = client.ask({"type": "unsubscribe", "channels": ["a"]})
    assert answer["type"] == "ok"
    world.publish("a")
    assert client.take() == []
    assert client.ask({"type": "subscribe", "channels": ["a"]})[0]["type"] == "ok"


@pytest.mark.parametrize(
    ("channels", "code"),
    [([], "no_channels"), (["b"], "not_subscribed"), (["a", "b"], "not_subscribed"), (["?"], None)],
)
def test_wrong_unsubscriptions(world: World, channels: list[str], code: str | None) -> None:
    client = Client(world)
    client.send({"type": "subscribe", "channels": ["a"]})
    (error,) = client.ask({"type": "unsubscribe", "ref": 3, "channels": channels})
    assert (error["type"], error["ref"]) == ("error", 3)
    assert error["code"] == (code or "invalid_channel")
    id = world.publish("a")
    assert ids(client.take()) == [id]


# Publish


def test_publish(world: World) -> None:
    (first,) = Client(world).ask(publish(1))
    (second,) = Client(world).ask(publish(2))
    assert second == {"type": "ok", "ref": 2, "id": second["id"], "channel": "news", "seq": 2}
    assert id_of(second) > id_of(first)


def test_what_was_published_comes_as_it_was_written(world: World) -> None:
    client = Client(world)
    client.send({"type": "subscribe", "channels": ["news"]})
    client.take()
    client.send(
        '{"type":"publish","ref":1,"channel":"news","data":{"b": 1.50},"event":"e",'
        '"headers":{"h":"v"},"key":"k"}'
    )
    frames = [frame.text for frame in client.frames()]
    assert sorted(json.loads(frame)["type"] for frame in frames) == ["message", "ok"]
    (message,) = [frame for frame in frames if '"message"' in frame]
    assert message.endswith('"event":"e","data":{"b": 1.50},"headers":{"h":"v"}}')


def test_a_key_that_was_used(world: World) -> None:
    client = Client(world)
    (first,) = client.ask(publish(1) | {"key": "k"})
    (second,) = client.ask(publish(2) | {"key": "k"})
    assert (first["id"], first["seq"]) == (second["id"], second["seq"])


def test_publish_a_batch(world: World) -> None:
    messages = [{"channel": "a", "data": 1}, {"channel": "b", "data": 2}]
    (answer,) = Client(world).ask({"type": "publish", "ref": 1, "messages": messages})
    assert (answer["type"], answer["ref"]) == ("ok", 1)
    assert [(item["channel"], item["seq"]) for item in answer["results"]] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "malformed"),
        ({"channel": "a"}, "malformed"),
        ({"data": 1}, "malformed"),
        ({"channel": "a", "data": 1, "messages": []}, "malformed"),
        ({"channel": "a b", "data": 1}, "invalid_channel"),
        ({"channel": "a", "data": 1, "event": "tidewire.x"}, "invalid_event"),
        ({"channel": "a", "data": 1, "key": ""}, "invalid_key"),
        ({"channel": "a", "data": "?", "encoding": "base64"}, "invalid_base64"),
        ({"channel": "a", "data": "x" * 999}, "too_large"),
        (
            {"messages": [{"channel": "a", "data": 1}, {"channel": "", "data": 1}]},
            "invalid_channel",
        ),
    ],
)
def test_wrong_publications(world: World, fields: dict[str, object], code: str) -> None:
    (error,) = Client(world).ask({"type": "publish", "ref": 4} | fields)
    assert (error["type"], error["code"], error["ref"]) == ("error", code, 4)
    assert world.do(world.log.head()) == 0


def test_a_batch_has_the_bounds_that_it_has_over_http(world: World) -> None:
    client = Client(world)
    item = {"channel": "a", "data": 1}
    (answer,) = client.ask({"type": "publish", "messages": [item] * 20})
    assert len(answer["results"]) == 20
    (error,) = client.ask({"type": "publish", "ref": 1, "messages": [item] * 21})
    assert (error["code"], error["ref"]) == ("too_large", 1)
    (error,) = client.ask({"type": "publish", "messages": [item, {"channel": "?", "data": 1}]})
    assert error["message"].startswith("messages[1]: ")


def test_a_publish_that_fails(world: World) -> None:
    client = Client(world)
    client.take()
    world.engine.holds = True
    client.send(publish(1), publish(2))
    assert client.take() == []
    world.engine.confirm(EngineUnavailable("the disk is full"))
    world.engine.confirm()
    world.turn()
    first, second = client.take()
    assert (first["type"], first["code"], first["ref"]) == ("error", "engine_unavailable", 1)
    assert (second["type"], second["ref"]) == ("ok", 2)


# History


def test_history(world: World) -> None:
    sent = [world.publish(data=b'"%d"' % n) for n in range(5)]
    world.publish("other")
    client = Client(world)
    (page,) = client.ask({"type": "history", "ref": 1, "channel": "news", "limit": 2})
    assert ids(page["messages"]) == sent[:2]
    assert (page["type"], page["ref"], page["channel"]) == ("ok", 1, "news")
    assert (page["more"], page["cursor"], page["gaps"]) == (True, cursor(sent[1]), [])
    (page,) = client.ask({"type": "history", "channel": "news", "cursor": page["cursor"]})
    assert ids(page["messages"]) == sent[2:]
    assert page["more"] is False
    (page,) = client.ask({"type": "history", "channel": "news", "since": -1})
    assert ids(page["messages"]) == sent[4:]


def test_history_with_a_gap(small_world: World) -> None:
    sent = [small_world.publish() for _ in range(6)]
    small_world.forget()
    (page,) = Client(small_world).ask(
        {"type": "history", "channel": "news", "cursor": cursor(sent[0])}
    )
    assert page["gaps"] == [
        {"type": "gap", "id": cursor(sent[2]), "channel": "news", "reason": "expired"}
    ]
    assert ids(page["messages"]) == sent[3:]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid_channel"),
        ({"channel": "a b"}, "invalid_channel"),
        ({"channel": "a", "limit": 0}, "invalid_limit"),
        ({"channel": "a", "limit": 1001}, "invalid_limit"),
        ({"channel": "a", "cursor": "x"}, "invalid_cursor"),
        ({"channel": "a", "since": "x"}, "invalid_since"),
    ],
)
def test_wrong_questions_for_history(world: World, fields: dict[str, object], code: str) -> None:
    (error,) = Client(world).ask({"type": "history", "ref": 5} | fields)
    assert (error["type"], error["code"], error["ref"]) == ("error", code, 5)


def test_history_of_an_engine_that_is_away(world: World) -> None:
    client = Client(world)
    client.take()
    world.engine.holds = True
    client.send({"type": "history", "ref": 1, "channel": "news"}, {"type": "ping", "ref": 2})
    world.engine.release(EngineUnavailable("the disk is away"))
    world.turn()
    error, ok = client.take()
    assert (error["code"], error["ref"]) == ("engine_unavailable", 1)
    assert ok == {"type": "ok", "ref": 2}


# What is no command


@pytest.mark.parametrize(
    ("command", "ref"),
    [
        ("", None),
        ("nonsense", None),
        ("[]", None),
        ("{}", None),
        ('{"type":"x","ref":5}', 5),
        ('{"ref":"r","type":"ping","unknown":1}', "r"),
        ('{"type":"ping","ref":1.5}', None),
    ],
)
def test_what_is_no_command(world: World, command: str, ref: object) -> None:
    client = Client(world)
    (error,) = client.ask(command)
    assert (error["type"], error["code"], error.get("ref")) == ("error", "malformed", ref)
    assert client.ask({"type": "ping"}) == [{"type": "ok"}]


def test_what_is_too_deep(world: World) -> None:
    (error,) = Client(world).ask('{"type":"publish","channel":"a","data":%s}' % ("[" * 5000))
    assert error["code"] == "too_deep"


# Order and back-pressure


def refs(envelopes: list[Any]) -> list[object]:
    """What the answers among *envelopes* answer."""
    return [item["ref"] for item in envelopes if item["type"] in ("ok", "error")]


def release(world: World) -> None:
    """Let every read go on that is held, and those that follow from it."""
    while world.engine.held:
        world.engine.release()
        world.turn()


@pytest.mark.parametrize("slow", ["history", "subscribe"])
def test_commands_wait_behind_a_slow_one(world: World, slow: str) -> None:
    world.publish()
    client = Client(world)
    client.take()
    world.engine.holds = True
    first: dict[str, dict[str, object]] = {
        "history": {"type": "history", "ref": 1, "channel": "news"},
        "subscribe": {"type": "subscribe", "ref": 1, "channels": ["news"], "since": "start"},
    }
    client.send(
        first[slow],
        {"type": "ping", "ref": 2},
        {"type": "history", "ref": 3, "channel": "news"},
        "nonsense",
        {"type": "ping", "ref": 5},
    )
    assert client.take() == []
    release(world)
    answers = client.take()
    assert [item.get("ref") for item in answers if item["type"] != "message"] == [1, 2, 3, None, 5]


def test_a_client_that_is_gone_while_commands_wait(world: World) -> None:
    client = Client(world)
    client.take()
    world.engine.holds = True
    client.send({"type": "history", "channel": "news"}, publish(2))
    client.stream.lost()
    client.close()
    client.take()
    release(world)
    assert client.take() == []
    assert world.do(world.log.head()) == 0  # what it had not begun is not done any more


def test_publishes_wait_for_no_answer(world: World) -> None:
    client = Client(world)
    client.take()
    world.engine.holds = True
    client.send(publish(1), publish(2), {"type": "ping", "ref": 3})
    assert refs(client.take()) == [3]
    world.engine.confirm()
    world.engine.confirm()
    world.turn()
    assert refs(client.take()) == [1, 2]


def confirm(world: World, count: int) -> None:
    """Answer the oldest appends."""
    for _ in range(count):
        world.engine.confirm()
    world.turn()


def test_reading_stops_while_too_many_publishes_are_under_way(world: World) -> None:
    client = Client(world)
    world.engine.holds = True
    client.send(*(publish(n) for n in range(MOST_UNDER_WAY - 1)))
    assert client.reads()
    client.send(publish(0))
    assert not client.reads()
    confirm(world, MOST_UNDER_WAY // 2 - 1)
    assert not client.reads()
    confirm(world, 1)
    assert client.reads()
    confirm(world, MOST_UNDER_WAY // 2)
    assert len(refs(client.take()[1:])) == MOST_UNDER_WAY


def test_reading_stops_while_too_many_commands_wait(world: World) -> None:
    client = Client(world)
    client.take()
    world.engine.holds = True
    client.send({"type": "history", "ref": -1, "channel": "news"})
    client.send(*({"type": "ping", "ref": n} for n in range(MOST_UNDER_WAY - 1)))
    assert client.reads()
    client.send({"type": "ping", "ref": MOST_UNDER_WAY - 1})
    assert not client.reads()
    release(world)
    assert client.reads()
    assert refs(client.take()) == [-1, *range(MOST_UNDER_WAY)]


@pytest.mark.parametrize("left", [0, 1, MOST_UNDER_WAY // 2, MOST_UNDER_WAY // 2 + 1])
def test_reading_goes_on_whichever_ends_last(world: World, left: int) -> None:
    client = Client(world)
    world.engine.holds = True
    many = MOST_UNDER_WAY + 10
    client.send(*(publish(n) for n in range(many)), {"type": "history", "channel": "news"})
    assert not client.reads()
    confirm(world, many - left)  # while the history is still being read
    assert not client.reads()
    release(world)
    assert client.reads() is (left <= MOST_UNDER_WAY // 2)
    confirm(world, left)
    assert client.reads()


def test_publishes_that_waited_behind_a_slow_command(world: World) -> None:
    client = Client(world)
    client.take()
    world.engine.holds = True
    client.send({"type": "history", "ref": -1, "channel": "news"})
    client.send(*(publish(n) for n in range(MOST_UNDER_WAY)))
    assert not client.reads()
    release(world)
    assert not client.reads()  # now the publishes are under way
    confirm(world, MOST_UNDER_WAY)
    assert client.reads()
    assert refs(client.take()) == [-1, *range(MOST_UNDER_WAY)]


def test_commands_in_pieces(world: World) -> None:
    client = Client(world)
    client.take()
    for byte in text('{"type":"ping","ref":1}') + text('{"type":"ping","ref":2}'):
        client.feed(bytes((byte,)))
    assert refs(client.take()) == [1, 2]
