"""Namespaces: a channel's settings are those of the part before its first colon."""

from __future__ import annotations

import pytest

from tidewire.model import Namespaces, Retention

DEFAULT = Retention(10_000, 3_600_000_000)
CHAT = Retention(100, 60_000_000)
NOTHING = Retention(0, 1)


@pytest.mark.parametrize(
    ("channel", "retention"),
    [
        ("chat:42", CHAT),
        ("chat:42:members", CHAT),
        ("chat:", CHAT),
        ("chat", DEFAULT),  # it has no namespace
        ("chats:42", DEFAULT),
        ("Chat:42", DEFAULT),
        ("x:chat:42", DEFAULT),
        ("live:score", NOTHING),
        ("news", DEFAULT),
        (":news", DEFAULT),
    ],
)
def test_the_namespace_decides(channel: str, retention: Retention) -> None:
    namespaces = Namespaces(DEFAULT, {"chat": CHAT, "live": NOTHING})
    assert namespaces.retention(channel) == retention


def test_without_namespaces_the_default_holds() -> None:
    assert Namespaces(DEFAULT).retention("chat:42") == DEFAULT
    assert Namespaces(DEFAULT, {}).retention("chat:42") == DEFAULT


def test_later_changes_of_the_table_do_not_count() -> None:
    table = {"chat": CHAT}
    namespaces = Namespaces(DEFAULT, table)
    table["chat"] = NOTHING
    assert namespaces.retention("chat:42") == CHAT


def test_presence_by_namespace() -> None:
    found = Namespaces(Retention(5, 7), presence=True, presences={"quiet": False})
    assert found.any_has_presence
    assert found.has_presence("news")
    assert found.has_presence("room:1")
    assert not found.has_presence("quiet:1")
    assert not found.has_presence("@presence:room:1")
    assert not found.has_presence("!nodes")
    assert found.has_presence("a" * 245)
    assert not found.has_presence("a" * 246)


def test_without_presence() -> None:
    assert not Namespaces(Retention(5, 7)).any_has_presence
    assert not Namespaces(Retention(5, 7)).has_presence("news")
    some = Namespaces(Retention(5, 7), presences={"room": True})
    assert some.any_has_presence
    assert some.has_presence("room:1")
    assert not some.has_presence("news")


def test_comings_and_goings_are_kept_for_a_short_time() -> None:
    own = Retention(5, 7)
    assert Namespaces(own, presence=True).retention("@presence:a").ttl_us == 300_000_000
    assert Namespaces(own, {"@presence": Retention(1, 1)}, presence=True).retention(
        "@presence:a"
    ) == Retention(1, 1)
    assert Namespaces(own).retention("@presence:a") == own
