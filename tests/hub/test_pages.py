"""Pages that are shared for a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tidewire.hub.pages import MOST_PAGES, SHOWN_SECONDS, Pages
from tidewire.model import Page

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE = Page([], [], 7, True)
LAST = Page([], [], 7, False)


@pytest.fixture(autouse=True)
def move(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the clock, which stands still otherwise, by so many seconds."""
    clock = [1000.0]
    monkeypatch.setattr("tidewire.hub.pages.time.monotonic", lambda: clock[0])

    def move(seconds: float) -> None:
        clock[0] += seconds

    return move


def test_a_page_is_shown_to_who_stands_at_the_same_place() -> None:
    kept = Pages()
    kept.put((("a", 1),), WHOLE)
    assert kept.get((("a", 1),)) is WHOLE
    assert kept.get((("a", 2),)) is None
    assert kept.get((("b", 1),)) is None


def test_the_last_page_is_not_kept() -> None:
    """What it holds depends on when it was read."""
    kept = Pages()
    kept.put((("a", 1),), LAST)
    assert kept.get((("a", 1),)) is None


def test_a_page_is_shown_for_a_moment_only(move: Callable[[float], None]) -> None:
    kept = Pages()
    kept.put((("a", 1),), WHOLE)
    move(SHOWN_SECONDS / 2)
    assert kept.get((("a", 1),)) is WHOLE
    move(SHOWN_SECONDS)
    assert kept.get((("a", 1),)) is None


def test_a_page_read_again_is_shown_from_then_on(move: Callable[[float], None]) -> None:
    kept = Pages()
    kept.put((("a", 1),), WHOLE)
    kept.put((("b", 1),), WHOLE)
    move(SHOWN_SECONDS * 0.75)
    again = Page([], [], 8, True)
    kept.put((("a", 1),), again)
    move(SHOWN_SECONDS * 0.75)
    assert kept.get((("a", 1),)) is again
    assert kept.get((("b", 1),)) is None


def test_the_number_of_pages_is_bounded() -> None:
    kept = Pages()
    for number in range(MOST_PAGES + 1):
        kept.put((("a", number),), WHOLE)
    assert kept.get((("a", 0),)) is None
    assert kept.get((("a", 1),)) is WHOLE
