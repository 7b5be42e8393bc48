"""Passwords in addresses: hidden where an address is shown, known to what cleans the log."""

from __future__ import annotations

import pytest

from tidewire.settings.hiding import hide_passwords, passwords_of


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:very-secret@host/1", "redis://:***@host/1"),
        ("rediss://app:very%2Fsecret@host", "rediss://app:***@host"),
        ("redis+sentinel://:very-secret@a:1,b:2/m", "redis+sentinel://:***@a:1,b:2/m"),
        ("redis+sentinel://a/m?sentinel_password=very-secret&x=1",
         "redis+sentinel://a/m?sentinel_password=***&x=1"),
        ("redis://host?password=very-secret", "redis://host?password=***"),
        # Not as it should be: no part of what may be meant as a password is shown.
        ("redis://very-secret@host", "redis://***@host"),
        ("redis://:very@se/cr#et@host", "redis://:***@host"),
        ("redis://app:very\nsecret@host", "redis://app:***@host"),
        ("redis:/:very-secret@host", "redis:/:***@host"),
        ("redis//:very-secret@host", "redis//:***@host"),
        ("redis:very-secret@host", "redis:***@host"),
        ("app:very-secret@host", "app:***@host"),
        # A file may have an @ in its name.
        ("sqlite:///a:b@c/log.db", "sqlite:///a:b@c/log.db"),
        ("memory:", "memory:"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_shown(address: str, shown: str) -> None:
    assert hide_passwords(address) == shown


@pytest.mark.parametrize(
    ("address", "passwords"),
    [
        ("redis://host", []),
        ("sqlite:///a:b@c/log.db", []),
        ("redis://:secret@host", ["secret"]),
        ("redis://app:p%40ss@host?sentinel_password=other", ["p%40ss", "p@ss", "other"]),
    ],
)
def test_what_is_kept_out_of_the_log(address: str, passwords: list[str]) -> None:
    assert passwords_of(address) == passwords
