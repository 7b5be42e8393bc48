"""What a consumer tells the server, and that nothing is told that is not finished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.client import ledger
from tidewire.client.ledger import MOST_SINGLES, Due, Ledger, TooMuchHeld


def holding(*ids: str) -> Ledger:
    made = Ledger()
    for id in ids:
        assert made.give(id)
    return made


def test_what_is_finished_in_order_is_one_id() -> None:
    messages = holding("1", "2", "3")
    assert not messages.due()
    messages.finish("1")
    messages.finish("2")
    assert messages.due() == Due("2", ())
    messages.finish("3")
    assert messages.due() == Due("3", ())
    messages.told(Due("3", ()))
    assert not messages.due()


def test_what_overtakes_is_told_singly_until_the_rest_has_caught_up() -> None:
    messages = holding("1", "2", "3", "4")
    messages.finish("2")
    messages.finish("4")
    assert messages.due() == Due(None, ("2", "4"))
    messages.told(Due(None, ("2", "4")))
    messages.finish("1")
    assert messages.due() == Due("1", ())
    messages.finish("3")
    assert messages.due() == Due("3", ())


def test_what_was_finished_while_the_server_was_told_is_told_later() -> None:
    messages = holding("1", "2")
    messages.finish("1")
    under_way = messages.due()
    messages.finish("2")
    assert messages.due() == Due("2", ())
    messages.told(under_way)
    assert messages.due() == Due("2", ())


def test_a_message_that_comes_again_is_dealt_with_unless_it_is_finished() -> None:
    messages = holding("1", "2")
    messages.finish("2")
    assert messages.give("1")
    assert not messages.give("2")
    assert messages.due() == Due(None, ("2",))


def test_what_was_not_given_says_nothing() -> None:
    messages = holding("1")
    messages.finish("9")
    assert not messages.due()
    messages.finish("1")
    messages.told(messages.due())
    messages.finish("1")
    assert not messages.due()


def test_a_message_that_the_server_gave_up_holds_up_nothing() -> None:
    messages = holding("1", "2")
    messages.drop("1")
    messages.finish("2")
    assert messages.due() == Due("2", ())


def test_copies_of_what_is_settled_are_dropped_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They were sent again before the server was told, and arrive after it."""
    monkeypatch.setattr(ledger, "MOST_SETTLED", 3)
    messages = holding("1", "2", "3", "4", "5")
    messages.finish("1")
    messages.told(messages.due())
    messages.drop("2")
    messages.finish("4")
    messages.told(messages.due())
    assert [messages.give(id) for id in ("1", "2", "3", "4")] == [False, False, True, False]
    messages.drop("5")
    assert messages.give("1")


def test_singles_fit_into_a_url() -> None:
    messages = holding(*map(str, range(1000)))
    for id in range(1, 1000):
        messages.finish(str(id))
    due = messages.due()
    assert len(due.singles) == MOST_SINGLES
    messages.told(due)
    assert messages.due().singles[0] == str(MOST_SINGLES + 1)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_HELD", 3)
    messages = holding("1", "2", "3")
    assert messages.give("3")
    with pytest.raises(TooMuchHeld):
        messages.give("4")


@given(st.lists(st.tuples(st.sampled_from(["give", "finish", "tell", "lose"]), st.integers(0, 9))))
def test_nothing_is_told_that_is_not_finished_and_all_else_is(steps: list[tuple[str, int]]) -> None:
    """Against the server's own rule: an id for all acknowledges every message before it."""
    messages = Ledger()
    given = 0
    finished: set[int] = set()
    acknowledged: set[int] = set()
    for step, number in steps:
        if step == "give":
            messages.give(str(given))
            given += 1
        elif step == "finish" and number < given:
            messages.finish(str(number))
            finished.add(number)
        elif due := messages.due():
            # A lost answer: the server has kept it all the same.
            if due.upto is not None:
                acknowledged |= set(range(int(due.upto) + 1))
            acknowledged |= set(map(int, due.singles))
            if step == "tell":
                messages.told(due)
        assert acknowledged <= finished
    while due := messages.due():
        acknowledged |= set(range(int(due.upto) + 1)) if due.upto else set()
        acknowledged |= set(map(int, due.singles))
        messages.told(due)
    assert acknowledged == finished
