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
