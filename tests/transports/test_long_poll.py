"""Long polls: held until there is something to answer."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from tests.transports.world import EPOCH, FakeResponder, World
from tidewire.hub import State
from tidewire.model import Cursor, Draft, EngineUnavailable, Gap, Page, Subscription
from tidewire.model.subscription import NOW, START
from tidewire.transports.long_poll import LongPoll

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADERS = b"X-Constant: yes\r\n"
DEADLINE = 130.0


def validators(cursor: str) -> bytes:
    """The lines that every answer has: its cursor, and the pair that means the same."""
    second = int(cursor.partition("-")[2]) // 1_000_000
    return (
        f'ETag: "{cursor}"\r\nLast-Modified: {formatdate(second, usegmt=True)}\r\n'
        f"Tidewire-Cursor: {cursor}\r\n"
    ).encode()


class Poll:
    """One long poll, begun as the server begins it."""

    def __init__(
        self, world: World, *channels: str, after: int | None = None, raw: bool = False
    ) -> None:
        self.world = world
        self.responder = FakeResponder()
        cursors = () if after is None else (Cursor(EPOCH, after),)
        self.wanted = Subscription(channels or ("news",), cursors)
        self.poll = LongPoll(
            self.responder,
            world.hub,
            raw=raw,
            recovered=bool(cursors),
            headers=HEADERS,
            deadline=DEADLINE,
        )

    def begin(self, wanted: Subscription | None = None) -> Poll:
        """Open it, and let everything come to rest."""
        hub = self.world.hub
        wanted = wanted or self.wanted
        opening = hub.open_now(wanted, hub.recent.head) or self.world.open(wanted)
        self.poll.begin(opening)
        return self

    @property
    def held(self) -> bool:
        """Whether it waits for its answer."""
        return self.responder.answer is None

    @property
    def body(self) -> dict[str, Any]:
        """The body of its answer, after its head was looked at."""
        answer = self.responder.answer
        assert answer is not None
        assert answer.status == 200
        body: dict[str, Any] = json.loads(answer.body)
        cursor = body["cursor"]
        assert answer.headers == HEADERS + validators(cursor)
        assert self.poll.session.state is State.CLOSED
        return body

    @property
    def ids(self) -> list[int]:
        """The ids of the messages of its answer."""
        return [int(item["id"].partition("-")[2]) for item in self.body["messages"]]


def test_what_is_there_is_answered_at_once(world: World) -> None:
    sent = [world.publish() for _ in range(3)]
    poll = Poll(world, after=sent[0]).begin()
    assert poll.ids == sent[1:]
    assert poll.body["cursor"] == f"{EPOCH}-{sent[2]}"
    assert (poll.body["hasNew"], poll.body["recovered"], poll.body["gaps"]) == (True, True, [])


def test_a_poll_for_nothing_new_is_held_and_answered_by_the_next_message(world: World) -> None:
    world.publish()
    poll = Poll(world).begin()
    world.publish("other")
    assert poll.held
    id = world.publish()
    assert poll.ids == [id]
    assert poll.body["recovered"] is False
    world.publish()  # FakeResponder would object to another answer


def test_a_poll_is_answered_once_for_all_messages_of_a_round(world: World) -> None:
    poll = Poll(world).begin()
    world.log.append([Draft("news", b"1"), Draft("other", b"2"), Draft("news", b"3")])
    world.turn()
    assert [item["data"] for item in poll.body["messages"]] == [1, 3]


def test_several_channels(world: World) -> None:
    poll = Poll(world, "a", "b", after=0).begin()
    assert poll.held
    id = world.publish("b")
    assert poll.ids == [id]
    assert poll.body["recovered"] is True


def test_held_polls_of_the_same_channels_share_their_answer(world: World) -> None:
    polls = [Poll(world).begin() for _ in range(3)]
    world.publish()
    bodies = [poll.responder.answer.body for poll in polls if poll.responder.answer is not None]
    assert len(bodies) == 3
    assert all(body is bodies[0] for body in bodies)


def test_the_form_raw(world: World) -> None:
    poll = Poll(world, raw=True).begin()
    world.publish(data=b'"text"')
    assert poll.body["messages"] == ["text"]


def test_a_gap_is_an_answer(small_world: World) -> None:
    sent = [small_world.publish() for _ in range(6)]
    small_world.forget()
    poll = Poll(small_world, after=sent[0]).begin()
    assert poll.ids == sent[3:]
    assert [gap["reason"] for gap in poll.body["gaps"]] == ["expired"]
    assert poll.body["recovered"] is False


def test_a_reset_is_an_answer_without_messages(world: World) -> None:
    id = world.publish()
    poll = Poll(world).begin(Subscription(("news",), (Cursor(EPOCH, id + 50),)))
    assert poll.ids == []
    assert [gap["reason"] for gap in poll.body["gaps"]] == ["reset"]
    assert poll.body["cursor"] == f"{EPOCH}-{id}"


def test_more_than_a_page(world: World) -> None:
    world.log.append([Draft("news", b"1")] * 300)
    world.turn()
    poll = Poll(world).begin(Subscription(("news",), (), START))
    assert len(poll.ids) == 256
    assert poll.body["more"] is True
    rest = Poll(world, after=poll.ids[-1]).begin()
    assert len(rest.ids) == 44
    assert "more" not in rest.body


def test_a_held_poll_is_told_that_the_log_has_lost_something(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.publish()
    seam = before + 10

    async def read(after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        page = await world.log.read(after, upto, limit, max_bytes)
        return page._replace(gaps=[Gap(channel, seam, "reset") for channel in after])

    monkeypatch.setattr(world.engine, "read", read)
    poll = Poll(world, after=before).begin()
    assert poll.held
    world.hub._broken(before, seam)
    world.turn()
    assert [(gap["id"], gap["reason"]) for gap in poll.body["gaps"]] == [
        (f"{EPOCH}-{seam}", "reset")
    ]
    assert poll.body["recovered"] is False
    assert poll.body["cursor"] == f"{EPOCH}-{seam}"


def test_a_held_poll_is_told_that_another_log_has_taken_the_place(world: World) -> None:
    before = world.publish()
    poll = Poll(world, after=before).begin()
    world.engine.epoch = world.log.epoch = "other1"
    world.hub._broken(0, before)
    world.turn()
    answer = poll.responder.answer
    assert answer is not None
    body = json.loads(answer.body)
    assert [gap["reason"] for gap in body["gaps"]] == ["reset"]
    assert body["recovered"] is False
    assert body["cursor"].startswith("other1-")


# The end of the wait


def answered_nothing(poll: Poll, position: int) -> bool:
    """Whether the answer says that there was nothing, with the right cursor."""
    assert poll.poll.session.state is State.CLOSED
    headers = HEADERS + validators(f"{EPOCH}-{position}")
    return poll.responder.answer == (204, headers, b"")


def test_nothing_came(world: World) -> None:
    id = world.publish()
    poll = Poll(world).begin()
    other = world.publish("other")
    assert poll.poll.on_timer(100) == 30
    assert poll.held
    assert poll.poll.on_timer(130) == 0
    assert answered_nothing(poll, other)
    assert other > id
    world.publish()


def test_the_cursor_of_nothing_misses_nothing(world: World) -> None:
    poll = Poll(world).begin()
    poll.poll.on_timer(DEADLINE)
    assert answered_nothing(poll, 0)
    id = world.publish()
    assert Poll(world, after=0).begin().ids == [id]


def test_draining(world: World) -> None:
    id = world.publish()
    poll = Poll(world).begin()
    poll.poll.drain()
    assert answered_nothing(poll, id)


def test_a_client_that_is_gone(world: World) -> None:
    poll = Poll(world).begin()
    poll.poll.lost()
    world.publish()
    assert poll.held
    assert poll.poll.session.state is State.CLOSED


# Beside a round


def feed_without_a_round(world: World, *channels: str) -> list[int]:
    """Messages that memory has taken in but no round has begun to hand out."""
    hub = world.hub
    receipts = world.log.append([Draft(channel, b"1") for channel in channels]).result()
    fed, hub._fed = hub._fed, []
    hub.recent.extend(fed)
    hub._unsent.extend(fed)
    return [receipt.id for receipt in receipts]


def test_a_poll_that_knows_more_than_the_rounds(world: World) -> None:
    (known,) = feed_without_a_round(world, "news")
    poll = Poll(world, after=known).begin()
    assert poll.held
    world.turn()  # the round with the message that it has does not come to it
    assert poll.held
    id = world.publish()
    assert poll.ids == [id]


def test_what_came_meanwhile_is_answered(world: World) -> None:
    (known,) = feed_without_a_round(world, "news")
    poll = Poll(world, after=known).begin()
    later = feed_without_a_round(world, "news")
    world.turn()
    assert poll.ids == later


@pytest.mark.parametrize("end", ["timer", "lost", "drain"])
def test_a_poll_that_ends_before_its_round(world: World, end: str) -> None:
    (known,) = feed_without_a_round(world, "news")
    poll = Poll(world, after=known).begin()
    if end == "timer":
        poll.poll.on_timer(DEADLINE)
    elif end == "lost":
        poll.poll.lost()
    else:
        poll.poll.drain()
    assert poll.held is (end == "lost")
    if end != "lost":
        assert answered_nothing(poll, known)
    world.publish()
    assert poll.held is (end == "lost")


def test_what_was_handed_out_while_the_log_was_asked_is_answered_at_once(world: World) -> None:
    """Not only when the next round begins."""
    known = world.publish("other")
    world.forget()
    world.engine.holds = True
    poll = Poll(world, after=known - 1)
    opening = world.loop.create_task(world.hub.open(poll.wanted, world.hub.recent.head))
    world.turn()
    id = world.publish()
    world.engine.release()
    world.turn()
    poll.poll.begin(opening.result())
    world.turn()
    assert poll.ids == [id]


def test_a_cursor_beyond_the_rounds_hides_nothing_of_the_other_channel(world: World) -> None:
    seen = world.publish("a")
    receipts = world.log.append([Draft("a", b"1"), Draft("b", b"1")]).result()
    cursors = (Cursor(EPOCH, seen), Cursor(EPOCH, receipts[1].id))
    poll = Poll(world, "a", "b")
    poll.begin(Subscription(("a", "b"), cursors))
    world.turn()
    assert receipts[0].id in poll.ids


def forget_all(world: World) -> None:
    """Let memory know of no position in the log, so that any read must ask the engine."""
    recent = world.hub.recent
    world.hub.recent = type(recent)(recent.head + 1, world.log.namespaces)


@pytest.mark.parametrize("broken", [False, True])
def test_the_log_is_asked_when_memory_has_moved_on(world: World, broken: bool) -> None:
    (known,) = feed_without_a_round(world, "news")
    poll = Poll(world, after=known).begin()
    (later,) = feed_without_a_round(world, "news")
    forget_all(world)
    world.engine.holds = True
    world.turn()
    assert poll.held
    if broken:
        world.engine.release(EngineUnavailable("the disk is away"))
        world.turn()
        assert answered_nothing(poll, known)
    else:
        world.engine.release()
        world.turn()
        assert poll.ids == [later]


def test_a_poll_that_ends_while_the_log_is_asked(world: World) -> None:
    (known,) = feed_without_a_round(world, "news")
    poll = Poll(world, after=known).begin()
    feed_without_a_round(world, "news")
    forget_all(world)
    world.engine.holds = True
    world.turn()
    poll.poll.on_timer(DEADLINE)
    assert answered_nothing(poll, known)
    world.engine.release()
    world.turn()


def test_the_default_start_is_now(world: World) -> None:
    world.publish()
    assert Poll(world).wanted.since == NOW
    assert Poll(world).begin().held


def test_what_the_feed_lost_is_part_of_the_answer(world: World) -> None:
    """The next message gives the hole away; the held poll looks into the log again."""
    first = world.publish()
    poll = Poll(world).begin()
    assert poll.held
    feed, world.log._feed = world.log._feed, None
    lost = world.publish()
    world.log._feed = feed
    assert poll.held
    last = world.publish()
    assert poll.ids == [lost, last]
    assert first < lost
