"""Which channels a pattern has."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.access.patterns import is_pattern, matches

NAMES = st.text("ab:#", min_size=1, max_size=12)
PATTERNS = st.text("ab:#*", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("pattern", "channel"),
    [
        ("news", "news"),
        ("chat:*", "chat:1"),
        ("chat:*", "chat:"),
        ("chat:*", "chat:room:7"),
        ("*", "news"),
        ("*", "chat:1"),
        ("*:news", "a:news"),
        ("a*b*c", "a-b-b-c"),
        ("a**c", "abc"),
        ("chat:#*", "chat:#42"),
        ("*:#42", "user:#42"),
        ("user:#42", "user:#42"),
    ],
)
def test_it_has(pattern: str, channel: str) -> None:
    assert matches(pattern, channel)


@pytest.mark.parametrize(
    ("pattern", "channel"),
    [
        ("news", "newss"),
        ("news", "News"),
        ("chat:*", "chat"),
        ("chat:*", "chats:1"),
        ("*:news", ":new"),
        ("aba*aba", "aba"),
        ("a*b*c", "a-c-b"),
        # What belongs to a user is not reached by a star.
        ("*", "user:#42"),
        ("user:*", "user:#42"),
        ("user:*42", "user:#42"),
        ("user:#*", "user:#42#7"),
        ("chat:#42", "chat:#4"),
    ],
)
def test_it_has_not(pattern: str, channel: str) -> None:
    assert not matches(pattern, channel)


@given(PATTERNS, NAMES)
def test_as_a_regular_expression_would(pattern: str, channel: str) -> None:
    expression = "".join("[^#]*" if c == "*" else re.escape(c) for c in pattern)
    assert matches(pattern, channel) == (re.fullmatch(expression, channel) is not None)


@given(NAMES)
def test_a_name_is_a_pattern_for_itself(name: str) -> None:
    assert is_pattern(name)
    assert matches(name, name)


@pytest.mark.parametrize("text", ["", "a b", "a,b", "é", "a\n", "a" * 256, "a?", "[a]"])
def test_what_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)
