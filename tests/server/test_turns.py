"""Those who have much to do get a part of each turn of the loop, one after the other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tests.server.fake_loop import FakeLoop
from tidewire.server.turns import SECONDS, Turns

if TYPE_CHECKING:
    import pytest


class Reader:
    """Has so much to do, and notes when it did some of it."""

    def __init__(self, turns: Turns, name: str, much: int, done: list[str]) -> None:
        self._turns = turns
        self._name = name
        self._left = much
        self._done = done

    def read_more(self) -> None:
        self._done.append(self._name)
        self._left -= 1
        if self._left:
            self._turns.add(self)


class Broken:
    """Fails."""

    def read_more(self) -> None:
        raise RuntimeError("broken")


def test_they_take_turns_until_nobody_has_more_to_do() -> None:
    loop, done = FakeLoop(), list[str]()
    turns = Turns(loop.as_loop, loop.time)
    turns.add(Reader(turns, "a", 3, done))
    turns.add(Reader(turns, "b", 1, done))
    turns.add(Reader(turns, "c", 2, done))
    assert done == []
    loop.advance(0)
    assert done == ["a", "b", "c", "a", "c", "a"]
    assert loop.idle()


def test_who_asks_twice_has_one_turn() -> None:
    loop, done = FakeLoop(), list[str]()
    turns = Turns(loop.as_loop, loop.time)
    reader = Reader(turns, "a", 1, done)
    turns.add(reader)
    turns.add(reader)
    loop.advance(0)
    assert done == ["a"]


def test_a_turn_is_over_when_its_time_is() -> None:
    loop, done = FakeLoop(), list[str]()
    turns = Turns(loop.as_loop, iter(range(100)).__next__)  # each look at the clock takes a second
    turns.add(Reader(turns, "a", 3, done))
    loop.call_soon(lambda: done.append("somebody else"))
    loop.advance(0)
    assert done == ["a", "somebody else", "a", "a"]


def test_newcomers_have_so_much_time_of_a_turn() -> None:
    loop = FakeLoop()
    times = iter([1.0, 1.0, 1.0 + SECONDS / 2, 1.0 + SECONDS, 2.0, 3.0, 3.0])
    turns = Turns(loop.as_loop, times.__next__)
    assert [turns.are_full() for _ in range(5)] == [False, False, False, True, True]
    loop.advance(0)
    assert [turns.are_full() for _ in range(2)] == [False, False]


def test_a_failure_is_logged_and_takes_nobody_elses_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop, done = FakeLoop(), list[str]()
    turns = Turns(loop.as_loop, loop.time)
    turns.add(Broken())
    turns.add(Reader(turns, "a", 2, done))
    with caplog.at_level(logging.ERROR):
        loop.advance(0)
    assert done == ["a", "a"]
    assert "a turn failed" in caplog.text
