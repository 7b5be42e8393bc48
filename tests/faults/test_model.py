"""The model finds each broken invariant: a run that it passes has been looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.acceptance.checker import BrokenPromiseError, Message, body_of
from tests.faults.model import (
    EVERYBODY,
    Answered,
    Event,
    Footprint,
    Gap,
    Published,
    Ready,
    Verdict,
    View,
    judge,
    judge_healing,
    judge_server,
)

KEPT = ["a", "b"]


def message(position: int, channel: str, seq: int, data: str, *, epoch: str = "e") -> Message:
    return Message(position, epoch, channel, seq, body_of({"data": data}))


LOG = [
    message(10, "a", 1, "one 0"),
    message(11, "b", 1, "two 0"),
    message(15, "a", 2, "one 1"),
    message(20, "a", 3, "one 2"),
]
SHORT = [message(30 + n, "short", n + 1, f"three {n}") for n in range(6)]


def published(*messages: Message) -> Published:
    """What was published: publisher and number stand in the data, and all is acknowledged."""
    model = Published()
    for one in messages:
        attempt(model, one)
    model.acknowledge(messages)
    return model


def attempt(model: Published, one: Message) -> None:
    publisher, number = one.body.removeprefix('{"data": "').removesuffix('"}').split(" ")
    model.attempt(publisher, int(number), {"data": f"{publisher} {number}"})


def verdict(*events: Event, model: Published | None = None) -> Verdict:
    """The verdict on a subscriber of the kept channels."""
    return judge(model or published(*LOG), {"x": View(KEPT, [*events])}, kept=KEPT)["x"]


def of_short(*events: Event) -> Verdict:
    """The verdict on a subscriber of a channel that keeps little."""
    return judge(published(*SHORT), {"x": View(["short"], [*events])}, kept=KEPT)["x"]


def of_everybody(model: Published, *views: View) -> list[str]:
    """What is broken for all."""
    seen = {str(number): view for number, view in enumerate(views)}
    return judge(model, seen, kept=KEPT)[EVERYBODY].broken


def gap(position: int, reason: str = "expired", *, channel: str = "short", epoch: str = "e") -> Gap:
    return Gap(channel, epoch, position, reason)


def test_a_perfect_run() -> None:
    views = {name: View(KEPT, [Ready(True), *LOG[:2], Ready(True), *LOG[2:]]) for name in "xy"}
    verdicts = judge(published(*LOG), views, kept=KEPT)
    assert [found.broken for found in verdicts.values()] == [[], [], []]
    assert verdicts["x"] == Verdict(sent=4, received=4)
    verdicts["x"].check()


def test_a_failure_says_how_much_and_shows_the_first() -> None:
    with pytest.raises(BrokenPromiseError, match=r"^4 broken, 4 lost, 0 dup.*\n  \(a\) lost a#1"):
        verdict(Ready(True)).check()


# a: nothing acknowledged is lost


@pytest.mark.parametrize("missing", range(4))
def test_a_finds_a_lost_message(missing: int) -> None:
    found = verdict(*LOG[:missing], *LOG[missing + 1 :])
    assert found.lost == 1
    assert f"(a) lost {LOG[missing]}" in found.broken


def test_a_a_message_without_an_answer_may_come_or_not() -> None:
    model = published(*LOG[:3])
    attempt(model, LOG[3])
    assert verdict(*LOG[:3], model=model).broken == []
    assert verdict(*LOG, model=model).broken == []


def test_a_other_channels_do_not_count() -> None:
    assert verdict(*LOG, model=published(*LOG, message(40, "other", 1, "one 9"))).broken == []


def test_e_a_batch_in_a_partitioned_log_is_in_order_in_each_channel() -> None:
    log = [
        message(10, "b", 1, "one 1"),
        message(11, "a", 1, "one 0"),
        message(12, "a", 2, "one 2"),
    ]
    views = {"x": View(KEPT, [*log])}
    whole = judge(published(*log), views, kept=KEPT)[EVERYBODY].broken
    assert len(whole) == 1
    assert whole[0].startswith("(e) number 0 of one comes after 1")
    assert judge(published(*log), views, kept=KEPT, partitioned=True)[EVERYBODY].broken == []
    turned = [replace(log[2], position=10, seq=1), replace(log[1], seq=2)]
    views = {"x": View(KEPT, [*turned])}
    assert judge(published(*turned), views, kept=KEPT, partitioned=True)[EVERYBODY].broken != []


# Where the storage has lost something


def of_a_lossy_log(*events: Event, survived: list[Message]) -> list[str]:
    views = {"x": View(KEPT, [*events])}
    verdicts = judge(published(*LOG), views, kept=(), survived=survived)
    return [text for found in verdicts.values() for text in found.broken]


def test_what_the_log_has_lost_must_be_told() -> None:
    told = gap(18, "reset", channel="a")
    assert of_a_lossy_log(*LOG[:2], told, LOG[3], survived=[*LOG[:2], LOG[3]]) == []
    found = of_a_lossy_log(*LOG[:2], replace(LOG[3], seq=2), survived=[*LOG[:2], LOG[3]])
    assert f"(a) lost {LOG[2]}" in found


def test_what_the_log_still_has_must_come_in_spite_of_a_gap() -> None:
    told = gap(18, "reset", channel="a")
    found = of_a_lossy_log(*LOG[:2], told, LOG[3], survived=LOG)
    assert found == [f"(a) lost {LOG[2]}"]


def test_what_was_lost_without_an_answer_may_be_published_anew() -> None:
    model = published(*LOG[:2], replace(LOG[3], seq=2))
    lost = replace(LOG[3], position=16, seq=2)
    told = gap(18, "reset", channel="a")
    new = replace(LOG[3], seq=2)
    views = {"x": View(KEPT, [*LOG[:2], lost, told, new])}
    verdicts = judge(model, views, kept=(), survived=[*LOG[:2], new])
    assert [text for found in verdicts.values() for text in found.broken] == []
    assert "(f) published once, there twice" in judge(model, views, kept=())[EVERYBODY].broken[0]


# b: ascending, and nothing twice


def test_b_finds_a_duplicate() -> None:
    found = verdict(*LOG[:2], Ready(True), *LOG[1:])
    assert found.duplicated == 1
    assert f"(b) received twice: {LOG[1]}" in found.broken


def test_b_finds_a_swap() -> None:
    assert verdict(LOG[1], LOG[0], *LOG[2:]).broken == [f"(b) {LOG[0]} comes after {LOG[1]}"]


# c: a gap is told


def test_c_a_gap_excuses_what_stands_in_its_place() -> None:
    found = of_short(SHORT[0], gap(33), *SHORT[4:])
    assert (found.told, found.lost, found.broken) == (3, 0, [])


def test_c_a_gap_does_not_excuse_what_comes_after_it() -> None:
    found = of_short(SHORT[0], gap(32), SHORT[4], SHORT[5])
    assert (found.told, found.lost) == (2, 1)


def test_c_a_gap_does_not_excuse_what_should_have_come_before() -> None:
    found = of_short(SHORT[0], SHORT[2], gap(33), *SHORT[4:])
    assert (found.told, found.lost) == (1, 1)
    assert f"(c) a hole without a gap: {SHORT[0]}; {SHORT[2]}" in found.broken


def test_c_finds_a_hole_at_the_start() -> None:
    assert f"(c) a hole without a gap: the start; {SHORT[2]}" in of_short(*SHORT[2:]).broken


def test_c_finds_a_gap_where_everything_is_kept() -> None:
    (text,) = verdict(*LOG[:2], gap(11, channel="a"), *LOG[2:]).broken
    assert text.startswith("(c) told of a gap where everything is kept")


def test_c_finds_recovered_that_is_not_so() -> None:
    (text,) = of_short(SHORT[0], Ready(True), gap(33), *SHORT[4:]).broken
    assert text.startswith("(c) was told that all is recovered, and then")
    assert of_short(SHORT[0], Ready(True), gap(33, "slow"), *SHORT[4:]).broken == []
    assert of_short(SHORT[0], Ready(True), Answered(), gap(33), *SHORT[4:]).broken == []


def test_c_finds_recovered_that_is_missing() -> None:
    (text,) = verdict(*LOG[:2], Ready(False), *LOG[2:]).broken
    assert text.startswith("(c) resumed and not recovered")


def test_c_finds_another_epoch_without_a_reset() -> None:
    later = message(40, "short", 1, "three 9", epoch="f")
    model = published(*SHORT, later)
    silent = View(["short"], [*SHORT, later])
    told = View(["short"], [*SHORT, gap(39, "reset", epoch="f"), later])
    verdicts = judge(model, {"silent": silent, "told": told}, kept=KEPT)
    (text,) = verdicts["silent"].broken
    assert text.startswith("(c) the epoch changed without a word")
    assert verdicts["told"].broken == []


def test_c_a_reset_excuses_the_messages_of_the_other_log() -> None:
    later = message(40, "short", 1, "three 9", epoch="f")
    view = View(["short"], [SHORT[0], gap(39, "reset", epoch="f"), later])
    found = judge(published(*SHORT, later), {"x": view}, kept=KEPT)["x"]
    assert (found.told, found.broken) == (5, [])


# d: all see the same


def test_d_finds_subscribers_that_see_something_else() -> None:
    other = replace(LOG[1], body=LOG[0].body)
    view = View(KEPT, [LOG[0], other, *LOG[2:]])
    assert (
        f"(d) sees {other}, others {LOG[1]}"
        in judge(published(*LOG), {"x": view}, kept=KEPT)["x"].broken
    )


# e: the publisher's order


def test_e_finds_a_publisher_whose_messages_changed_places() -> None:
    swapped = [LOG[0], replace(LOG[2], body=LOG[3].body), replace(LOG[3], body=LOG[2].body)]
    assert of_everybody(published(*swapped)) == [f"(e) number 1 of one comes after 2: {swapped[2]}"]


# f: tried again, there once


def test_f_finds_a_message_that_is_there_twice() -> None:
    again = replace(LOG[3], body=LOG[2].body)
    view = View(KEPT, [*LOG[:3], again])
    assert of_everybody(published(*LOG[:3]), view) == [
        f"(f) published once, there twice: {LOG[2]}; {again}"
    ]


def test_f_finds_two_answers_to_one_key() -> None:
    model = published(*LOG)
    other = replace(LOG[1], position=40, seq=2)
    model.acknowledge([LOG[0], other])
    assert f"(f) two answers for one key: {LOG[1]}; {other}" in of_everybody(model)


def test_f_finds_a_message_that_nobody_published() -> None:
    assert of_everybody(published(*LOG[:3]), View(KEPT, [*LOG])) == [
        f"(f) there, but never published: {LOG[3]}"
    ]


# g, h, i: the server, and the time it takes

BEFORE = Footprint(memory=50 << 20, connections=0, descriptors=20)


def of_server(after: Footprint, *, most: int = 60 << 20) -> list[str]:
    found = Verdict(0)
    judge_server(found, BEFORE, after, most=most, allowed=16 << 20)
    return found.broken


def test_g_finds_memory_that_grows() -> None:
    assert of_server(BEFORE) == []
    assert of_server(BEFORE, most=70 << 20) == [
        "(g) the server grew by 20480 KiB, 16384 are allowed"
    ]


def test_h_finds_who_does_not_catch_up() -> None:
    found = Verdict(0)
    judge_healing(found, 1.5, within=2)
    assert found.broken == []
    judge_healing(found, 2.5, within=2)
    judge_healing(found, None, within=2)
    assert found.broken == [
        "(h) has caught up after 2.5 s, 2 s are allowed",
        "(h) has caught up never, 2 s are allowed",
    ]


def test_i_finds_what_is_left_behind() -> None:
    assert of_server(BEFORE._replace(descriptors=19)) == []
    (text,) = of_server(BEFORE._replace(connections=1))
    assert text.startswith("(i) left behind: 1 connections")
    (text,) = of_server(BEFORE._replace(descriptors=21))
    assert text.startswith("(i) left behind: 0 connections; 20 descriptors before, 21 after")
