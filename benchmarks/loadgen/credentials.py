"""What subscribers show of themselves where a server asks: each a token of its own."""

from __future__ import annotations

import time

import jwt

LASTS = 3600
"""Seconds for which a token is good, at the least."""


def token(secret: str, number: int, channel: str, issue: str) -> str:
    """A token of the user with this number, who may subscribe to a channel, signed with HS256.

    Those of one `issue` and about the same time are the same.
    """
    now = int(time.time()) // LASTS * LASTS
    claims = {
        "sub": f"user-{number}",
        "jti": f"{issue}-{number}",
        "iat": now,
        "exp": now + 2 * LASTS,
        "channels": {channel: ["subscribe", "history"]},
        "limits": {"connections": 10, "messages": 100},
    }
    return jwt.encode(claims, secret, algorithm="HS256")
