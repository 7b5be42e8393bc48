"""Users' tokens: JWTs (RFC 7519) signed by an issuer whose keys are known, checked by RFC 8725.

A token is taken only if each of these holds:

- It is a JWS in compact form of at most 8 KiB: three parts of base64url, none empty, each in its
  one canonical way; header and claims are JSON objects without a member twice.
- Its ``alg`` is one of those its key is pinned to. Keys are the operator's own (``key_sets``): a
  ``kid`` is a name to look up and nothing else, and ``jwk``, ``jku``, ``x5u``, ``x5c``, which would
  bring or name other keys, are refused, as are ``crit``, ``b64`` and a token inside the token.
- ``typ`` is absent, ``JWT`` or ``at+jwt``: what an issuer signs for other ends is no token here.
- The signature is right; only then are the claims read (``claims``).

All comes to one answer for the client, whatever was wrong before the claims; the precise reason is
the error's ``why``, for the operator's log.
"""

from __future__ import annotations

import re
import time
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from tidewire.access.claims import (
    Claims,
    check_addressee,
    check_begin,
    check_expiry,
    claims_of,
)
from tidewire.access.key_source import Elsewhere, KeySource
from tidewire.access.strict_json import json_object
from tidewire.access.token_key import MAX_KEY_ID
from tidewire.model import BadRequest, InvalidToken, KeysUnavailable

__all__ = ["MAX_TOKEN", "Claims", "Tokens", "claims_of"]

MAX_TOKEN = 8 << 10
"""Bytes of the longest token."""

_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_STANDARD = bytes.maketrans(b"-_", b"+/")
_REFUSED_HEADERS = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "cty", "enc", "zip"})
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

# Keys that are tried for a token without kid: each costs up to some hundred µs.
_MOST_TRIED = 8
# In each of the two generations of tokens that are remembered.
_MOST_REMEMBERED = 10_000
_MOST_CHARACTERS = 8 << 20


class _Parts(NamedTuple):
    """A token taken apart; ``signed`` is what the signature is of."""

    key_id: str | None
    algorithm: str
    signed: bytes
    signature: bytes
    claims: bytes


