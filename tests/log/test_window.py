"""The window: a list that is cut at its start, against a plain list."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tidewire.log.window import Window
from tidewire.model import Message

if TYPE_CHECKING:
    from collections.abc import Sequence


def message(id: int) -> Message:
    return Message("epoch", id, "a", id, id, b"1")


def window(ids: Sequence[int]) -> Window:
    made = Window()
    for id in ids:
        made.append(message(id))
    return made


def ids(messages: Sequence[Message]) -> list[int]:
    return [one.id for one in messages]


class WindowMachine(RuleBasedStateMachine):
    """Any calls, in any order; ids have holes."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window()
        self.model: list[int] = []
        self.last_id = 0

    @rule(count=st.sampled_from([1, 2, 700]), step=st.integers(1, 3))
    def append(self, count: int, step: int) -> None:
        for _ in range(count):
            self.last_id += step
            self.window.append(message(self.last_id))
            self.model.append(self.last_id)

    @precondition(lambda self: self.model)
    @rule(share=st.floats(0, 1))
    def drop_oldest(self, share: float) -> None:
        for _ in range(1 + int(share * (len(self.model) - 1))):
            assert self.window.drop_oldest().id == self.model.pop(0)

    @rule(share=st.floats(0, 1.1), near=st.integers(-1, 1))
    def drop_upto(self, share: float, near: int) -> None:
        id = self.near(share, near)
        gone = [one for one in self.model if one <= id]
        dropped = self.window.drop_upto(id)
        assert (dropped.id if dropped else None) == (gone[-1] if gone else None)
        self.model = self.model[len(gone) :]

    @rule(
        after=st.floats(0, 1),
        upto=st.floats(0, 1.1),
        near=st.integers(-1, 1),
        limit=st.integers(0, 900),
    )
    def read(self, after: float, upto: float, near: int, limit: int) -> None:
        low, high = self.near(after, near), self.near(upto, near)
        expected = [id for id in self.model if low < id <= high][:limit]
        assert ids(self.window.read(low, high, limit)) == expected

    @rule(share=st.floats(0, 1.1), near=st.integers(-1, 1))
    def look(self, share: float, near: int) -> None:
        id = self.near(share, near)
        below = [one for one in self.model if one < id]
        found = self.window.last_before(id)
        assert (found.id if found else None) == (below[-1] if below else None)
        upto = [one for one in self.model if one <= id]
        found = self.window.newest_upto(id)
        assert (found.id if found else None) == (upto[-1] if upto else None)

    @rule(count=st.integers(-1, 900))
    def from_end(self, count: int) -> None:
        found = self.window.from_end(count)
        there = 0 < count <= len(self.model)
        assert (found.id if found else None) == (self.model[-count] if there else None)

    @invariant()
    def is_the_model(self) -> None:
        assert len(self.window) == len(self.model)
        assert bool(self.window) == bool(self.model)
        assert ids(self.window.read(0, self.last_id, 10**9)) == self.model
        if self.model:
            assert self.window.oldest.id == self.model[0]
            assert self.window.newest.id == self.model[-1]

    def near(self, share: float, near: int) -> int:
        """An id as far into the window as *share* says, give or take *near*."""
        first = self.model[0] if self.model else self.last_id
        return max(0, round(first + share * (self.last_id - first)) + near)


TestWindow = WindowMachine.TestCase


@given(st.integers(1, 2000), st.data())
def test_messages_that_were_dropped_one_by_one_are_not_read(
    count: int, data: st.DataObject
) -> None:
    made = window(range(1, count + 1))
    dropped = data.draw(st.integers(0, count))
    for _ in range(dropped):
        made.drop_oldest()
    assert ids(made.read(0, count, count)) == list(range(dropped + 1, count + 1))
    assert made.newest_upto(dropped) is None


@pytest.mark.parametrize("count", [1, 511, 512, 513, 2000])
def test_a_dropped_message_is_let_go_at_once(count: int) -> None:
    made = window(range(1, count + 1))
    oldest = made.oldest
    held = sys.getrefcount(oldest)
    assert made.drop_oldest() is oldest
    assert sys.getrefcount(oldest) == held - 1


def test_a_window_that_is_cut_as_it_grows_stays_small() -> None:
    made = window(range(1, 101))
    for id in range(101, 50_000):
        made.append(message(id))
        made.drop_oldest()
    gc.collect()
    assert len(made) == 100
    assert (
        sum(
            map(
                len, (referent for referent in gc.get_referents(made) if isinstance(referent, list))
            )
        )
        < 2_000
    )
