"""Records of sessions: what is kept, when, and who may write it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import pytest

from tidewire.hub import Holding, SessionRecord, SessionRecords, Terms
from tidewire.hub.session_records import TABLE
from tidewire.log import MemoryEngine
from tidewire.model import EngineUnavailable

if TYPE_CHECKING:
    from asyncio import Future

    from tests.hub.world import Subscriber, World
    from tidewire.log.engine import Change

TTL = 300
ID = "s1"
TERMS = Terms("ws", device="a phone")


class SlowRecords(MemoryEngine):
    """A log whose changes of records are done when the test says so."""

    def __init__(self, world: World) -> None:
        super().__init__(world.log.namespaces, clock=world.time)
        self.waiting: list[Future[bytes | None]] = []
        self._world = world

    def change(self, table: str, key: str, change: Change, ttl: float) -> Future[bytes | None]:
        self._loop = self._world.loop
        super().change(table, key, change, ttl)
        future: Future[bytes | None] = self._world.loop.create_future()
        self.waiting.append(future)
        return future


def records(world: World) -> SessionRecords:
    return SessionRecords(world.log, TTL, world.time)


def connect(
    world: World, at: SessionRecords, *channels: str, holder: int = 0
) -> tuple[Subscriber, Holding]:
    """A connection that follows *channels* from now on."""
    head = world.hub.recent.head
    subscriber = world.subscribe(*channels) if channels else world.begin(None)
    subscriber.session.id = ID
    return subscriber, at.hold(
        subscriber.session, TERMS, dict.fromkeys(channels, head), holder=holder
    )


def kept(world: World) -> SessionRecord | None:
    """The record as another server would find it."""
    value = world.do(world.log.get(TABLE, ID))
    return None if value is None else msgspec.msgpack.decode(value, type=SessionRecord)


def channels_kept(world: World) -> dict[str, int]:
    record = kept(world)
    assert record is not None
    return record.channels


def test_it_is_written_when_the_connection_ends(world: World) -> None:
    (start,) = world.publish("a")
    world.settle()
    _, holding = connect(world, records(world), "a", "b")
    assert kept(world) is None  # an idle connection costs no write
    world.now += 1
    holding.close()
    now = int(world.now * 1000)
    assert kept(world) == SessionRecord(
        world.log.epoch, {"a": start, "b": start}, TERMS, closed_at=now, kept_at=now
    )


def test_a_connection_without_channels_leaves_nothing(world: World) -> None:
    _, holding = connect(world, records(world))
    holding.close()
    assert kept(world) is None


def test_what_a_pong_confirms_has_arrived(world: World) -> None:
    _, holding = connect(world, records(world), "a")
    confirmed = world.publish("a")[-1]
    world.settle()
    mark = holding.mark()
    world.publish("a")
    world.settle()
    holding.confirm(mark)
    holding.close()
    assert channels_kept(world) == {"a": confirmed}


@pytest.mark.parametrize("forged", [b"", b"12345678", b"\xff" * 12, b"\xff" * 13])
def test_a_pong_of_the_clients_own_confirms_nothing(world: World, forged: bytes) -> None:
    _, holding = connect(world, records(world), "a")
    start = world.hub.position
    world.publish("a")
    world.settle()
    holding.confirm(forged)
    holding.close()
    assert channels_kept(world) == {"a": start}


def test_an_older_pong_takes_nothing_back(world: World) -> None:
    _, holding = connect(world, records(world), "a")
    world.publish("a")
    world.settle()
    older = holding.mark()
    last = world.publish("a")[-1]
    world.settle()
    holding.confirm(holding.mark())
    holding.confirm(older)
    holding.close()
    assert channels_kept(world) == {"a": last}


def test_a_new_channel_is_kept_at_once_with_its_own_start(world: World) -> None:
    old = world.publish("b", "b", "b")
    world.settle()
    subscriber, holding = connect(world, records(world), "a")
    subscriber.follow("b", old[0])
    holding.followed({"b": old[0]})
    assert channels_kept(world) == {"a": old[-1], "b": old[0]}
    record = kept(world)
    assert record is not None
    assert record.closed_at == 0


def test_a_ping_from_before_a_backfill_does_not_confirm_it(world: World) -> None:
    old = world.publish("b", "b")
    world.settle()
    subscriber, holding = connect(world, records(world), "a")
    last = world.publish("a")[-1]
    world.settle()
    before = holding.mark()
    subscriber.follow("b", old[0])
    holding.followed({"b": old[0]})
    world.settle()
    holding.confirm(before)
    holding.changed()
    assert channels_kept(world) == {"a": old[-1], "b": old[0]}
    holding.confirm(holding.mark())
    holding.changed()
    assert channels_kept(world) == {"a": last, "b": last}


def test_a_channel_that_was_given_up_is_no_part_of_it(world: World) -> None:
    subscriber, holding = connect(world, records(world), "a", "b")
    subscriber.unfollow("b")
    holding.changed()
    assert list(channels_kept(world)) == ["a"]


async def nothing(records: SessionRecords) -> bool:
    return await records.take_up(ID) is None and await records.look(ID) is None


def test_an_unknown_session(world: World) -> None:
    assert world.do(nothing(records(world)))
    assert kept(world) is None


def test_a_session_is_forgotten_after_its_time(world: World) -> None:
    _, holding = connect(world, records(world), "a")
    holding.close()
    world.now += TTL + 1
    assert world.do(nothing(records(world)))


def test_taken_up_it_is_open_again(world: World) -> None:
    at = records(world)
    _, holding = connect(world, at, "a")
    holding.close()
    world.now += 10
    taken = world.do(at.take_up(ID))
    assert taken is not None
    assert (taken.closed_at, list(taken.channels)) == (0, ["a"])
    assert taken.holder != 0
    assert kept(world) == taken


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_older_connection_does_not_write_over_a_newer_one(world: World, elsewhere: bool) -> None:
    at = records(world)
    subscriber, older = connect(world, at, "a")
    subscriber.follow_now("b")
    older.followed({"b": world.hub.position})
    other = records(world) if elsewhere else at
    taken = world.do(other.take_up(ID))
    assert taken is not None
    _, newer = connect(world, other, "a", "b", "c", holder=taken.holder)
    newer.changed()
    older.close()
    assert list(channels_kept(world)) == ["a", "b", "c"]
    again = world.do(at.look(ID))
    assert again is not None
    assert list(again.channels) == ["a", "b", "c"]


def test_a_connection_whose_end_was_not_noticed_yet_can_be_taken_up(world: World) -> None:
    at = records(world)
    connect(world, at, "a")
    looked, taken = world.do(at.look(ID)), world.do(at.take_up(ID))
    assert looked is not None
    assert taken is not None
    assert list(looked.channels) == list(taken.channels) == ["a"]


def test_an_open_connection_here_is_not_believed_when_it_was_taken_up_elsewhere(
    world: World,
) -> None:
    here, there = records(world), records(world)
    _, older = connect(world, here, "a")
    older.changed()
    taken = world.do(there.take_up(ID))
    assert taken is not None
    _, newer = connect(world, there, "a", "b", holder=taken.holder)
    newer.close()
    back = world.do(here.take_up(ID))
    assert back is not None
    assert list(back.channels) == ["a", "b"]


def test_it_is_not_forgotten_while_the_connection_is_open(world: World) -> None:
    _, holding = connect(world, records(world), "a")
    holding.changed()
    for _ in range(20):
        world.now += TTL / 4
        holding.refresh()
    assert channels_kept(world)


def test_what_was_never_written_needs_no_refreshing(world: World) -> None:
    _, holding = connect(world, records(world), "a")
    world.now += TTL
    holding.refresh()
    assert kept(world) is None


def test_polls_keep_it_alive(world: World) -> None:
    at = records(world)
    _, holding = connect(world, at, "a")
    holding.close()
    for _ in range(20):
        world.now += TTL / 4
        assert world.do(at.look(ID)) is not None
    world.now += TTL * 1.3
    assert world.do(at.look(ID)) is None


def test_any_number_of_changes_are_two_writes(world: World) -> None:
    engine = SlowRecords(world)
    _, holding = connect(world, SessionRecords(engine, TTL, world.time), "a")
    for _ in range(100):
        holding.changed()
    assert len(engine.waiting) == 1
    engine.waiting[0].set_result(b"")
    world.turn(2)
    assert len(engine.waiting) == 2
    holding.changed()
    holding.close()
    assert len(engine.waiting) == 3
    for write in engine.waiting[1:]:
        write.set_result(b"")
    world.turn(2)
    assert len(engine.waiting) == 3


def test_it_is_closed_once(world: World) -> None:
    engine = SlowRecords(world)
    _, holding = connect(world, SessionRecords(engine, TTL, world.time), "a")
    holding.close()
    holding.close()
    assert len(engine.waiting) == 1


def test_a_record_that_cannot_be_kept_is_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    engine = SlowRecords(world)
    _, holding = connect(world, SessionRecords(engine, TTL, world.time), "a")
    holding.changed()
    engine.waiting[0].set_exception(EngineUnavailable("the disk is full"))
    holding.close()
    engine.waiting[1].set_exception(ValueError("broken"))
    world.turn(2)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, "a session's record was not kept: the disk is full"),
        (logging.ERROR, "a session's record was not kept"),
    ]
