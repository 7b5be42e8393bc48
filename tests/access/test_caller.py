"""Who asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.access.caller import OPEN, SCOPES, Caller
from tidewire.model import check_channel
from tidewire.model.owner import owner_name, owner_of, whose


def user(name: str) -> Caller:
    return Caller("user", name)


@given(st.text(min_size=1), st.text("abc.:/@#-_", min_size=1))
def test_what_is_a_users_own_tells_whose_it_is(name: str, consumer: str) -> None:
    assert whose(user(name).own(consumer)) == (name, consumer)


@given(st.text(min_size=1), st.text(min_size=1), st.text("ab~%"), st.text("ab~%"))
def test_what_belongs_to_two_users_is_never_the_same(
    one: str, other: str, this: str, that: str
) -> None:
    assert one == other or user(one).own(this) != user(other).own(that)


def test_back_ends_have_what_is_nobodys() -> None:
    assert Caller("key", "shop").own("worker-1") == "worker-1"
    assert OPEN.own("worker-1") == "worker-1"
    assert whose("worker-1") == (None, "worker-1")


@pytest.mark.parametrize("name", ["42", "ann@example.org", "a.b:c/d_e-f"])
def test_a_user_owns_channels_by_its_id(name: str) -> None:
    assert owner_name(name) == name
    assert owner_of(f"inbox:#{name}") == name


@pytest.mark.parametrize("name", ["auth0|123", "Ann Lee", "a#b", "é", "x" * 65])
def test_an_id_that_channels_cannot_have_is_written_in_another_way(name: str) -> None:
    owner = owner_name(name)
    assert owner.startswith("@")
    assert len(owner) == 33
    assert check_channel(f"inbox:#{owner}")


@pytest.mark.parametrize(
    ("channel", "owner"), [("news", None), ("a#b", "b"), ("a#b#c", "c"), ("a#", "")]
)
def test_a_channel_belongs_to_what_stands_behind_its_last_sign(
    channel: str, owner: str | None
) -> None:
    assert owner_of(channel) == owner


def test_scopes() -> None:
    assert all(OPEN.has(scope) for scope in SCOPES)
    assert Caller("key", "shop", scopes={"admin"}).has("admin")
    assert not Caller("key", "shop", scopes={"admin"}).has("metrics")
    assert not user("42").has("tickets")


def test_the_log_shows_who_it_is_on_one_line() -> None:
    assert str(user("a\nb")) == r"user 'a\nb'"
    assert str(OPEN) == "open"
