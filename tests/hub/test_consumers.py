"""Durable consumers in the hub: what their sessions send again while the log goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.hub.world import World, items_of
from tidewire.hub import Consumers, Opening, Session, State
from tidewire.hub.consumer_records import TABLE, decode
from tidewire.hub.consumer_state import MOST_SINGLE, ConsumerState
from tidewire.model import Cursor, Draft, Replaced, Subscription
from tidewire.model.subscription import START

if TYPE_CHECKING:
    from asyncio import Future

    from tests.hub.conftest import MakeWorld

WAIT = 16.0
LATE = 17.0
"""Seconds until what was sent surely is due again."""
NOTED = 0.75
"""Seconds that what was sent may wait for an acknowledgement, before the timer notes it."""


class Reader:
    """A sink that keeps the ids it is given; it refuses what comes while it is ``slow``."""

    def __init__(self, house: House, name: str) -> None:
        self.house = house
        self.name = name
        self.ids: list[int] = []
        self.gaps: list[int] = []
        self.slow = False
        self.ended: int | None = None
        self.session: Session

    def write(self, data: bytes) -> bool:
        for item in items_of(data):
            if item.kind == "message":
                self.ids.append(item.id)
            elif item.kind == "gap":
                self.gaps.append(item.id)
        return not self.slow

    def end(self, code: int, reason: str, *, again: bool) -> None:
        assert not again
        self.ended = code
        self.session.close()

    def open(self, *channels: str, after: int | None = None, claims: bool = True) -> Reader:
        """Connect as the consumer, as a stream does."""
        world, hub = self.house.world, self.house.world.hub
        cursors = () if after is None else (Cursor(hub.engine.epoch, after),)
        attaching = self.house.consumers.attach(
            self.name, Subscription(channels, cursors, START), claims=claims
        )
        consumer, wanted = world.do(attaching)
        opening: Opening | None = None
        if channels:
            opening = world.do(hub.open(wanted, hub.position))
        self.session = Session(hub, self, world.form, self.name, consumer=consumer)
        self.write(self.session.begin(opening))
        self.session.go_on(more=opening is not None and opening.page.more, congested=self.slow)
        self.house.rest()
        return self

    def news(self) -> list[int]:
        """The ids that have come since this was asked last."""
        self.house.rest()
        found, self.ids = self.ids, []
        return found


class House:
    """A world with consumers in it; time passes when it is told to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.consumers = self.make_consumers(world)

    def make_consumers(self, world: World) -> Consumers:
        """The consumers of one hub."""
        return Consumers(world.hub, ack_wait=WAIT, max_deliver=3, ttl=1e6, clock=world.time)

    def reader(self, name: str = "bob") -> Reader:
        """A connection to be."""
        return Reader(self, name)

    def rest(self) -> None:
        """Let everything come to rest."""
        self.world.turn(60)

    def publish(self, *channels: str) -> list[int]:
        ids = self.world.publish(*channels)
        self.rest()
        return ids

    def later(self, seconds: float) -> None:
        """Let the timer note what was sent, and look once more when so much time has passed."""
        self.note()
        self.world.now += seconds
        self.consumers.look_after()
        self.rest()

    def note(self) -> None:
        """Let the timer look until it has noted what was sent."""
        self.consumers.look_after()
        self.world.now += NOTED
        self.consumers.look_after()

    @property
    def value(self) -> bytes | None:
        """The record of bob, as the log has it."""
        return self.world.do(self.world.log.get(TABLE, "bob"))

    @property
    def record(self) -> ConsumerState:
        """What it says."""
        assert self.value is not None
        return decode(self.value)

    def acknowledge(self, *ids: int, single: bool = False) -> None:
        """Acknowledge as bob."""
        future = self.consumers.records.acknowledge("bob", list(ids), single=single)
        self.world.do(future)
        self.rest()


@pytest.fixture
def house(world: World) -> House:
    """Consumers in a world with room for everything."""
    return House(world)


