"""Counts by key, with a maximum."""

from __future__ import annotations

import pytest

from tidewire.access.counts import Counts


def test_up_to_the_maximum_and_not_one_more() -> None:
    counts = Counts(2)
    assert [counts.enter("a") for _ in range(3)] == [True, True, False]
    assert counts["a"] == 2
    assert counts.enter("b")


def test_who_leaves_makes_room() -> None:
    counts = Counts(1)
    assert counts.enter("a")
    counts.leave("a")
    assert counts.enter("a")
    assert not counts.enter("a")


def test_a_key_without_anything_takes_no_memory() -> None:
    counts = Counts(5)
    for number in range(100):
        counts.enter(number)
        counts.leave(number)
    assert len(counts) == 0
    assert counts[1] == 0


def test_another_maximum_for_one() -> None:
    counts = Counts(1)
    assert [counts.enter("a", 3) for _ in range(4)] == [True, True, True, False]
    assert not counts.enter("a")
    assert not counts.enter("b", 0)


def test_who_never_came_cannot_leave() -> None:
    with pytest.raises(KeyError):
        Counts(1).leave("a")
