"""Who is asked for metrics, who has told, and who is not waited for any longer."""

from __future__ import annotations

import pytest

from tidewire.server.line import Everything, Family, Sample
from tidewire.server.totals import SILENT_SECONDS, Answer, Totals

WORKERS = {11: "1", 12: "2", 13: "3"}


def count(value: float) -> list[Family]:
    """What a worker tells that has counted so far."""
    return [Family("x", "What x is.", "counter", [Sample("x_total", {}, value)])]


@pytest.fixture
def totals() -> Totals:
    return Totals()


def test_all_are_asked_and_the_asker_is_answered_when_all_have_told(totals: Totals) -> None:
    number, asked = totals.ask(12, 5, WORKERS, 100.0)
    assert asked == [11, 12, 13]
    for pid in (13, 11):
        totals.told(pid, number, count(pid))
    assert totals.answers(100.0, 0) == []
    totals.told(12, number, count(12))
    told = {"3": count(13), "1": count(11), "2": count(12)}
    assert totals.answers(100.0, 4) == [Answer(12, Everything(5, told, [], [], 4))]
    assert totals.answers(100.0, 4) == []
    assert totals.next_time() is None


def test_who_is_silent_is_named(totals: Totals) -> None:
    number, _ = totals.ask(11, 1, WORKERS, 100.0)
    totals.told(11, number, count(1))
    totals.told(12, number, count(2))
    assert totals.next_time() == 100.0 + SILENT_SECONDS
    assert totals.answers(100.9, 0) == []
    (answer,) = totals.answers(101.0, 0)
    assert answer.everything.silent == ["3"]
    assert list(answer.everything.workers) == ["1", "2"]


def test_who_hangs_is_not_waited_for_again_until_it_has_told(totals: Totals) -> None:
    first, _ = totals.ask(11, 1, WORKERS, 100.0)
    for pid in (11, 12):
        totals.told(pid, first, count(1))
    totals.answers(101.0, 0)
    second, asked = totals.ask(11, 2, WORKERS, 102.0)
    assert asked == [11, 12]
    for pid in asked:
        totals.told(pid, second, count(1))
    (answer,) = totals.answers(102.0, 0)
    assert answer.everything.silent == ["3"]
    totals.told(13, first, count(3))
    assert totals.ask(11, 3, WORKERS, 103.0)[1] == [11, 12, 13]


def test_two_ask_at_once(totals: Totals) -> None:
    numbers = [totals.ask(pid, pid, WORKERS, 100.0)[0] for pid in (11, 12)]
    for number in numbers:
        for pid in WORKERS:
            totals.told(pid, number, count(1))
    assert [(a.pid, a.everything.question) for a in totals.answers(100.0, 0)] == [
        (11, 11),
        (12, 12),
    ]


def test_who_ends_is_not_waited_for_and_its_counts_stay(totals: Totals) -> None:
    number, _ = totals.ask(11, 1, WORKERS, 100.0)
    for pid in WORKERS:
        totals.told(pid, number, count(5))
    totals.answers(100.0, 0)
    number, _ = totals.ask(11, 2, WORKERS, 101.0)
    totals.told(11, number, count(6))
    totals.told(12, 0, count(8))  # its last words
    totals.ended(12)
    totals.ended(13)  # without any: what it told before counts
    (answer,) = totals.answers(101.0, 1)
    assert answer.everything == Everything(2, {"1": count(6)}, count(13), [], 1)


def test_an_asker_that_ends_is_not_answered(totals: Totals) -> None:
    totals.ask(11, 1, WORKERS, 100.0)
    totals.ended(11)
    assert totals.answers(200.0, 0) == []
    assert totals.next_time() is None