@pytest.fixture
def small_pages(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> House:
    """Consumers of a hub that keeps nothing in memory and reads four messages at a time."""
    monkeypatch.setattr("tidewire.hub.hub.PAGE_MESSAGES", 4)
    return House(make_world(recent=0))


# Again


def test_what_is_not_acknowledged_comes_again_in_its_time(house: House) -> None:
    bob = house.reader().open("a")
    ids = house.publish("a", "a", "a")
    assert bob.news() == ids
    house.acknowledge(ids[0])
    house.later(WAIT - 1)
    assert bob.news() == []
    house.later(LATE - WAIT + 1)
    assert bob.news() == ids[1:]
    assert house.world.hub.drops["redelivered"] == 2


def test_the_session_is_live_again_after_that(house: House) -> None:
    bob = house.reader().open("a")
    old = house.publish("a")
    house.later(LATE)
    assert bob.session.state is State.LIVE
    new = house.publish("a")
    assert bob.news() == old + old + new


def test_only_what_is_due_is_read_past(small_pages: House) -> None:
    house = small_pages
    bob = house.reader().open("a")
    first = house.publish(*["a"] * 10)
    house.later(2.0)
    second = house.publish(*["a"] * 10)
    house.later(LATE - 2.0)
    assert bob.news() == first + second + first
    house.later(2.0)
    assert bob.news() == second


def test_messages_of_others_in_between_mean_nothing(house: House) -> None:
    bob = house.reader().open("a", "b")
    ids = house.publish("x", "a", "x", "b", "x")
    house.later(LATE)
    assert bob.news() == [ids[1], ids[3]] * 2


def test_a_quiet_consumer_on_a_busy_server_reads_nothing(house: House) -> None:
    bob = house.reader().open("a")
    house.publish("a", "x")
    house.acknowledge(bob.news()[0])
    for _ in range(5):
        house.publish("x")
        house.later(LATE)
    assert bob.session.consumer is not None
    assert bob.session.consumer.state.regions == ()


def test_a_slow_client_gets_it_when_it_has_drained(house: House) -> None:
    bob = house.reader().open("a")
    ids = house.publish("a")
    bob.slow = True
    ids += house.publish("a", "a")
    house.later(LATE)
    assert bob.news() == ids
    bob.slow = False
    bob.session.resume()
    assert bob.news() == ids


def test_what_was_discarded_meanwhile_is_not_waited_for(make_world: MakeWorld) -> None:
    house = House(make_world(size=3))
    bob = house.reader().open("a")
    house.publish("a", "a")
    kept = house.publish("a", "a", "a")
    bob.news()
    house.later(LATE)
    assert bob.news() == kept
    assert bob.gaps == [], "it has had what is gone"
    house.acknowledge(kept[-1])
    house.later(LATE)
    assert bob.news() == []


def test_what_was_discarded_while_it_was_away_is_a_gap(make_world: MakeWorld) -> None:
    house = House(make_world(size=3))
    house.reader().open("a").session.close()
    ids = house.publish(*["a"] * 5)
    bob = house.reader().open("a")
    assert bob.gaps == [ids[1]]
    assert bob.news() == ids[2:]
    house.later(LATE)
    assert bob.gaps == [ids[1]], "it is told once"
    assert bob.news() == ids[2:]


def test_dead_letters(house: House) -> None:
    bob = house.reader().open("a")
    (id,) = house.publish("a")
    for _ in range(6):
        house.later(LATE)
    assert bob.news() == [id] * 3
    assert house.world.hub.drops["dead_lettered"] == 1
    state = house.world.do(house.consumers.state("bob"))
    assert state.has_acknowledged(id)


# Acknowledging


def test_an_acknowledgement_counts_while_it_comes_again(small_pages: House) -> None:
    house = small_pages
    bob = house.reader().open("a")
    ids = house.publish(*["a"] * 20)
    bob.news()
    house.note()
    house.world.now += LATE
    house.consumers.look_after()
    house.world.until(lambda: bob.ids)
    house.acknowledge(ids[-1])
    assert ids[-1] not in bob.news()
    house.later(LATE)
    assert bob.news() == []


def test_single_ones_raise_the_floor_again_and_again(house: House) -> None:
    bob = house.reader().open("a", "b")
    ids: list[int] = []
    for _ in range(3):
        ids = house.publish(*["a", "b"] * (MOST_SINGLE // 2 - 10))
        for id in ids:
            house.consumers.records.acknowledge("bob", [id], single=True).result()
            if id % 50 == 0:
                house.rest()
        house.rest()
    house.later(LATE)
    assert bob.session.consumer is not None
    assert bob.session.consumer.state.acked == ()
    assert bob.news()[-1] == ids[-1]
    house.later(LATE)
    assert bob.news() == []


def test_an_acknowledgement_on_another_server_is_heard_before_it_comes_again(
    house: House,
) -> None:
    bob = house.reader().open("a")
    ids = house.publish("a", "a")
    bob.news()
    elsewhere = house.make_consumers(house.world)
    house.world.do(elsewhere.records.acknowledge("bob", [ids[0]], single=False))
    house.later(LATE)
    assert bob.news() == [ids[1]]


# What the record has


def test_what_was_sent_is_kept_with_an_acknowledgement(house: House) -> None:
    house.reader().open("a")
    ids = house.publish("a", "a", "a")
    house.acknowledge(ids[0])
    assert [house.record.deliveries(id) for id in ids] == [0, 1, 1]
    assert (house.record.floor, house.record.sent) == (ids[0], ids[2])


def test_who_acknowledges_all_the_time_has_nothing_else_written(house: House) -> None:
    house.reader().open("a")
    for _ in range(5):
        ids = house.publish("a", "a")
        house.acknowledge(ids[0])
        house.publish("a")
        written = house.value
        house.consumers.look_after()
        house.world.now += NOTED
        assert house.value is written


def test_the_timer_keeps_what_nobody_acknowledges(house: House) -> None:
    house.reader().open("a")
    ids = house.publish("a", "a")
    assert house.record.sent < ids[0]
    house.note()
    assert house.record.sent == ids[1]


def test_what_another_server_was_told_stands_beside_what_was_sent_here(house: House) -> None:
    house.reader().open("a")
    ids = house.publish("a", "a", "a")
    elsewhere = house.make_consumers(house.world)
    house.world.do(elsewhere.records.acknowledge("bob", [ids[2]], single=True))
    house.acknowledge(ids[0])
    assert (house.record.floor, house.record.acked, house.record.sent) == (
        ids[0],
        (ids[2],),
        ids[2],
    )


def test_channels_that_were_added_are_kept_before_long(house: House) -> None:
    bob = house.reader().open("a")
    bob.session.follow({"b": 0}, [])
    house.note()
    assert set(house.record.channels) == {"a", "b"}


# One at a time


def test_the_newer_replaces_the_older(house: House) -> None:
    first = house.reader().open("a")
    ids = house.publish("a")
    second = house.reader().open("a")
    assert (first.ended, second.ended) == (4409, None)
    assert first.session.state is State.CLOSED
    assert first.news() == second.news() == ids
    state = house.world.do(house.consumers.state("bob"))
    assert state.deliveries(ids[0]) == 2


def test_who_is_replaced_before_its_stream_began(house: House) -> None:
    world, hub = house.world, house.world.hub
    wanted = Subscription(("a",), (), START)
    consumer, wanted = world.do(house.consumers.attach("bob", wanted, claims=True))
    late = house.reader()
    second = house.reader().open("a")
    late.session = Session(hub, late, world.form, "late", consumer=consumer)
    opening = world.do(hub.open(wanted, hub.position))
    late.write(late.session.begin(opening))
    late.session.go_on(more=False, congested=False)
    house.rest()
    assert (late.ended, second.ended) == (4409, None)
    house.publish("a")
    assert (late.news(), len(second.news())) == ([], 1)


def test_of_two_at_once_the_one_whose_claim_is_later(house: House) -> None:
    world = house.world
    wanted = Subscription(("a",), (), START)

    async def attach() -> object:
        try:
            return (await house.consumers.attach("bob", wanted, claims=True))[0]
        except Replaced:
            return None

    first, second = world.loop.create_task(attach()), world.loop.create_task(attach())
    house.rest()
    assert first.result() is None
    assert second.result() is not None


class AtOnce:
    """An engine whose changes are answered together, as those of one transaction are."""

    def __init__(self, house: House) -> None:
        self._engine: Any = house.world.hub.engine
        self._loop = house.world.loop
        self._answers: list[tuple[Future[Any], Future[Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def change(self, *arguments: Any) -> Future[Any]:
        future = self._loop.create_future()
        self._answers.append((future, self._engine.change(*arguments)))
        return future

    def answer(self) -> None:
        """Everything so far is kept."""
        for future, kept in self._answers:
            future.set_result(kept.result())
        self._answers.clear()


def test_an_acknowledgement_in_the_step_in_which_a_poll_comes_is_not_undone(house: House) -> None:
    """As when a poll reaches the server twice, and the client acknowledges the first answer."""
    house.reader().open("a", claims=False).session.close()
    ids = house.publish(*"aaa")
    engine: Any = AtOnce(house)
    house.consumers.records._engine = engine
    wanted = Subscription(("a",), (), START)
    attach = house.consumers.attach("bob", wanted, claims=False)
    attaching = house.world.loop.create_task(attach)
    house.rest()
    kept = house.consumers.records.acknowledge("bob", [ids[1]], single=False)
    engine.answer()
    house.rest()
    assert kept.done()
    consumer, opened = attaching.result()
    assert opened.cursors[0].id == consumer.state.floor == ids[1]
    consumer.close()
    house.rest()
    engine.answer()
    assert house.record.floor == ids[1]


def test_a_claim_on_another_server_ends_it_here(house: House) -> None:
    bob = house.reader().open("a")
    (receipt,) = house.world.log.append(
        [Draft("!consumers", b'{"consumer":"bob","claim":"elsewhere"}')]
    ).result()
    house.world.last = receipt.id
    house.rest()
    assert bob.ended == 4409


def test_what_makes_no_sense_on_the_servers_own_channel_ends_nobody(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    bob = house.reader().open("a")
    house.world.log.append([Draft("!consumers", b"[]")]).result()
    house.rest()
    assert bob.ended is None
    assert "was not understood" in caplog.text


# Channels that come later


def test_a_channel_that_is_taken_up_later_loses_nothing(house: House) -> None:
    bob = house.reader().open("a")
    ids = house.publish("a", "late", "a", "late")
    assert bob.news() == [ids[0], ids[2]]
    house.note()
    bob.session.follow({"late": 0}, [])
    assert bob.news() == [ids[1], ids[3]]
    house.acknowledge(ids[1])
    house.later(LATE)
    assert bob.news() == ids[2:]


def test_a_hole_in_the_feed_is_filled_for_a_consumer(house: House) -> None:
    bob = house.reader().open("a")
    ids = house.publish("a")
    house.note()
    ids += house.world.publish_elsewhere("a")
    ids += house.publish("a")
    assert bob.news() == ids


# Breaks of the feed


def test_what_the_feed_lacks_is_read_and_sent_once(house: House) -> None:
    bob = house.reader().open("a", "b")
    first = house.publish("a", "b")
    house.acknowledge(first[-1])
    lost = house.world.publish_elsewhere("a", "b", "a")
    house.world.hub._broken(first[-1], lost[-1])
    assert bob.news() == [*first, *lost]
    assert bob.session.state is State.LIVE
    last = house.publish("a")
    assert bob.news() == last
    house.acknowledge(last[-1])
    house.later(LATE)
    assert bob.news() == []


def test_what_is_not_acknowledged_is_due_beyond_a_break(house: House) -> None:
    bob = house.reader().open("a")
    first = house.publish("a", "a")
    lost = house.world.publish_elsewhere("a")
    house.world.hub._broken(first[-1], lost[-1])
    assert bob.news() == [*first, *lost]
    house.acknowledge(first[0])
    house.later(LATE)
    assert bob.news() == [first[1], *lost]


def test_a_break_in_which_nothing_is_missing(house: House) -> None:
    bob = house.reader().open("a")
    first = house.publish("a", "a")
    house.world.hub._broken(first[-1], first[-1] + 1)
    assert bob.news() == first
    assert bob.session.state is State.LIVE
