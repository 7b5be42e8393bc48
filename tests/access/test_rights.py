"""Who may do what in which channel."""

from __future__ import annotations

import logging

import pytest

from tidewire.access.caller import OPEN, RIGHTS, Caller, Grant, Right
from tidewire.access.rights import Rights, Rules
from tidewire.model import Forbidden, InvalidChannel, NoCredentials

STRICT = Rights(Rules(), {})
READ = frozenset({"subscribe", "history"})


def user(*grants: Grant, name: str = "42") -> Caller:
    return Caller("user", name, grants=grants)


def stranger() -> Caller:
    return Caller("anonymous")


def may(rights: Rights, caller: Caller, right: Right, channel: str) -> bool:
    return rights.refusal(caller, right, channel) is None


ALL: list[Right] = ["subscribe", "publish", "history", "presence", "ack"]


@pytest.mark.parametrize("right", ALL)
def test_where_nobody_is_asked_all_may(right: Right) -> None:
    assert may(STRICT, OPEN, right, "news")
    assert may(STRICT, OPEN, right, "user:#42")


@pytest.mark.parametrize("right", ALL)
def test_without_a_grant_nobody_may(right: Right) -> None:
    assert not may(STRICT, user(), right, "news")
    assert not may(STRICT, stranger(), right, "news")
    assert not may(STRICT, Caller("key", "k"), right, "news")


def test_a_grant_gives_its_rights_in_its_channels() -> None:
    caller = user(Grant("chat:*", READ), Grant("news", frozenset({"publish"})))
    assert may(STRICT, caller, "subscribe", "chat:1")
    assert may(STRICT, caller, "history", "chat:1")
    assert not may(STRICT, caller, "publish", "chat:1")
    assert not may(STRICT, caller, "subscribe", "news")
    assert may(STRICT, caller, "publish", "news")


