"""Credentials for tests from outside: users' tokens, and the keys of back ends."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a secret of the test-suite, of more than 32 bytes"
KEY = "the-one-key-that-may-do-everything"
BRIEF = 4
"""Seconds that a token lasts which is to end during a test. Three of them are there in any case to
show it, for it ends with a whole second: so long a machine may stand still for a moment.
"""


def token(
    user: str = "42",
    channels: dict[str, list[str]] | None = None,
    *,
    lasts: float = 86_400,
    secret: str = SECRET,
    **claims: Any,
) -> str:
    """A token of *user* that *lasts* so many seconds, signed with HS256.

    The default is longer than any run of all tests: some tokens are made when it begins.
    """
    now = int(time.time())
    all_claims = {
        "sub": user,
        "iat": now,
        "exp": int(now + lasts),
        "channels": channels or {},
        **claims,
    }
    return jwt.encode(all_claims, secret, algorithm="HS256")


def bearer(text: str) -> dict[str, str]:
    """The header that shows a token or a key."""
    return {"Authorization": f"Bearer {text}"}


def key_file(path: Path, **keys: tuple[str, list[str]]) -> Path:
    """A file of keys: for each name the key and its scopes. It is in its place at once."""
    lines = []
    for name, (key, scopes) in keys.items():
        digest = hashlib.sha256(key.encode()).hexdigest()
        lines += [f"[keys.{name}]", f'hash = "sha256:{digest}"', f"scopes = {scopes}", ""]
    put(path, "\n".join(lines))
    return path


def put(path: Path, text: str) -> None:
    """Write a file that a server reads whenever it likes: never is there less than all of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)
