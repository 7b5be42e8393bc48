"""Where keys come from, and which of them a token may be by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.access.issuer import (
    SECRET,
    ec_signer,
    edwards_signer,
    hmac_signer,
    jwks,
    rsa_signer,
)
from tests.access.test_watched_file import Clock
from tidewire.access.key_sets import AllKeys, KeyFile, SecretKey, key_source
from tidewire.access.key_source import Elsewhere, KeySource
from tidewire.access.key_url import KeyUrl
from tidewire.access.unusable import Unusable
from tidewire.access.watched_file import UnusableFile

if TYPE_CHECKING:
    from pathlib import Path


def ids(source: KeySource, kid: str | None, algorithm: str) -> list[str | None]:
    """The ids of the keys that are found."""
    return [key.id for key in source.find(kid, algorithm)]


# Looking up


def test_a_secret_is_for_any_kid_and_for_hmac_alone() -> None:
    source = SecretKey(SECRET)
    assert ids(source, None, "HS256") == ids(source, "any", "HS512") == [None]
    for algorithm in ("RS256", "ES256", "EdDSA", "none", "hs256"):
        assert source.find(None, algorithm) == []
    assert source.version() == 0
    assert source.elsewhere("any", "HS256") is Elsewhere.NOWHERE


def test_a_key_with_an_id_is_for_tokens_that_name_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(a=rsa_signer(), b=ec_signer(), c=rsa_signer(which=1)))
    source = KeyFile(path)
    assert ids(source, "a", "RS256") == ["a"]
    assert ids(source, "a", "ES256") == []
    assert ids(source, "b", "ES256") == ["b"]
    assert ids(source, None, "PS256") == ["a", "c"]
    for trick in ("d", "A", "", "a ", "../a", "a\0", "keys.json", "file:///etc/passwd", "' OR 1"):
        assert ids(source, trick, "RS256") == []


def test_keys_of_two_kinds_may_have_one_id(tmp_path: Path) -> None:
    # RFC 7517 section 4.5
    path = tmp_path / "keys.json"
    members = [signer.jwk | {"kid": "a"} for signer in (rsa_signer(), ec_signer())]
    path.write_text(json.dumps({"keys": members}))
    source = KeyFile(path)
    assert len(source.find("a", "RS256")) == len(source.find("a", "ES256")) == 1


def test_several_sources_are_kept_apart_by_algorithm(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(a=rsa_signer(), b=edwards_signer()))
    source = AllKeys([SecretKey(SECRET), KeyFile(path)])
    assert ids(source, "a", "HS256") == [None]
    assert ids(source, "a", "RS256") == ["a"]
    assert ids(source, None, "EdDSA") == ["b"]
    [secret] = source.find("a", "HS256")
    [public] = source.find("a", "RS256")
    assert not secret.algorithms & public.algorithms


def test_nothing_is_found_in_nothing() -> None:
    source = AllKeys([])
    assert source.find(None, "HS256") == []
    assert source.elsewhere(None, "HS256") is Elsewhere.NOWHERE


# Files


def test_a_file_may_be_pem_or_a_set_or_one_jwk(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    for data in (
        ec_signer().pem,
        b"a comment\n" + ec_signer().pem,
        jwks(a=ec_signer()),
        b" \n" + json.dumps(ec_signer().jwk).encode(),
    ):
        path.write_bytes(data)
        [key] = KeyFile(path).find(None, "ES256")
        assert key.verifies("ES256", b"x", ec_signer().sign(b"x"))


def test_a_file_of_the_operators_may_have_secrets(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(a=hmac_signer()))
    assert ids(KeyFile(path), "a", "HS256") == ["a"]


def test_keys_are_rotated_without_a_restart(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.pem", Clock()
    path.write_bytes(ec_signer().pem)
    source = KeyFile(path, clock=clock)
    everything = AllKeys([SecretKey(SECRET), source])
    before = everything.version()
    path.write_bytes(rsa_signer().pem)
    clock.now = 1
    assert everything.version() != before
    assert (len(everything.find(None, "ES256")), len(everything.find(None, "RS256"))) == (0, 1)


def test_a_file_that_breaks_keeps_the_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "keys.pem", Clock()
    path.write_bytes(ec_signer().pem)
    source = KeyFile(path, clock=clock)
    path.write_bytes(ec_signer().pem[:40])
    clock.now = 1
    assert (source.version(), len(source.find(None, "ES256"))) == (0, 1)
    assert "there is no public key in it" in caplog.text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "there is no public key in it, neither PEM nor a JWK set"),
        (b"{", "it is no JWK set: not JSON"),
        (b'{"keys":[]}', "none of its keys is for signatures"),
        (b'{"keys":[{"kty":"RSA"}]}', "key 1: its parameters are missing"),
    ],
)
def test_a_file_without_keys_stops_the_start(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(UnusableFile, match=problem):
        KeyFile(path)


# By the settings


def test_sources_by_what_is_set(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(a=rsa_signer()))
    assert isinstance(key_source(secret=SECRET), SecretKey)
    assert isinstance(key_source(file=path), KeyFile)
    assert isinstance(key_source(url="https://issuer.example/keys"), KeyUrl)
    both = key_source(secret=SECRET, file=path)
    assert (ids(both, "a", "HS256"), ids(both, "a", "RS256")) == ([None], ["a"])


def test_what_is_wrong_is_told_with_the_name_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="token_secret: it is no secret but a public key; public"):
        key_source(secret=rsa_signer().pem.decode())
    with pytest.raises(Unusable, match="token_jwks_url: keys are fetched from an https address"):
        key_source(url="http://issuer.example/keys")
    with pytest.raises(Unusable, match=f"token_key_file: {tmp_path}/keys.pem cannot be read"):
        key_source(file=tmp_path / "keys.pem")
