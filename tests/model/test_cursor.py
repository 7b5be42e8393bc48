"""Cursors: written and read back, and what is none."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.model import Cursor, InvalidCursor, parse_cursor
from tidewire.model.cursor import new_epoch

EPOCHS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=16)


@given(EPOCHS, st.integers(0, 2**63 - 1))
def test_a_cursor_reads_back(epoch: str, id: int) -> None:
    cursor = Cursor(epoch, id)
    assert parse_cursor(str(cursor)) == cursor


@given(EPOCHS, st.integers(0, 2**63 - 1))
def test_a_cursor_needs_no_escaping_anywhere(epoch: str, id: int) -> None:
    text = str(Cursor(epoch, id))
    assert re.fullmatch(r"[A-Za-z0-9-]+", text)
    assert len(text) <= 128


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "abc",
        "abc-",
        "-1",
        "abc--1",
        "abc-01",
        "abc-00",
        "abc-+1",
        "abc-1 ",
        " abc-1",
        "abc-1\n",
        "abc-1,abc-2",
        "abc-1.0",
        "abc-1e3",
        "abc-0x10",
        "abc-1_000",
        "abc-\u0661",  # a digit, but not of ASCII
        "äbc-1",
        "a.b-1",
        "a" * 17 + "-1",
        f"abc-{2**63}",
        "abc-" + "9" * 5000,
        "abc-1\0",
    ],
)
def test_what_no_log_hands_out_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor) as raised:
        parse_cursor(text)
    assert raised.value.status == 400
    assert raised.value.code == "invalid_cursor"
    assert len(raised.value.detail) < 200


@given(st.text())
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        cursor = parse_cursor(text)
    except InvalidCursor:
        return
    assert str(cursor) == text


def test_the_largest_id_of_sqlite_and_redis_is_taken() -> None:
    assert parse_cursor(f"abc-{2**63 - 1}").id == 2**63 - 1


def test_a_new_epoch_is_new_and_of_the_form_that_cursors_have() -> None:
    epochs = {new_epoch() for _ in range(1000)}
    assert len(epochs) == 1000
    for epoch in epochs:
        assert parse_cursor(f"{epoch}-0") == Cursor(epoch, 0)
        assert len(epoch) == 6
