"""What a client may say of a file."""

from __future__ import annotations

import msgspec
import pytest

from tidewire.model import BadRequest, InvalidChannel, TooLarge
from tidewire.uploads import Wanted, check_wanted

GOOD = Wanted("u1", "files", "a file.txt", 10, "0" * 64, "text/plain; charset=utf-8")


def test_what_is_right_is_returned() -> None:
    assert check_wanted(GOOD, 10) is GOOD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("upload", ""),
        ("upload", "a b"),
        ("upload", "ä"),
        ("upload", "x" * 129),
        ("name", ""),
        ("name", "."),
        ("name", ".."),
        ("name", "/etc/passwd"),
        ("name", "a\\b"),
        ("name", "a\nb"),
        ("name", "a\0b"),
        ("name", "x" * 256),
        ("sha256", ""),
        ("sha256", "0" * 63),
        ("sha256", "A" * 64),
        ("content_type", ""),
        ("content_type", "text/plain\r\nX: y"),
        ("content_type", "x" * 256),
        ("size", -1),
    ],
)
def test_what_is_wrong_is_named(field: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f'"{field}"') as caught:
        check_wanted(msgspec.structs.replace(GOOD, **{field: value}), 10)
    assert caught.value.code == "invalid_upload"


def test_the_channel_must_be_one() -> None:
    with pytest.raises(InvalidChannel):
        check_wanted(msgspec.structs.replace(GOOD, channel="!internal"), 10)


def test_the_bound() -> None:
    with pytest.raises(TooLarge):
        check_wanted(GOOD, 9)
