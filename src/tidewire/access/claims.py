"""What a token says of its user, once its signature is known to be right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from tidewire.access.caller import RIGHTS, CallerLimits
from tidewire.access.patterns import is_pattern
from tidewire.model import BadRequest, InvalidToken, TokenExpired

MAX_TEXT = 255
# Seconds up to the year 9999: what is beyond was most likely meant as milliseconds.
_LATEST = 253_402_300_799
_LARGEST_LIMIT = 1 << 53
# By how many seconds iat may be ahead. It says nothing of when a token is valid, and clocks differ;
# but one of tomorrow would outlive a revocation of all that were issued until today.
_SKEW = 60
# Control characters, the line ends of Unicode, and halves of characters.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_rights_known: dict[frozenset[str], frozenset[str]] = {}


class Claims(msgspec.Struct, frozen=True, gc=False):
    """A user, and what its token lets it do. All who show one token share it: change nothing.

    ``user`` (claim ``sub``), ``token_id`` (``jti``) and ``device`` have 1 to 255 characters, none
    of them a control character. ``channels`` has rights by channel name or pattern, ``limits`` the
    fields of ``CallerLimits`` that are set. The times are Unix seconds.
    """

    user: str
    channels: dict[str, frozenset[str]]
    expires: float | None = None
    token_id: str | None = None
    issued: float | None = None
    not_before: float | None = None
    device: str | None = None
    limits: dict[str, int] = {}


def claims_of(claims: Mapping[str, Any]) -> Claims:
    """What *claims* say, those left out that mean nothing here. ``exp`` may be missing.

    Raises:
        BadRequest: if one of them is not as it should be.
    """
    user = _text(claims, "sub")
    if user is None:
        _malformed("sub", "it is missing")
    return Claims(
        user,
        _channels(claims.get("channels", {})),
        _time(claims, "exp"),
        _text(claims, "jti"),
        _time(claims, "iat"),
        _time(claims, "nbf"),
        _text(claims, "device"),
        _limits(claims.get("limits", {})),
    )


def check_expiry(expires: float | None, now: float, leeway: float) -> None:
    """Refuse a token whose time is over.

    Raises:
        TokenExpired: if it is.
    """
    if expires is not None and expires + leeway <= now:
        raise TokenExpired(
            "the token has expired: get a new one", why=f"it expired {now - expires:.0f} s ago"
        )


def check_begin(claims: Claims, now: float, leeway: float) -> None:
    """Refuse a token whose time has not come.

    Raises:
        InvalidToken: if it has not.
    """
    for name, begin, ahead in (("nbf", claims.not_before, 0), ("iat", claims.issued, _SKEW)):
        if begin is not None and begin > now + leeway + ahead:
            raise InvalidToken(
                "the token is not valid yet: wait, or set the clock of its issuer right",
                why=f"its {name} is {begin - now:.0f} s ahead",
            )


def check_addressee(claims: Mapping[str, Any], audience: str | None, issuer: str | None) -> None:
    """Refuse a token that is for others (``aud``), or by others (``iss``).

    Raises:
        BadRequest: if one of them is not as it should be.
        InvalidToken: if it is.
    """
    named = claims.get("aud", [])
    if isinstance(named, str):
        named = [named]
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        _malformed("aud", "it is neither a text nor a list of texts")
    if audience is None and named:
        # RFC 7519 section 4.1.3: who is not meant must not take it.
        why = "it has an aud, and no token_audience is set"
    elif audience is not None and audience not in named:
        why = f"its aud is not {audience!r}"
    elif issuer is not None and claims.get("iss") != issuer:
        why = f"its iss is not {issuer!r}"
    else:
        return
    raise InvalidToken("the token is for another server: get one for this", why=why)


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
        _malformed(name, f"it is no text of 1 to {MAX_TEXT} characters")
    if _UNSAFE.search(value):
        _malformed(name, "it has a control character")
    return value


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A time as RFC 7519 has it (NumericDate): seconds since 1970, which may have a fraction."""
    value = claims.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= _LATEST:
        _malformed(name, "it is no number of seconds since 1970")
    return float(value)


def _channels(value: object) -> dict[str, frozenset[str]]:
    if not isinstance(value, dict):
        _malformed("channels", "it is no object of channels and lists of rights")
    found = {}
    for pattern, rights in value.items():
        if not is_pattern(pattern):
            _malformed("channels", "a name in it is neither a channel nor a pattern")
        if not isinstance(rights, list) or not all(
            isinstance(right, str) and right in RIGHTS for right in rights
        ):
            _malformed("channels", f"rights are a list out of {', '.join(sorted(RIGHTS))}")
        # There are only so many different sets, and each is kept once for all users.
        given = frozenset(rights)
        found[pattern] = _rights_known.setdefault(given, given)
    return found


def _limits(value: object) -> dict[str, int]:
    # A limit with a slip of the pen in its name would be none.
    if not isinstance(value, dict) or not value.keys() <= set(CallerLimits._fields):
        _malformed("limits", f"it is an object of {', '.join(CallerLimits._fields)}")
    for limit in value.values():
        if type(limit) is not int or not 0 <= limit <= _LARGEST_LIMIT:
            _malformed("limits", "a limit is a whole number from 0 to 2^53")
    return value


def _malformed(claim: str, why: str) -> NoReturn:
    raise BadRequest(f"claim {claim!r}: {why}")