@pytest.mark.parametrize("name", ["", "a" * 256, "x" * 60_000, "a b", "!access", "news\n"])
def test_what_is_no_name_is_neither_kept_nor_logged(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caller = user(Grant("*", RIGHTS))
    with caplog.at_level(logging.INFO), pytest.raises(InvalidChannel):
        STRICT.check(caller, "subscribe", [name])
    assert caller.decided == {}
    assert caplog.text == ""


def test_who_may_subscribe_may_acknowledge() -> None:
    assert may(STRICT, user(Grant("news", frozenset({"subscribe"}))), "ack", "news")
    assert not may(STRICT, user(Grant("news", frozenset({"history"}))), "ack", "news")
    assert may(Rights(Rules(subscribe="anyone"), {}), stranger(), "ack", "news")
    assert may(STRICT, Caller("key", "k", scopes={"subscribe"}), "ack", "news")


def test_who_may_acknowledge_may_not_subscribe() -> None:
    assert not may(STRICT, user(Grant("news", frozenset({"ack"}))), "subscribe", "news")


@pytest.mark.parametrize("right", ALL)
def test_a_user_reads_its_own_channels_and_nobody_elses(right: Right) -> None:
    assert may(STRICT, user(), right, "inbox:#42") == (right != "publish")
    for other in ("inbox:#4", "inbox:#420", "inbox:#42#7", "inbox:#", "inbox:42"):
        assert not may(STRICT, user(), right, other)


def test_a_star_does_not_reach_what_belongs_to_others() -> None:
    caller = user(Grant("*", RIGHTS), Grant("inbox:*", RIGHTS))
    assert not may(STRICT, caller, "subscribe", "inbox:#7")
    assert may(STRICT, user(Grant("inbox:#*", READ)), "subscribe", "inbox:#7")
    assert may(STRICT, user(Grant("inbox:#7", READ)), "subscribe", "inbox:#7")


@pytest.mark.parametrize("who", ["user", "anyone"])
def test_a_namespace_does_not_open_what_belongs_to_others(who: str) -> None:
    rights = Rights(Rules(), {"inbox": Rules(subscribe=who)})
    assert not may(rights, user(), "subscribe", "inbox:#7")
    assert not may(rights, stranger(), "subscribe", "inbox:#7")


@pytest.mark.parametrize(
    ("who", "for_users", "for_strangers"),
    [("token", False, False), ("user", True, False), ("anyone", True, True)],
)
def test_a_namespace_says_who_may(who: str, for_users: bool, for_strangers: bool) -> None:
    rights = Rights(Rules(), {"open": Rules(subscribe=who)})
    assert may(rights, user(), "subscribe", "open:1") == for_users
    assert may(rights, stranger(), "subscribe", "open:1") == for_strangers
    assert not may(rights, user(), "publish", "open:1")
    assert not may(rights, user(), "subscribe", "other:1")
    assert rights.for_anyone == for_strangers


def test_a_key_does_what_its_scopes_say_everywhere() -> None:
    key = Caller("key", "shop", scopes={"publish", "admin"})
    assert may(STRICT, key, "publish", "news")
    assert may(STRICT, key, "publish", "inbox:#42")
    assert not may(STRICT, key, "subscribe", "news")


def test_a_key_with_channels_does_it_there_alone() -> None:
    scopes = frozenset({"publish"})
    key = Caller("key", "shop", scopes=scopes, grants=[Grant("stock:*", scopes)])
    assert may(STRICT, key, "publish", "stock:1")
    assert not may(STRICT, key, "publish", "news")


def test_the_client_is_told_no_reason_and_the_operator_is() -> None:
    rights = Rights(Rules(), {"chat": Rules(publish="user")})
    with pytest.raises(Forbidden) as refused:
        rights.check(user(), "subscribe", ["chat:1"])
    assert refused.value.detail == "you may not subscribe to 'chat:1'"
    assert refused.value.why == (
        "subscribe chat:1: it has no grant, and allow_subscribe = 'token' in the namespace 'chat'"
    )


def test_a_stranger_is_told_to_say_who_it_is() -> None:
    with pytest.raises(NoCredentials, match="show who you are"):
        STRICT.check(stranger(), "publish", ["news"])


def test_one_channel_that_is_refused_refuses_all() -> None:
    caller = user(Grant("a", READ), Grant("b", READ))
    STRICT.check(caller, "subscribe", ["a", "b"])
    with pytest.raises(Forbidden, match="'c'"):
        STRICT.check(caller, "subscribe", ["a", "c", "b"])


def test_decisions_are_remembered_within_bounds() -> None:
    caller = user(Grant("*", READ))
    for number in range(5_000):
        assert may(STRICT, caller, "subscribe", f"c{number}")
    assert len(caller.decided) <= 1_024
    assert not may(STRICT, caller, "publish", "c1")


# Everybody's channel, and those in which joins and leaves are told


@pytest.mark.parametrize("caller", [user(), stranger(), user(Grant("room", READ))])
def test_everybody_may_read_what_is_for_everybody(caller: Caller) -> None:
    lax = Rights(Rules(publish="anyone"), {"@all": Rules(publish="anyone")})
    for rights in (STRICT, lax):
        for right in ("subscribe", "history", "ack"):
            assert may(rights, caller, right, "@all")
        assert not may(rights, caller, "publish", "@all")
        assert not may(rights, caller, "presence", "@all")


def test_who_is_granted_it_may_publish_to_everybody() -> None:
    assert may(STRICT, user(Grant("@all", frozenset({"publish"}))), "publish", "@all")
    assert may(STRICT, Caller("key", "k", scopes=["publish"]), "publish", "@all")
    assert not may(STRICT, Caller("key", "k", scopes=["subscribe"]), "publish", "@all")


def test_to_follow_who_comes_and_goes_is_the_right_to_see_who_is_there() -> None:
    granted = user(Grant("room", frozenset({"presence"})))
    reader = user(Grant("room", READ), Grant("@presence:*", RIGHTS))
    for right in ("subscribe", "history", "ack"):
        assert may(STRICT, granted, right, "@presence:room")
        assert not may(STRICT, reader, right, "@presence:room")
    assert may(STRICT, user(name="7"), "subscribe", "@presence:user:#7")
    assert not may(STRICT, user(name="8"), "subscribe", "@presence:user:#7")


def test_nobody_may_tell_who_comes_and_goes() -> None:
    everything = user(Grant("*", RIGHTS), Grant("@presence:*", RIGHTS))
    for caller in (everything, Caller("key", "k", scopes=RIGHTS)):
        assert not may(STRICT, caller, "publish", "@presence:room")
