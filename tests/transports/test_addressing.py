"""From the names in a subscriber's query to channels."""

from __future__ import annotations

import pytest

from tidewire.access.caller import OPEN, Caller
from tidewire.model import Cursor, Forbidden, NoCredentials
from tidewire.transports.addressing import addressed, joined_unasked, one_channel
from tidewire.transports.query import Query, parameters, parse_query

USER = Caller("user", "42")
STRANGER = Caller("anonymous")


def query(text: str) -> Query:
    return parse_query(parameters(text.encode()), None, 100)


def channels(text: str, caller: Caller = USER, auto: tuple[str, ...] = ()) -> tuple[str, ...]:
    return addressed(query(text), caller, auto).subscription.channels


def test_me_is_the_user_and_the_device() -> None:
    assert channels("channels=@me") == ("user:#42",)
    assert channels("channels=a,@me,@all&device=tv") == ("a", "user:#42", "user:tv#42", "@all")
    assert channels("channels=@me", Caller("user", "42", device="tv")) == ("user:#42", "user:tv#42")


def test_the_device_of_the_url_comes_before_that_of_the_token() -> None:
    caller = Caller("user", "42", device="tv")
    assert channels("channels=@me&device=phone", caller) == ("user:#42", "user:phone#42")


def test_what_is_named_twice_is_followed_once() -> None:
    assert channels("channels=user:%2342,@me") == ("user:#42",)


@pytest.mark.parametrize(
    ("caller", "error"),
    [(STRANGER, NoCredentials), (OPEN, Forbidden), (Caller("key", "k"), Forbidden)],
)
def test_who_is_no_user_has_no_channel(caller: Caller, error: type[Exception]) -> None:
    with pytest.raises(error, match="@me is for users"):
        channels("channels=@me", caller)


def test_a_query_knows_that_it_is_personal() -> None:
    assert not addressed(query("channels=a"), USER, ("@all",)).personal
    assert addressed(query("channels=a,@me"), USER).personal
    assert addressed(query("channels=a"), USER, ("@me",)).personal
    assert not addressed(query("channels=a"), STRANGER, ("@me",)).personal


def test_the_cursor_of_me_is_for_each_of_its_channels() -> None:
    found = addressed(query("channels=a,@me&device=tv&cursor=e-1,e-2"), USER).subscription
    assert found.channels == ("a", "user:#42", "user:tv#42")
    assert found.cursors == (Cursor("e", 1), Cursor("e", 2), Cursor("e", 2))


def test_one_cursor_is_for_all() -> None:
    found = addressed(query("channels=@me&device=tv&cursor=e-1"), USER, ("@all",)).subscription
    assert found.channels == ("user:#42", "user:tv#42", "@all")
    assert found.cursors == (Cursor("e", 1),)


def test_some_are_joined_unasked() -> None:
    auto = ("@me", "@all", "news")
    assert channels("channels=a", auto=auto) == ("a", "user:#42", "@all", "news")
    assert channels("channels=@all", auto=auto) == ("@all", "user:#42", "news")
    assert channels("", auto=auto) == ("user:#42", "@all", "news")
    assert channels("channels=a", STRANGER, auto) == ("a", "@all", "news")


def test_what_is_joined_unasked_starts_at_the_oldest_cursor() -> None:
    found = addressed(query("channels=a,b&cursor=e-5,e-3"), USER, ("@all", "b")).subscription
    assert found.channels == ("a", "b", "@all")
    assert found.cursors == (Cursor("e", 5), Cursor("e", 3), Cursor("e", 3))


def test_a_session_that_is_taken_up_keeps_its_channels() -> None:
    assert channels("session=abc", auto=("@all",)) == ()
    assert channels("session=abc&channels=a", auto=("@all",)) == ("a", "@all")


def test_data_alone_is_that_of_the_channel_asked_for() -> None:
    assert channels("channels=a&format=raw", auto=("@all",)) == ("a",)


def test_who_has_what_unasked() -> None:
    assert joined_unasked(("@me", "a"), USER, "tv") == (("user:#42", "user:tv#42", "a"), True)
    assert joined_unasked(("@me", "a"), STRANGER, "tv") == (("a",), False)


def test_where_there_can_be_one_channel_me_is_all_devices() -> None:
    assert one_channel("@me", Caller("user", "42", device="tv")) == "user:#42"
    assert one_channel("a", STRANGER) == "a"
