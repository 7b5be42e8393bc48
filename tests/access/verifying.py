"""Tokens that are verified at one moment, by the keys of one issuer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.access.issuer import (
    NOW,
    SECRET,
    ec_signer,
    edwards_signer,
    hmac_signer,
    jwks,
    rsa_signer,
)
from tidewire.access.key_sets import AllKeys, SecretKey
from tidewire.access.key_source import KeySource
from tidewire.access.token_key import jwk_set
from tidewire.access.tokens import Tokens
from tidewire.model import InvalidToken

HS, RS, ES, ED = hmac_signer(), rsa_signer(), ec_signer(), edwards_signer()
STRANGER = rsa_signer(which=7)
"""Somebody with a key of its own, which is not among ours."""


def tokens_of(keys: KeySource, **more: Any) -> Tokens:
    """Tokens by these *keys*, at the moment :data:`NOW`."""
    return Tokens(keys, **({"clock": lambda: NOW} | more))


def some_keys() -> KeySource:
    """A secret, and public keys of three kinds with the ids rsa, ec and ed."""
    keys, problems = jwk_set(jwks(rsa=RS, ec=ES, ed=ED), secrets=False)
    assert problems == []
    return AllKeys([SecretKey(SECRET), KeySource(keys)])


def some_tokens(**more: Any) -> Tokens:
    return tokens_of(some_keys(), **more)


def refusal(tokens: Tokens, text: str) -> InvalidToken:
    """With what *text* is refused."""
    with pytest.raises(InvalidToken) as raised:
        tokens.verify(text)
    return raised.value
