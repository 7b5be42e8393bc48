"""Names that stand for channels, and the channels of users and devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.model import Forbidden, InvalidChannel, channel_names, check_channel, namespace_of
from tidewire.model.address import (
    ALL,
    ME,
    own_channels,
    presence_channel,
    resolved,
    subject_of,
    user_channel,
)
from tidewire.model.channel import MAX_NAME, check_target
from tidewire.model.owner import owner_name, owner_of

texts = st.text(min_size=1, max_size=255).filter(lambda text: text.isprintable())


def test_the_channels_of_a_user() -> None:
    assert user_channel("42") == "user:#42"
    assert user_channel("42", "phone") == "user:phone#42"
    assert own_channels("42", None) == ("user:#42",)
    assert own_channels("42", "phone") == ("user:#42", "user:phone#42")


@given(user=texts, device=st.none() | texts)
def test_whoever_it_is_its_channel_is_one_and_its_own(user: str, device: str | None) -> None:
    for channel in own_channels(user, device):
        assert check_channel(channel) == channel
        assert len(presence_channel(channel)) <= MAX_NAME
        assert owner_of(channel) == owner_name(user)
        assert namespace_of(channel) == "user"


def test_a_device_cannot_name_another_owner() -> None:
    assert owner_of(user_channel("42", "x#43")) == "42"


def test_names_are_resolved_in_their_place() -> None:
    assert list(resolved(["a", ME, ALL], ("x", "y"))) == ["a", "x", "y", ALL]


def test_me_is_the_name_of_no_channel() -> None:
    with pytest.raises(InvalidChannel, match="your own channels"):
        check_channel(ME)
    assert channel_names(f"{ME},{ALL},@you", 3) == (ME, ALL, "@you")


def test_everybody_has_a_namespace() -> None:
    assert namespace_of(ALL) == ALL
    assert namespace_of("@alley") == ""


def test_joins_and_leaves_have_a_channel() -> None:
    assert presence_channel("chat:1") == "@presence:chat:1"
    assert subject_of("@presence:chat:1") == "chat:1"
    assert subject_of("chat:@presence:1") is None


def test_only_the_server_tells_joins_and_leaves() -> None:
    assert check_target("chat:1") == "chat:1"
    for _ in range(2):  # what is remembered must not let it through
        with pytest.raises(Forbidden, match="only the server"):
            check_target("@presence:chat:1")
        assert check_channel("@presence:chat:1")
    with pytest.raises(InvalidChannel):
        check_target(ME)
