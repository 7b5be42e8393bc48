"""Messages in a note: they come out as they went in, or not at all."""

from __future__ import annotations

import pytest

from tests.log.harness import facts
from tidewire.log.sqlite_notes import LARGEST, LOOK, from_note, to_note
from tidewire.model import Message

MESSAGES = [
    Message("e", 7, "a", 1, 1_800, b'{"x":1}'),
    Message("e", 9, "b:\u00e4", 3, 1_801, b"\xff\0", "event", b'{"h":"v"}', True, 2_000),
    Message("e", 12, "a", 0, 1_802, b"", gap="reset"),
]


def test_messages_come_out_as_they_went_in() -> None:
    note = from_note(to_note(5, MESSAGES), "e")
    assert note is not None
    assert note.before == 5
    assert [facts(message) for message in note.messages] == [facts(m) for m in MESSAGES]


def test_what_is_large_is_to_be_read() -> None:
    large = Message("e", 7, "a", 1, 1_800, b"x" * LARGEST)
    assert to_note(5, [large]) == LOOK
    many = [Message("e", 7 + n, "a", 1 + n, 1_800, b"x") for n in range(1_000)]
    assert to_note(5, many) == LOOK


@pytest.mark.parametrize(
    ("data", "epoch"),
    [(LOOK, "e"), (b"", "e"), (b"\x93\xa1e\x05\x90", "e"), (to_note(5, MESSAGES), "other")],
)
def test_other_notes_say_only_that_there_is_something(data: bytes, epoch: str) -> None:
    assert from_note(data, epoch) is None
