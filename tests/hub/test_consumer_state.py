"""A consumer's state: plain values, against what a list of every message would say."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tidewire.hub.consumer_state import (
    MOST_SINGLE,
    Choice,
    ConsumerState,
    Redelivery,
    Region,
    acknowledge,
    acknowledge_single,
    at_work,
    check_size,
    choose,
    choose_late,
    come_back,
    delay,
    mark_sent,
    merge,
    settle,
    take_over,
)
from tidewire.model import Message, TooManySingleAcks

RULES = Redelivery(wait=1_600, most=3)
LATE = RULES.wait + RULES.slack
"""Ms until a message surely comes again."""

NEW = ConsumerState(floor=10, begun=10)


def message(id: int, channel: str = "a", gap: str | None = None) -> Message:
    return Message("epoch1", id, channel, 1, 0, b"1", gap=gap)


def messages(*ids: int) -> list[Message]:
    return [message(id) for id in ids]


def sent(choice: Choice) -> list[tuple[int, int]]:
    """What goes out: ids, and the how manieth time it is."""
    return [(m.id, m.deliveries) for m in choice.send]


# What is sent, and when again


def test_what_was_never_sent_goes_out_as_it_is() -> None:
    page = messages(11, 12)
    choice = choose(NEW, page, 10, 20, 0, RULES)
    assert all(one is other for one, other in zip(choice.send, page, strict=True))
    assert choice.again == 0
    assert choice.state.deliveries(11) == choice.state.deliveries(12) == 1


def test_nothing_comes_again_before_its_time() -> None:
    state = mark_sent(NEW, 12, 0, RULES)
    assert state.due == LATE
    assert sent(choose(state, messages(11, 12, 13), 10, 20, LATE - 1, RULES)) == [(13, 1)]
    assert state.first_due(LATE - 1) is None


def test_in_its_time_it_comes_again_and_says_so() -> None:
    state = mark_sent(NEW, 12, 0, RULES)
    assert state.first_due(LATE) == 10
    choice = choose(state, messages(11, 12), 10, 20, LATE, RULES)
    assert sent(choice) == [(11, 2), (12, 2)]
    assert choice.again == 2
    assert choice.state.due == LATE + LATE


def test_messages_sent_soon_after_each_other_are_due_together() -> None:
    state = mark_sent(NEW, 11, 0, RULES)
    state = mark_sent(state, 12, RULES.slack, RULES)
    assert state.regions == (Region(12, 1, LATE),)
    state = mark_sent(state, 13, RULES.slack + 1, RULES)
    assert state.regions == (Region(12, 1, LATE), Region(13, 1, LATE + RULES.slack + 1))


def test_when_the_clock_went_back_a_new_region_begins() -> None:
    state = mark_sent(mark_sent(NEW, 11, 10**9, RULES), 12, 0, RULES)
    assert state.regions[-1] == Region(12, 1, LATE)


def test_what_was_sent_in_vain_often_enough_is_dead() -> None:
    state = NEW
    for times in range(1, RULES.most + 1):
        choice = choose(state, messages(11, 12), 10, 20, times * LATE, RULES)
        assert sent(choice) == [(11, times), (12, times)]
        state = choice.state
    choice = choose(state, messages(11, 12), 10, 20, 9 * LATE, RULES)
    assert choice.send == []
    assert [m.id for m in choice.dead] == [11, 12]
    # Until it is buried and acknowledged, it is dead again in its time.
    assert choice.state.first_due(10 * LATE - 1) is None
    assert len(choose(choice.state, messages(11), 10, 20, 10 * LATE, RULES).dead) == 1


def test_without_a_most_it_comes_again_for_ever() -> None:
    state = NEW
    for times in range(1, 20):
        choice = choose(state, messages(11), 10, 20, times * LATE, Redelivery(RULES.wait, 0))
        assert sent(choice) == [(11, times)]
        state = choice.state


def test_a_gap_record_is_told_once() -> None:
    page = [message(11, gap="expired")]
    first = choose(NEW, page, 10, 20, 0, RULES)
    assert len(first.send) == 1
    second = choose(first.state, page, 10, 20, LATE, RULES)
    assert second.send == []
    assert second.state.first_due(LATE) is None


def test_where_no_message_is_left_nothing_is_due() -> None:
    state = mark_sent(NEW, 15, 0, RULES)
    choice = choose(state, [], 10, 20, LATE, RULES)
    assert choice.state.regions == ()
    assert choice.state.due is None


def test_a_stretch_in_the_middle_leaves_the_rest_alone() -> None:
    state = mark_sent(NEW, 18, 0, RULES)
    choice = choose(state, messages(13, 15), 12, 16, LATE, RULES)
    assert choice.state.regions == (
        Region(12, 1, LATE),
        Region(15, 2, 2 * LATE),
        Region(18, 1, LATE),
    )


def test_the_first_due_behind_an_id() -> None:
    state = mark_sent(mark_sent(NEW, 12, 0, RULES), 18, 900, RULES)
    assert state.first_due(LATE) == 10
    assert state.first_due(LATE, after=11) == 11
    assert state.first_due(LATE, after=12) is None
    assert state.first_due(LATE + 900, after=12) == 12


# Acknowledging


def test_acknowledging_up_to_an_id() -> None:
    state = acknowledge(mark_sent(NEW, 15, 0, RULES), 12)
    assert [state.has_acknowledged(id) for id in (9, 12, 13)] == [True, True, False]
    assert sent(choose(state, messages(11, 12, 13), 10, 20, LATE, RULES)) == [(13, 2)]


def test_acknowledging_below_the_floor_changes_nothing() -> None:
    assert acknowledge(NEW, 9) is NEW
    assert acknowledge_single(NEW, [9, 10]) is NEW


def test_acknowledging_twice_changes_nothing() -> None:
    state = acknowledge_single(NEW, [12])
    assert acknowledge_single(state, [12]) is state


def test_single_acknowledgements_leave_what_is_between() -> None:
    state = acknowledge_single(mark_sent(NEW, 15, 0, RULES), [14, 12])
    assert state.acked == (12, 14)
    choice = choose(state, messages(11, 12, 13, 14, 15), 10, 20, LATE, RULES)
    assert sent(choice) == [(11, 2), (13, 2), (15, 2)]


def test_the_floor_rises_over_what_is_acknowledged() -> None:
    state = acknowledge_single(NEW, [12, 14, 16])
    state = settle(state, [12, 14, 15, 16], 20)
    assert (state.floor, state.acked) == (14, (16,))
    state = settle(acknowledge_single(state, [15]), [15, 16], 20)
    assert (state.floor, state.acked) == (20, ())


def test_a_record_has_room_for_so_many() -> None:
    state = acknowledge_single(NEW, range(11, 11 + MOST_SINGLE))
    assert check_size(state) is state
    with pytest.raises(TooManySingleAcks, match="up to an id"):
        check_size(acknowledge_single(state, [5_000]))


# Wanted again


def test_a_message_that_is_wanted_at_once() -> None:
    state = delay(mark_sent(NEW, 13, 0, RULES), 12, due=5)
    assert state.due == 5
    assert state.first_due(5) == 11
    choice = choose(state, messages(12, 13), 11, 20, 5, RULES)
    assert sent(choice) == [(12, 2)]
    assert choice.state.delayed == {}


def test_a_message_that_is_wanted_later_waits_longer_than_others() -> None:
    state = delay(mark_sent(NEW, 13, 0, RULES), 12, due=9_000)
    choice = choose(state, messages(11, 12, 13), 10, 20, LATE, RULES)
    assert sent(choice) == [(11, 2), (13, 2)]
    assert choice.state.first_due(8_999, after=13) is None
    assert sent(choose(choice.state, messages(12), 11, 12, 9_000, RULES)) == [(12, 2)]


def test_what_is_acknowledged_is_not_wanted_again() -> None:
    state = acknowledge_single(NEW, [12])
    assert delay(state, 12, due=0) is state
    assert delay(state, 9, due=0) is state
    assert acknowledge_single(delay(NEW, 12, due=0), [12]).delayed == {}
    assert acknowledge(delay(NEW, 12, due=0), 12).delayed == {}


# Coming back


def test_who_comes_back_gets_everything_again() -> None:
    state = come_back(mark_sent(NEW, 13, 0, RULES), 10, 5, RULES)
    assert state.first_due(5) == 10
    assert sent(choose(state, messages(11, 13, 14), 10, 20, 5, RULES)) == [
        (11, 2),
        (13, 2),
        (14, 1),
    ]


def test_what_it_has_received_comes_when_it_is_due() -> None:
    state = come_back(mark_sent(NEW, 13, 0, RULES), 12, 5, RULES)
    assert sent(choose(state, messages(11, 12, 13), 10, 20, 5, RULES)) == [(13, 2)]
    assert sent(choose(state, messages(11, 12), 10, 12, LATE, RULES)) == [(11, 2), (12, 2)]


def test_what_it_has_received_was_sent_though_nobody_noted_it() -> None:
    state = come_back(NEW, 12, 0, RULES)
    assert state.deliveries(12) == 1
    assert state.due == LATE


def test_a_clock_that_went_back_delays_nothing_for_long() -> None:
    state = come_back(mark_sent(NEW, 12, 10**9, RULES), 12, 0, RULES)
    assert state.due == LATE


# A channel that is taken up later


def test_what_waits_behind_an_acknowledgement_has_time_again() -> None:
    """A consumer that is at work is not sent what it has not come to yet."""
    state = choose(NEW, messages(11, 12, 13), 10, 13, 0, RULES).state
    early = at_work(acknowledge(state, 11), RULES.slack, RULES)
    assert early == acknowledge(state, 11), "little time is gone: nothing to change"
    now = RULES.wait - 1
    state = at_work(acknowledge(state, 11), now, RULES)
    assert state.first_due(now + RULES.wait) is None
    choice = choose(state, messages(12, 13), 11, 13, now + LATE, RULES)
    assert sent(choice) == [(12, 2), (13, 2)]


def test_what_is_to_come_at_once_is_not_put_off_by_an_acknowledgement() -> None:
    """A new connection has the first page only: the rest must still come before what is newer."""
    state = choose(NEW, messages(11, 12, 13), 10, 13, 0, RULES).state
    state = come_back(take_over(state, 1), 10, RULES.wait - 1, RULES)
    state = choose(state, messages(11), 10, 11, RULES.wait - 1, RULES).state
    state = at_work(acknowledge(state, 11), RULES.wait, RULES)
    choice = choose(state, messages(12, 13, 14), 11, 14, RULES.wait, RULES)
    assert [id for id, _ in sent(choice)] == [12, 13, 14]


def test_what_lies_below_an_acknowledgement_has_not() -> None:
    state = choose(NEW, messages(11, 12, 13), 10, 13, 0, RULES).state
    state = at_work(acknowledge_single(state, [12]), RULES.wait - 1, RULES)
    choice = choose(state, messages(11, 12, 13), 10, 13, LATE, RULES)
    assert sent(choice) == [(11, 2)]


def test_what_a_consumer_at_work_had_no_time_for_is_no_dead_letter() -> None:
    """It does one thing a connection; what was sent with that is counted, but not given up."""
    state, ids = NEW, [11, 12, 13, 14, 15, 16]
    for turn, first in enumerate(ids):
        state = come_back(take_over(state, turn + 1), state.floor, 0, RULES)
        choice = choose(state, messages(*ids[turn:]), state.floor, 16, 0, RULES)
        assert sent(choice)[0] == (first, turn + 1)
        assert choice.dead == []
        state = acknowledge(choice.state, first)


def test_what_is_refused_by_every_connection_is_a_dead_letter() -> None:
    state = NEW
    for turn in range(RULES.most):
        state = come_back(take_over(state, turn + 1), state.floor, 0, RULES)
        choice = choose(state, messages(11), state.floor, 11, 0, RULES)
        assert sent(choice) == [(11, turn + 1)]
        state = choice.state
    state = come_back(take_over(state, 9), state.floor, 0, RULES)
    assert [m.id for m in choose(state, messages(11), 10, 11, 0, RULES).dead] == [11]


def test_a_channel_taken_up_later_is_sent_where_others_were() -> None:
    state = mark_sent(NEW, 15, 0, RULES)
    page = [message(11, "a"), message(12, "late"), message(16, "a"), message(17, "late")]
    choice = choose_late(state, page, {"late": 10}, 5, RULES)
    assert sent(choice) == [(12, 1), (16, 1), (17, 1)]
    assert choice.state.deliveries(17) == 1
    again = choose(choice.state, page, 10, 20, LATE + LATE, RULES)
    assert sent(again) == [(11, 2), (12, 2), (16, 2), (17, 2)]


def test_of_a_late_channel_nothing_acknowledged_comes() -> None:
    state = acknowledge_single(mark_sent(NEW, 15, 0, RULES), [12])
    page = [message(12, "late"), message(13, "late")]
    assert sent(choose_late(state, page, {"late": 12}, 5, RULES)) == [(13, 1)]


# The record and the holder


def test_acknowledgements_are_the_records_and_deliveries_the_holders() -> None:
    own = delay(mark_sent(NEW, 15, 0, RULES), 13, 700)
    record = acknowledge_single(acknowledge(delay(NEW, 14, 900), 11), [13])
    merged = merge(record, own, served={})
    assert (merged.floor, merged.acked) == (11, (13,))
    assert merged.regions == own.regions
    assert merged.delayed == {14: 900}


def test_a_delay_that_was_carried_out_is_gone_unless_it_is_another() -> None:
    record = delay(delay(NEW, 12, 5), 13, 6)
    assert merge(record, NEW, served={12: 5, 13: 4}).delayed == {13: 6}


def test_a_floor_that_the_holder_saw_rise_stays() -> None:
    own = settle(mark_sent(NEW, 15, 0, RULES), [14], 20)
    assert merge(acknowledge_single(NEW, [12]), own, served={}).floor == 13


# Any order of events


@dataclass
class Known:
    """All there is to know of one message; it is due between two times."""

    id: int
    times: int = 0
    acknowledged: bool = False
    dead: bool = False
    earliest: int = 0
    latest: int = 0
    waits: int | None = None


class Deliveries(RuleBasedStateMachine):
    """A consumer of every second message of a log, against a list of them.

    Never lost, never sent after it was acknowledged, counted exactly, never early, and late by no
    more than the slack; dead after so many deliveries.
    """

    @initialize()
    def begin(self) -> None:
        self.state = NEW
        self.now = 0
        self.head = NEW.floor
        self.all: list[Known] = []

    def known(self, data: st.DataObject) -> Known:
        return data.draw(st.sampled_from(self.all))

    def send(self, one: Known) -> None:
        assert not one.acknowledged
        one.times += 1
        one.waits = None
        one.earliest, one.latest = self.now + RULES.wait, self.now + LATE

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        for _ in range(count):
            self.head += 2
            self.all.append(Known(self.head))

    @rule()
    def live(self) -> None:
        """All that is new goes out, as it does to a live session."""
        self.state = mark_sent(self.state, self.head, self.now, RULES)
        for one in self.all:
            if not one.times and not one.acknowledged:
                self.send(one)

    @rule(ms=st.sampled_from([1, RULES.slack, RULES.wait // 2, RULES.wait, LATE, 3 * LATE]))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def acknowledge_up_to(self, data: st.DataObject) -> None:
        upto = self.known(data).id
        self.state = acknowledge(self.state, upto)
        for one in self.all:
            one.acknowledged |= one.id <= upto

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def acknowledge_one(self, data: st.DataObject) -> None:
        one = self.known(data)
        self.state = acknowledge_single(self.state, [one.id])
        one.acknowledged = True

    @precondition(lambda self: any(one.times for one in self.all))
    @rule(data=st.data(), ms=st.sampled_from([0, 10, RULES.wait, 3 * LATE]))
    def want_again(self, data: st.DataObject, ms: int) -> None:
        one = data.draw(st.sampled_from([one for one in self.all if one.times]))
        self.state = delay(self.state, one.id, self.now + ms)
        one.waits = self.now + ms

    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        places = [self.state.floor, *(one.id for one in self.all if one.id > self.state.floor)]
        received = data.draw(st.sampled_from(places))
        self.state = come_back(self.state, received, self.now, RULES)
        for one in self.all:
            if one.id <= received and not one.times and not one.acknowledged:
                self.send(one)
            elif one.id > received:
                one.earliest = one.latest = 0

    @rule(size=st.integers(1, 5), whole=st.booleans())
    def read(self, size: int, whole: bool) -> None:
        """Go back to what is due, or to the floor, and read on to the end in pages."""
        start = self.state.first_due(self.now)
        position = self.state.floor if start is None or whole else start
        for one in self.all:
            if not one.acknowledged and self.must_come(one):
                assert position < one.id, f"{one} is due, and left out"
        while position < self.head:
            page = [one for one in self.all if one.id > position][:size]
            end = page[-1].id if len(page) == size else self.head
            found = messages(*(one.id for one in page))
            choice = choose(self.state, found, position, end, self.now, RULES)
            self.check(page, choice)
            self.state = choice.state
            if position <= self.state.floor:
                self.state = settle(self.state, [one.id for one in page], end)
            position = end

    def may_come(self, one: Known) -> bool:
        return self.now >= (one.earliest if one.waits is None else one.waits)

    def must_come(self, one: Known) -> bool:
        return self.now >= (one.latest if one.waits is None else one.waits)

    def check(self, page: list[Known], choice: Choice) -> None:
        goes = {m.id: m.deliveries for m in choice.send}
        dead = {m.id for m in choice.dead}
        for one in page:
            if one.id in goes or one.id in dead:
                assert not one.acknowledged
                assert self.may_come(one), f"{one} is early"
            else:
                assert one.acknowledged or not self.must_come(one), f"{one} is late"
            if one.id in goes:
                self.send(one)
                assert goes[one.id] == one.times
                assert one.times <= RULES.most
            elif one.id in dead:
                assert one.times == RULES.most
                one.waits = None
                one.earliest, one.latest = self.now + RULES.wait, self.now + LATE

    @invariant()
    def agrees(self) -> None:
        for one in self.all:
            assert self.state.has_acknowledged(one.id) == one.acknowledged
            if one.id > self.state.floor and not one.acknowledged:
                assert self.state.deliveries(one.id) == one.times

    @invariant()
    def stays_small(self) -> None:
        assert len(self.state.regions) <= 2 * len(self.all) + 1
        uptos = [region.upto for region in self.state.regions]
        assert uptos == sorted(set(uptos))
        assert all(upto > self.state.floor for upto in uptos)


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=300, stateful_step_count=30)
