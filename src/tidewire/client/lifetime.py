"""How long a token is good, as far as it says so itself. Nothing is verified here."""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode
from typing import NamedTuple

import msgspec


class Lifetime(NamedTuple):
    """From when a token was received to when it ends: times of a clock that never goes back."""

    begins: float
    ends: float

    def due(self, drawn: float) -> float:
        """When to ask for the next: at 70 to 90 % of the time, as *drawn* from 0 to below 1.

        Clients whose tokens were issued at the same moment do not come back at the same moment.
        """
        return self.begins + (self.ends - self.begins) * (0.7 + 0.2 * drawn)

    def is_half_over(self, now: float) -> bool:
        """Whether more than half of the time is over."""
        return now >= (self.begins + self.ends) / 2

    def is_over(self, now: float) -> bool:
        """Whether the token has ended."""
        return now >= self.ends


class _Claims(msgspec.Struct):
    exp: float | None = None
    iat: float | None = None


_decode = msgspec.json.Decoder(_Claims).decode


def lifetime_of(token: str, now: float, wall: float) -> Lifetime | None:
    """How long a token is good that is received *now*, at the Unix time *wall*.

    ``None`` if it does not say, or is no JWT. If this machine's clock and the issuer's cannot both
    be right, the token is taken for one that was issued now.
    """
    claims = _claims(token)
    if claims is None or claims.exp is None or not math.isfinite(claims.exp):
        return None
    left = claims.exp - wall
    if claims.iat is not None and math.isfinite(claims.iat):
        life = claims.exp - claims.iat
        if not 0 < left <= life:
            left = life
    return Lifetime(now, now + left) if left > 0 else None


def _claims(token: str) -> _Claims | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        return _decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None
