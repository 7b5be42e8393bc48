"""Channel names: which are good, how lists of them are read, and their namespaces."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.model import (
    BadRequest,
    InvalidChannel,
    channel,
    channel_names,
    check_channel,
    namespace_of,
)

ALPHABET = string.ascii_letters + string.digits + "_-.:/@#"


@given(st.text(ALPHABET, min_size=1, max_size=255))
def test_a_name_of_the_alphabet_is_returned_as_it_is(name: str) -> None:
    assert check_channel(name) == name


@pytest.mark.parametrize("name", ["a", "a" * 255, "chat:42/members@home#1", ":", "..", "0"])
def test_good_names(name: str) -> None:
    assert check_channel(name) is name
    assert check_channel(name) is name  # and again, when it is known


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 256,
        "a b",
        "a,b",
        "a\n",
        "\na",
        "a\0",
        "ä",
        "a\u0661",  # a digit, but not of ASCII
        "\u212a",  # the Kelvin sign, a letter k to case-insensitive patterns
        "a*",
        "a?b",
        "a%20b",
        '"',
        "\\",
        "\ud800",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidChannel) as raised:
        check_channel(name)
    assert raised.value.code == "invalid_channel"
    with pytest.raises(InvalidChannel):  # it is not known now
        check_channel(name)


def test_the_error_shows_only_the_start_of_a_long_name() -> None:
    with pytest.raises(InvalidChannel) as raised:
        check_channel("x" * 100_000)
    assert "x" * 40 + "…" in raised.value.detail
    assert len(raised.value.detail) < 200


def test_the_names_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    known: set[str] = set()
    monkeypatch.setattr(channel, "_known", known)
    monkeypatch.setattr(channel, "_MOST_KNOWN", 10)
    for number in range(100):
        check_channel(f"channel-{number}")
        assert 1 <= len(known) <= 10


def test_a_list_keeps_the_first_order_and_drops_repeats() -> None:
    assert channel_names("b,a,b,c,a", 3) == ("b", "a", "c")


@pytest.mark.parametrize("text", ["a,,b", ",a", "a,"])
def test_an_empty_place_in_a_list_is_no_channel(text: str) -> None:
    # Dropped silently, it would pair cursors with the wrong channels.
    with pytest.raises(InvalidChannel):
        channel_names(text, 10)


@pytest.mark.parametrize("text", ["", ",", ",,,"])
def test_a_list_names_at_least_one_channel(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        channel_names(text, 10)
    assert raised.value.code == "no_channels"


def test_a_list_is_bounded_by_its_distinct_names() -> None:
    assert channel_names("a,a,b,b", 2) == ("a", "b")
    with pytest.raises(BadRequest) as raised:
        channel_names("a,b,c", 2)
    assert raised.value.code == "too_many_channels"
    assert "2" in raised.value.detail


def test_one_bad_name_spoils_a_list() -> None:
    with pytest.raises(InvalidChannel):
        channel_names("a, b", 10)


@pytest.mark.parametrize(
    ("name", "namespace"),
    [("chat:42", "chat"), ("chat", ""), ("a:b:c", "a"), (":x", ""), ("chat:", "chat")],
)
def test_the_namespace_is_before_the_first_colon(name: str, namespace: str) -> None:
    assert namespace_of(name) == namespace