class Tokens:
    """Verifies tokens, and remembers those that were good until they expire or keys change.

    *audience* and *issuer* are what ``aud`` must name and ``iss`` must be; without *audience* a
    token may have no ``aud``. *leeway* is by how many seconds the issuer's clock may differ. A
    token without ``exp`` is taken only without *require_exp*. *clock* gives Unix seconds.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        audience: str | None = None,
        issuer: str | None = None,
        leeway: float = 0.0,
        require_exp: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway
        self._require_exp = require_exp
        self._clock = clock
        self._version = keys.version()
        # Two generations: what is asked for again in time moves from the old to the young one.
        self._young: dict[str, Claims] = {}
        self._old: dict[str, Claims] = {}
        self._characters = 0

    async def open(self) -> None:
        """Fetch the keys that are elsewhere, so that the first token need not wait for them.

        It ends when they are there, or when it did not work; then they are fetched later.
        """
        await self._keys.fetch()

    async def close(self) -> None:
        """Ask the issuer for keys no more."""
        await self._keys.close()

    def verify(self, text: str) -> Claims | None:
        """What the token *text* says; ``None`` if its key may have to be fetched first.

        Raises:
            InvalidToken: if it is not to be accepted.
            KeysUnavailable: if its key may be one that the issuer cannot be asked for now.
        """
        self._forget_with_keys()
        claims = self._young.get(text)
        if claims is None and (claims := self._old.get(text)) is None:
            return self._verify_new(text, may_fetch=True)
        check_expiry(claims.expires, self._clock(), self._leeway)
        if text not in self._young:
            self._remember(text, claims)
        return claims

    async def verify_later(self, text: str) -> Claims:
        """The same, after the keys have been fetched.

        Raises:
            InvalidToken: if it is not to be accepted.
            KeysUnavailable: if its key may be one that the issuer cannot be asked for now.
        """
        await self._keys.fetch()
        self._forget_with_keys()
        claims = self._verify_new(text, may_fetch=False)
        assert claims is not None
        return claims

    def _verify_new(self, text: str, *, may_fetch: bool) -> Claims | None:
        parts = _take_apart(text)
        if not self._is_signed(parts):
            elsewhere = self._keys.elsewhere(parts.key_id, parts.algorithm)
            if elsewhere is Elsewhere.TO_FETCH and may_fetch:
                return None
            if elsewhere is not Elsewhere.NOWHERE:
                raise KeysUnavailable("the token cannot be verified now: try again in a moment")
            named = f"alg {_shown(parts.algorithm)}, kid {_shown(parts.key_id)}"
            _refuse(f"no known key has signed it ({named})")
        claims = self._read(parts.claims)
        self._remember(text, claims)
        return claims

    def _is_signed(self, parts: _Parts) -> bool:
        keys = self._keys.find(parts.key_id, parts.algorithm)
        if len(keys) > _MOST_TRIED:
            _refuse(f"{len(keys)} keys could have signed it: its issuer has to name one by kid")
        return any(key.verifies(parts.algorithm, parts.signed, parts.signature) for key in keys)

    def _read(self, data: bytes) -> Claims:
        """What is in a token whose signature is right, if it is meant for here and now."""
        now, leeway = self._clock(), self._leeway
        try:
            members = json_object(data)
            claims = claims_of(members)
            if claims.expires is None and self._require_exp:
                raise BadRequest("claim 'exp': it is missing")
            check_addressee(members, self._audience, self._issuer)
        except (ValueError, BadRequest) as error:
            # Nobody but the issuer could have written it, so it may be told: it has to mend it.
            why = str(error) if isinstance(error, BadRequest) else f"claims: {error}"
            raise InvalidToken(f"the token cannot be used: {why}", why=why) from None
        check_expiry(claims.expires, now, leeway)
        check_begin(claims, now, leeway)
        return claims

    def _forget_with_keys(self) -> None:
        """What a key vouched for is not good any longer than the key."""
        version = self._keys.version()
        if version != self._version:
            self._version = version
            self._young, self._old, self._characters = {}, {}, 0

    def _remember(self, text: str, claims: Claims) -> None:
        if len(self._young) >= _MOST_REMEMBERED or self._characters >= _MOST_CHARACTERS:
            self._old, self._young, self._characters = self._young, {}, 0
        self._young[text] = claims
        self._characters += len(text)


def _take_apart(text: str) -> _Parts:
    if len(text) > MAX_TOKEN:
        _refuse(f"{len(text):,} characters are more than {MAX_TOKEN:,}")
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        _refuse("it is not three parts of base64url, none of them empty")
    algorithm, key_id = _header(shape[1])
    try:
        claims, signature = _decode(shape[2]), _decode(shape[3])
    except ValueError as error:
        _refuse(f"base64url: {error}")
    return _Parts(key_id, algorithm, text[: shape.end(2)].encode(), signature, claims)


@lru_cache(256)  # an issuer's tokens have the same one
def _header(part: str) -> tuple[str, str | None]:
    """The algorithm and the key's id that a token's first part names."""
    try:
        header = json_object(_decode(part))
    except ValueError as error:
        _refuse(f"header: {error}")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if refused := _REFUSED_HEADERS & header.keys():
        _refuse(f"its header has {', '.join(sorted(refused))}")
    if not isinstance(algorithm, str):
        _refuse("its header has no alg")
    if key_id is not None and not (isinstance(key_id, str) and 1 <= len(key_id) <= MAX_KEY_ID):
        _refuse(f"kid is no text of 1 to {MAX_KEY_ID} characters")
    kind: Any = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        _refuse(f"typ {_shown(kind)} is another kind of token")
    return algorithm, key_id


def _decode(part: str) -> bytes:
    """base64url without padding (RFC 7515 section 2), in its one canonical way."""
    standard = part.encode().translate(_STANDARD) + b"=" * (-len(part) % 4)
    try:
        data = a2b_base64(standard, strict_mode=True)
    except Base64Error:
        raise ValueError("not base64url") from None
    # The last character has bits that are not used; with any of them set it would be another text
    # for the same token.
    if b2a_base64(data, newline=False) != standard:
        raise ValueError("not canonical base64url")
    return data


def _shown(value: object) -> str:
    """What a stranger wrote, as it may stand in a line of the log."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _refuse(why: str) -> NoReturn:
    raise InvalidToken("the token is not accepted: get a new one", why=why)
