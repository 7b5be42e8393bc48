"""Keys: read from what operators and issuers write, and pinned to their own algorithms."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.access.issuer import (
    SECRET,
    Signer,
    b64,
    ec_signer,
    edwards_signer,
    every_signer,
    hmac_signer,
    rsa_signer,
)
from tidewire.access.token_key import (
    Key,
    UnusableKey,
    jwk_set,
    pem_keys,
    public_key,
    secret_key,
)

HS = {"HS256", "HS384", "HS512"}
RS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def key_of(signer: Signer, **more: Any) -> Key:
    """The key of *signer*, by way of its JWK."""
    [key], problems = jwk_set(json.dumps({"keys": [signer.jwk | more]}).encode(), secrets=True)
    assert problems == []
    return key


def only_problem(member: object, *, secrets: bool = True) -> str:
    """Why a JWK is not used."""
    keys, problems = jwk_set(json.dumps({"keys": [member]}).encode(), secrets=secrets)
    assert keys == []
    return problems[0]


# What a key verifies


@pytest.mark.parametrize("signer", every_signer(), ids=lambda signer: signer.algorithm)
def test_a_key_verifies_what_was_signed_with_it_and_nothing_else(signer: Signer) -> None:
    key, algorithm = key_of(signer), signer.algorithm
    signature = signer.sign(b"signed")
    assert key.verifies(algorithm, b"signed", signature)
    assert not key.verifies(algorithm, b"Signed", signature)
    for wrong in (b"", b"\0", signature[:-1], signature + b"\0", bytes(len(signature))):
        assert not key.verifies(algorithm, b"signed", wrong)
    for other in {"none", "", "hs256", "HS256 ", *HS, *RS} - {algorithm}:
        assert not key.verifies(other, b"signed", signature)


@pytest.mark.parametrize(
    ("signer", "algorithms"),
    [
        (hmac_signer(), HS),
        (rsa_signer(), RS),
        (ec_signer("ES256"), {"ES256"}),
        (ec_signer("ES384"), {"ES384"}),
        (ec_signer("ES512"), {"ES512"}),
        (ec_signer("ES256K"), {"ES256K"}),
        (edwards_signer("Ed25519"), {"EdDSA", "Ed25519"}),
        (edwards_signer("Ed448"), {"EdDSA", "Ed448"}),
    ],
    ids=lambda value: value.algorithm if isinstance(value, Signer) else "",
)
def test_a_key_is_pinned_to_the_algorithms_of_its_kind(
    signer: Signer, algorithms: set[str]
) -> None:
    assert key_of(signer).algorithms == algorithms
    if signer.public is not None:
        assert public_key(signer.public).algorithms == algorithms
        assert [key.algorithms for key in pem_keys(signer.pem)] == [algorithms]


def test_the_alg_of_a_jwk_narrows_it_to_one() -> None:
    assert key_of(rsa_signer(), alg="PS384").algorithms == {"PS384"}
    assert key_of(hmac_signer(), alg="HS512").algorithms == {"HS512"}


@pytest.mark.parametrize(
    ("jwk", "token"),
    [
        (  # RFC 7515 appendix A.1
            {
                "kty": "oct",
                "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjA"
                "zZr1Z9CAow",
            },
            (
                "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODA"
                "sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
                "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
            ),
        ),
        (  # RFC 7515 appendix A.3
            {
                "kty": "EC",
                "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            },
            (
                "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGF"
                "tcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw"
                "5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
            ),
        ),
        (  # RFC 8037 appendix A.4
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            },
            (
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7"
                "-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
            ),
        ),
    ],
    ids=["HS256", "ES256", "EdDSA"],
)
def test_the_examples_of_the_rfcs(jwk: dict[str, str], token: str) -> None:
    [key], _ = jwk_set(json.dumps(jwk).encode(), secrets=True)
    signed, _, written = token.rpartition(".")
    header = json.loads(urlsafe_b64decode(signed.partition(".")[0] + "=="))
    assert key.verifies(header["alg"], signed.encode(), urlsafe_b64decode(written + "=="))


# Secrets


def test_a_secret_is_its_bytes() -> None:
    key = secret_key(SECRET.encode(), "a")
    assert key.id == "a"
    assert key.verifies("HS384", b"x", hmac_signer("HS384").sign(b"x"))


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (b"", "an empty text is no secret"),
        (rsa_signer().pem, "it is no secret but a public key"),
        (
            ec_signer().public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            "it is no secret but a public key",
        ),
        (json.dumps(rsa_signer().jwk).encode(), "it is no secret but a public key"),
    ],
    ids=["nothing", "PEM", "DER", "JWK"],
)
def test_what_is_no_secret(secret: bytes, problem: str) -> None:
    with pytest.raises(UnusableKey, match=problem):
        secret_key(secret)


# PEM


def test_a_pem_file_may_have_several_keys() -> None:
    data = b"# old\n" + rsa_signer().pem + b"# new\n" + ec_signer().pem + edwards_signer().pem
    assert [key.algorithms for key in pem_keys(data)] == [RS, {"ES256"}, {"EdDSA", "Ed25519"}]
    assert {key.id for key in pem_keys(data)} == {None}


def private_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem_of(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "there is no public key in it"),
        (b"hello", "there is no public key in it"),
        (private_pem(), "it holds a private key.*put the public one there"),
        (ec_signer().pem + private_pem(), "it holds a private key"),
        (
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "it holds a certificate, not a public key",
        ),
        (b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", "damaged"),
        (pem_of(x25519.X25519PrivateKey.generate()), "X25519PublicKey is no public key for"),
        (pem_of(ec.generate_private_key(ec.SECP224R1())), "the curve secp224r1 is not for tokens"),
        (rsa_signer(bits=1024).pem, "1024 bits are no size for an RSA key"),
        (pem_of(dsa.generate_private_key(1024)), "is no public key for signatures"),
    ],
)
def test_what_is_no_public_key(data: bytes, problem: str) -> None:
    with pytest.raises(UnusableKey, match=problem):
        pem_keys(data)


# JWK sets


def test_a_set_says_which_key_is_which() -> None:
    members = [
        ec_signer().jwk | {"kid": "a", "use": "sig"},
        edwards_signer().jwk | {"kid": "b", "key_ops": ["verify"]},
        rsa_signer().jwk,
    ]
    keys, problems = jwk_set(json.dumps({"keys": members}).encode(), secrets=False)
    assert [key.id for key in keys] == ["a", "b", None]
    assert [key.algorithms for key in keys] == [{"ES256"}, {"EdDSA", "Ed25519"}, RS]
    assert problems == []


@pytest.mark.parametrize(
    "more",
    [
        {"use": "enc"},
        {"use": ["sig"]},
        {"key_ops": ["encrypt", "wrapKey"]},
        {"key_ops": "verify"},
        {"key_ops": []},
        {"alg": "RSA-OAEP-256"},
        {"alg": "none"},
    ],
)
def test_keys_for_other_purposes_are_left_out_in_silence(more: dict[str, object]) -> None:
    assert jwk_set(json.dumps({"keys": [rsa_signer().jwk | more]}).encode(), secrets=True) == (
        [],
        [],
    )


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ("a", "it is no object"),
        (None, "it is no object"),
        ({}, "kty is not RSA, EC, OKP or oct"),
        ({"kty": ["RSA"]}, "kty is not"),
        ({"kty": "RSA"}, "its parameters are missing"),
        ({"kty": "RSA", "n": 5, "e": []}, "its parameters are missing"),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "its parameters are missing, damaged"),
        ({"kty": "oct"}, "its parameters are missing"),
        ({"kty": "oct", "k": b64(b"short")}, "a secret has at least 32 bytes"),
        ({"kty": "OKP", "crv": "X25519", "x": b64(bytes(32))}, "of an unknown kind"),
        ({"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(31))}, "damaged"),
        (ec_signer().jwk | {"crv": "P-384"}, "damaged"),
        (ec_signer().jwk | {"x": ec_signer().jwk["y"]}, "damaged"),  # not on the curve
        (ec_signer().jwk | {"d": b64(bytes(32))}, "it is a private key"),
        (ec_signer().jwk | {"alg": "ES384"}, "its alg is ES384, which is not for such a key"),
        (ec_signer().jwk | {"alg": "HS256"}, "its alg is HS256, which is not for such a key"),
        (rsa_signer().jwk | {"alg": "HS256"}, "its alg is HS256, which is not for such a key"),
        (hmac_signer().jwk | {"alg": "RS256"}, "its alg is RS256, which is not for such a key"),
        (rsa_signer().jwk | {"alg": ["RS256"]}, "alg is no text"),
        (rsa_signer().jwk | {"kid": 7}, "kid is no text"),
        (rsa_signer().jwk | {"kid": ""}, "kid is no text"),
        (rsa_signer().jwk | {"kid": "k" * 256}, "kid is no text"),
        (rsa_signer(bits=1024).jwk, "1024 bits are no size for an RSA key"),
    ],
)
def test_why_a_member_is_not_used(member: object, problem: str) -> None:
    assert problem in only_problem(member)


def test_a_secret_is_not_taken_from_where_everybody_can_read_it() -> None:
    assert "everybody can read it here" in only_problem(hmac_signer().jwk, secrets=False)


def test_a_bad_member_leaves_the_others_as_they_are() -> None:
    data = json.dumps({"keys": [7, ec_signer().jwk, {"kty": "RSA"}]}).encode()
    keys, problems = jwk_set(data, secrets=False)
    assert [key.algorithms for key in keys] == [{"ES256"}]
    assert [problem.partition(":")[0] for problem in problems] == ["key 1", "key 3"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", 'an array "keys" is missing'),
        (b'{"keys":{}}', 'an array "keys" is missing'),
        (b'{"keys":[],"keys":[]}', "a member is there twice"),
        (b'{"keys":' + b"[" * 100_000, "nested too deeply"),
        (json.dumps({"keys": [ec_signer().jwk] * 101}).encode(), "101 keys are more than 100"),
    ],
)
def test_what_is_no_set(data: bytes, problem: str) -> None:
    with pytest.raises(UnusableKey, match=problem):
        jwk_set(data, secrets=False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-10, 10) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NUMBERS = st.binary(max_size=140).map(b64) | VALUES
MEMBERS = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP", "oct"]) | VALUES},
    optional=dict.fromkeys(("kid", "alg", "use", "key_ops"), VALUES)
    | dict.fromkeys(("n", "e", "x", "y", "k", "d"), NUMBERS)
    | {"crv": st.sampled_from(["P-256", "P-521", "secp256k1", "Ed25519", "Ed448"]) | VALUES},
)


@given(MEMBERS)
def test_no_member_breaks_the_reader(member: dict[str, object]) -> None:
    keys, problems = jwk_set(json.dumps({"keys": [member]}).encode(), secrets=True)
    assert len(keys) + len(problems) <= 1
