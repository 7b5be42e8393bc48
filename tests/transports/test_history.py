"""Pages of a channel's kept messages."""

from __future__ import annotations

import json

import pytest

from tests.transports.world import EPOCH, World
from tidewire.model import BadRequest, Cursor, Draft, EngineUnavailable, Since, Subscription
from tidewire.model.subscription import NOW, START
from tidewire.transports import history
from tidewire.transports.history import HistoryPage, history_json, read_history


def wanted(after: int | None = None, since: Since = START) -> Subscription:
    """The channel "news" from a position, or from *since*."""
    return Subscription(("news",), () if after is None else (Cursor(EPOCH, after),), since)


def read(world: World, subscription: Subscription, limit: int = 100) -> HistoryPage:
    """One page."""
    return world.do(read_history(world.hub, subscription, limit))


def ids(page: HistoryPage) -> list[int]:
    """The ids of a page's messages."""
    return [message.id for message in page.messages]


def test_nothing_was_ever_published(world: World) -> None:
    assert read(world, wanted()) == HistoryPage([], [], f"{EPOCH}-0", False)


@pytest.mark.parametrize("forgotten", [False, True])
def test_pages_go_on_from_each_others_cursors(world: World, forgotten: bool) -> None:
    sent = [world.publish() for _ in range(7)]
    other = world.publish("other")
    if forgotten:
        world.forget()
    first = read(world, wanted(), 3)
    assert (ids(first), first.more, first.cursor) == (sent[:3], True, f"{EPOCH}-{sent[2]}")
    second = read(world, wanted(sent[2]), 3)
    assert (ids(second), second.more) == (sent[3:6], True)
    third = read(world, wanted(sent[5]), 3)
    assert (ids(third), third.more, third.cursor) == (sent[6:], False, f"{EPOCH}-{other}")
    assert read(world, wanted(other), 3).messages == []


def test_a_page_that_ends_with_the_last_message_says_so(world: World) -> None:
    sent = [world.publish() for _ in range(3)]
    page = read(world, wanted(), 3)
    assert (ids(page), page.more) == (sent, False)


def test_the_starts(world: World) -> None:
    sent = [world.publish() for _ in range(5)]
    assert ids(read(world, wanted(since=Since("last", 2)))) == sent[3:]
    assert ids(read(world, wanted(since=NOW))) == []
    assert ids(read(world, wanted(since=Since("time", sent[0] // 1000)))) == sent
    assert ids(read(world, wanted(since=Since("time", sent[0] // 1000 + 1)))) == []


def test_what_is_gone_is_told(small_world: World) -> None:
    sent = [small_world.publish() for _ in range(6)]
    page = read(small_world, wanted(sent[0]))
    assert ids(page) == sent[3:]
    (gap,) = page.gaps
    assert (gap.id, gap.channel, gap.reason) == (f"{EPOCH}-{sent[2]}", "news", "expired")
    assert read(small_world, wanted(sent[2])).gaps == []


def test_a_cursor_of_another_log(world: World) -> None:
    sent = [world.publish() for _ in range(2)]
    page = read(world, Subscription(("news",), (Cursor("other", 1),)))
    assert ids(page) == sent
    assert [gap.reason for gap in page.gaps] == ["reset"]


def test_a_cursor_of_the_future(world: World) -> None:
    sent = world.publish()
    page = read(world, wanted(sent + 100))
    assert ids(page) == []
    assert [(gap.id, gap.reason) for gap in page.gaps] == [(f"{EPOCH}-{sent}", "reset")]
    assert page.cursor == f"{EPOCH}-{sent}"


def test_a_reset_beyond_what_the_hub_has_seen(world: World) -> None:
    sent = world.publish()
    world.engine.ahead = 5
    page = read(world, wanted(sent + 100))
    assert [gap.id for gap in page.gaps] == [f"{EPOCH}-{sent + 5}"]
    assert page.cursor == f"{EPOCH}-{sent + 5}"


def test_a_page_is_bounded_in_bytes(world: World) -> None:
    data = b'"%b"' % (b"x" * (history.HISTORY_BYTES // 4))
    world.log.append([Draft("news", data)] * 5)
    world.turn()
    page = read(world, wanted())
    assert (len(page.messages), page.more) == (3, True)
    assert len(read(world, wanted(page.messages[-1].id)).messages) == 2


def test_an_engine_that_is_away(world: World) -> None:
    world.publish()
    world.engine.holds = True
    task = world.loop.create_task(read_history(world.hub, wanted(), 10))
    world.turn()
    world.engine.release(EngineUnavailable("the disk is away"))
    world.turn()
    assert isinstance(task.exception(), EngineUnavailable)


def test_too_many_cursors(world: World) -> None:
    with pytest.raises(BadRequest):
        read(world, Subscription(("news",), (Cursor(EPOCH, 1), Cursor(EPOCH, 2))))


def test_a_page_as_json(small_world: World) -> None:
    sent = [small_world.publish(data=b'"%d"' % n) for n in range(6)]
    page = json.loads(history_json(read(small_world, wanted(sent[0]), 2)))
    assert [(item["type"], item["data"]) for item in page["messages"]] == [
        ("message", "3"),
        ("message", "4"),
    ]
    assert page["cursor"] == f"{EPOCH}-{sent[4]}"
    assert page["more"] is True
    assert page["gaps"] == [
        {"type": "gap", "id": f"{EPOCH}-{sent[2]}", "channel": "news", "reason": "expired"}
    ]
    empty = history_json(read(small_world, wanted(sent[5])))
    assert empty == b'{"messages":[],"cursor":"epoch1-%d","more":false,"gaps":[]}' % sent[5]
