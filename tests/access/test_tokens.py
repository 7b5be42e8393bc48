"""Tokens: what is accepted and remembered, and the keys that have to be fetched first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.access.issuer import (
    CLAIMS,
    NOW,
    SECRET,
    Signer,
    edwards_signer,
    every_signer,
    jwks,
)
from tests.access.key_server import key_server
from tests.access.test_watched_file import Clock
from tests.access.verifying import (
    ED,
    ES,
    HS,
    RS,
    STRANGER,
    refusal,
    some_keys,
    some_tokens,
    tokens_of,
)
from tidewire.access import tokens as module
from tidewire.access.key_sets import AllKeys, KeyFile, SecretKey
from tidewire.access.key_source import KeySource
from tidewire.access.key_url import KeyUrl
from tidewire.access.token_key import jwk_set
from tidewire.access.tokens import MAX_TOKEN, Claims
from tidewire.model import InvalidToken, KeysUnavailable, TokenExpired

GOOD = HS.token()
READ = Claims("42", {"chat:*": frozenset({"subscribe", "publish"})}, NOW + 3600)
"""What is in a token with the usual claims."""

# What is accepted


@pytest.mark.parametrize("signer", every_signer(), ids=lambda signer: signer.algorithm)
def test_every_algorithm(signer: Signer) -> None:
    keys, _ = jwk_set(jwks(a=signer), secrets=True)
    for kid in ("a", None):
        assert tokens_of(KeySource(keys)).verify(signer.token(kid=kid)) == READ


@pytest.mark.parametrize("curve", ["Ed25519", "Ed448"])
def test_an_edwards_curve_may_be_named_in_full(curve: str) -> None:
    signer = edwards_signer(curve, algorithm=curve)  # RFC 9864
    keys, _ = jwk_set(jwks(a=signer), secrets=False)
    assert tokens_of(KeySource(keys)).verify(signer.token())


@pytest.mark.parametrize(
    ("signer", "kid"), [(HS, None), (HS, "mine"), (RS, "rsa"), (ES, "ec"), (ED, "ed"), (ED, None)]
)
def test_keys_of_several_sources_are_told_apart(signer: Signer, kid: str | None) -> None:
    assert some_tokens().verify(signer.token(kid=kid)) == READ


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_types_of_a_token(typ: str | None) -> None:
    header = {"alg": "HS256"} | ({"typ": typ} if typ else {})
    assert some_tokens().verify(HS.token(header=header))


def test_headers_that_mean_nothing_here_are_left_out() -> None:
    header = {"alg": "RS256", "kid": "rsa", "x5t": "abc", "x5t#S256": "abc", "iss": "x", "foo": {}}
    assert some_tokens().verify(RS.token(header=header))


def test_the_longest_token() -> None:
    def of(padding: int) -> str:
        return HS.token(CLAIMS | {"x": "y" * padding})

    fits = max(n for n in range(5800, 6100) if len(of(n)) <= MAX_TOKEN)
    assert some_tokens().verify(of(fits))
    assert "are more than 8,192" in refusal(some_tokens(), of(fits + 3)).why


def test_too_many_keys_are_not_all_tried() -> None:
    signers = {f"k{number}": edwards_signer(which=number) for number in range(9)}
    keys, _ = jwk_set(jwks(**signers), secrets=False)
    tokens = tokens_of(KeySource(keys))
    assert tokens.verify(signers["k8"].token(kid="k8"))
    assert "name one by kid" in refusal(tokens, signers["k8"].token()).why


# Settings


def test_audience_and_issuer() -> None:
    tokens = some_tokens(audience="us", issuer="https://a.example")
    right = CLAIMS | {"aud": ["them", "us"], "iss": "https://a.example"}
    assert tokens.verify(HS.token(right))
    for wrong in (CLAIMS, right | {"aud": "them"}, right | {"iss": "https://b.example"}):
        assert "get one for this" in refusal(tokens, HS.token(wrong)).detail


def test_leeway_is_for_both_ends() -> None:
    tokens = some_tokens(leeway=30)
    assert tokens.verify(HS.token(CLAIMS | {"exp": NOW - 29, "nbf": NOW + 30}))
    assert refusal(tokens, HS.token(CLAIMS | {"exp": NOW - 30})).code == "token_expired"


def test_tokens_without_end_are_for_who_asks_for_them() -> None:
    claims = some_tokens(require_exp=False).verify(HS.token({"sub": "42"}))
    assert claims is not None
    assert claims.expires is None


# What is remembered


class Counting(KeySource):
    """Counts how often keys are looked for; ``changes`` is their version."""

    def __init__(self, source: KeySource) -> None:
        super().__init__()
        self.source = source
        self.looked = 0
        self.changes = 0

    def version(self) -> int:
        return self.changes

    def find(self, id: str | None, algorithm: str) -> list[Any]:
        self.looked += 1
        return self.source.find(id, algorithm)


def test_a_token_is_verified_once() -> None:
    keys = Counting(some_keys())
    tokens = tokens_of(keys)
    first = tokens.verify(GOOD)
    assert all(tokens.verify(GOOD) is first for _ in range(10))
    assert keys.looked == 1


def test_a_remembered_token_expires_all_the_same() -> None:
    clock = Clock()
    tokens = some_tokens(clock=clock)
    clock.now = NOW
    assert tokens.verify(GOOD)
    clock.now = NOW + 3599.9
    assert tokens.verify(GOOD)
    clock.now = NOW + 3600
    with pytest.raises(TokenExpired):
        tokens.verify(GOOD)


def test_a_token_is_not_remembered_longer_than_its_key() -> None:
    keys = Counting(some_keys())
    tokens = tokens_of(keys)
    assert tokens.verify(GOOD)
    keys.source, keys.changes = SecretKey("another secret, as long as the one before"), 1
    assert "no known key" in refusal(tokens, GOOD).why


def test_a_file_that_is_rotated_ends_its_tokens_within_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.pem", Clock()
    path.write_bytes(ES.pem)
    tokens = tokens_of(AllKeys([SecretKey(SECRET), KeyFile(path, clock=clock)]))
    assert tokens.verify(ES.token())
    path.write_bytes(RS.pem)
    clock.now = 1
    assert "no known key" in refusal(tokens, ES.token()).why
    assert tokens.verify(RS.token())


def test_what_is_refused_is_not_remembered() -> None:
    keys = Counting(some_keys())
    tokens = tokens_of(keys)
    for _ in range(3):
        refusal(tokens, STRANGER.token())
    assert keys.looked == 3


@pytest.mark.parametrize("bound", ["_MOST_REMEMBERED", "_MOST_CHARACTERS"])
def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(module, bound, 5 if bound == "_MOST_REMEMBERED" else 5 * len(GOOD))
    keys = Counting(some_keys())
    tokens = tokens_of(keys)
    busy = HS.token(CLAIMS | {"sub": "busy"})
    for number in range(40):
        assert tokens.verify(HS.token(CLAIMS | {"sub": f"{number}"}))
        assert tokens.verify(busy)
        assert len(tokens._young) + len(tokens._old) <= 12
    assert keys.looked == 41  # who asks again and again is never forgotten


# Keys that have to be fetched


async def test_a_key_is_fetched_when_a_token_names_it() -> None:
    async with key_server() as server:
        server.body = jwks(a=ES)
        keys = KeyUrl(server.url)
        tokens = tokens_of(AllKeys([SecretKey(SECRET), keys]))
        token = ES.token(kid="a")
        assert tokens.verify(token) is None
        claims = await tokens.verify_later(token)
        assert tokens.verify(token) is claims
        assert tokens.verify(GOOD)
        await keys.close()
    assert len(server.requests) == 1


async def test_keys_can_be_there_before_the_first_token() -> None:
    async with key_server() as server:
        server.body = jwks(a=ES)
        tokens = tokens_of(AllKeys([SecretKey(SECRET), KeyUrl(server.url)]))
        await tokens.open()
        assert tokens.verify(ES.token(kid="a")) == READ
        await tokens.close()
        with pytest.raises(KeysUnavailable):
            tokens.verify(ES.token(kid="b"))


async def test_a_key_that_the_issuer_does_not_have_either() -> None:
    async with key_server() as server:
        server.body = jwks(a=ES)
        keys = KeyUrl(server.url, cool_down=3600)
        tokens = tokens_of(keys)
        token = STRANGER.token(kid="b")
        assert tokens.verify(token) is None
        with pytest.raises(InvalidToken, match="get a new one"):
            await tokens.verify_later(token)
        # Now it is known that there is none: strangers do not make us ask again at once.
        for number in range(100):
            refusal(tokens, STRANGER.token(kid=f"invented-{number}"))
        await keys.close()
    assert len(server.requests) == 1


async def test_a_new_key_without_an_id_is_found_too() -> None:
    async with key_server() as server:
        server.body = json.dumps({"keys": [ES.jwk]}).encode()
        keys = KeyUrl(server.url, cool_down=0)
        tokens = tokens_of(keys)
        assert await tokens.verify_later(ES.token()) == READ
        server.body = json.dumps({"keys": [RS.jwk]}).encode()
        assert tokens.verify(RS.token()) is None
        assert await tokens.verify_later(RS.token()) == READ
        await keys.close()


async def test_keys_that_were_taken_away_end_their_tokens() -> None:
    async with key_server() as server:
        server.body = jwks(a=ES)
        keys = KeyUrl(server.url)
        tokens = tokens_of(keys)
        assert await tokens.verify_later(ES.token(kid="a")) == READ
        server.body = jwks(b=ED)
        await keys.fetch()
        assert "no known key" in refusal(tokens, ES.token(kid="a")).why
        await keys.close()


async def test_an_issuer_that_cannot_be_asked_makes_no_token_wrong() -> None:
    async with key_server() as server:
        server.status = 500
        keys = KeyUrl(server.url)
        tokens = tokens_of(AllKeys([SecretKey(SECRET), keys]))
        token = ES.token(kid="a")
        assert tokens.verify(token) is None
        with pytest.raises(KeysUnavailable, match="try again"):
            await tokens.verify_later(token)
        with pytest.raises(KeysUnavailable):
            tokens.verify(token)
        assert tokens.verify(GOOD)
        refusal(tokens, HS.token(header={"alg": "none"}))
        await keys.close()


async def test_an_expired_token_needs_no_fetch_to_be_expired() -> None:
    async with key_server() as server:
        server.body = jwks(a=ES)
        keys = KeyUrl(server.url)
        with pytest.raises(TokenExpired):
            await tokens_of(keys).verify_later(ES.token(CLAIMS | {"exp": NOW - 1}, kid="a"))
        await keys.close()
