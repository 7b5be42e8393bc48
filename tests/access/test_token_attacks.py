"""Tokens that are not to be accepted: the attacks of RFC 8725, and anything at all.

The attacks are also those of published weaknesses of other servers. What they are made with is
accepted as soon as the one wrong thing is right (``test_tokens.py``), so that none is refused for a
reason that nobody thought of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from tests.access import issuer
from tests.access.issuer import CLAIMS, NOW, b64, ec_signer, hmac_signer
from tests.access.verifying import ED, ES, HS, RS, STRANGER, refusal, some_tokens

# Each token is as good as can be but for the one thing

Attack = Callable[[], str]
ATTACKS: list[tuple[Attack, str]] = []
"""What makes a token that a stranger could send, and the reason in the operator's log."""
WRONG_CLAIMS: list[tuple[Attack, str]] = []
"""The same for what an issuer could sign."""


def attack(why: str) -> Callable[[Attack], Attack]:
    """A stranger's token is refused, and the log says so much of the reason."""

    def add(make: Attack) -> Attack:
        ATTACKS.append((make, why))
        return make

    return add


def wrong_claims(why: str) -> Callable[[Attack], Attack]:
    """The issuer's own token is refused, and the log says so much of the reason."""

    def add(make: Attack) -> Attack:
        WRONG_CLAIMS.append((make, why))
        return make

    return add


def unsigned(header: dict[str, Any]) -> str:
    return issuer.token(header, CLAIMS, lambda _: b"x").rpartition(".")[0] + "."


@attack("not three parts of base64url, none of them empty")
def alg_none() -> str:
    return unsigned({"alg": "none"})


@attack("no known key has signed it (alg 'none', kid None)")
def alg_none_with_a_signature() -> str:
    return issuer.token({"alg": "none"}, CLAIMS, HS.sign)


@attack("no known key has signed it (alg 'nOnE'")
def alg_none_in_other_letters() -> str:
    return issuer.token({"alg": "nOnE", "kid": "rsa"}, CLAIMS, HS.sign)


@attack("its header has no alg")
def no_alg() -> str:
    return HS.token(header={"typ": "JWT"})


@attack("its header has no alg")
def alg_that_is_a_list() -> str:
    return HS.token(header={"alg": ["HS256"]})


@attack("no known key has signed it (alg 'hs256'")
def alg_in_other_letters() -> str:
    return HS.token(header={"alg": "hs256"})


@attack("not three parts of base64url, none of them empty")
def empty_signature() -> str:
    return HS.token().rpartition(".")[0] + "."


@attack("no known key has signed it")
def hmac_with_the_public_key_in_pem() -> str:
    # CVE-2015-9235, CVE-2016-10555: RS256 becomes HS256, and the public key its secret
    return hmac_signer(secret=RS.pem).token(kid="rsa")


@attack("no known key has signed it")
def hmac_with_the_public_key_as_jwk() -> str:
    return hmac_signer(secret=json.dumps(RS.jwk).encode()).token(kid="rsa")


@attack("no known key has signed it")
def hmac_with_the_modulus() -> str:
    return hmac_signer(secret=RS.jwk["n"].encode()).token(kid="rsa")


@attack("no known key has signed it")
def hmac_with_nothing() -> str:
    return hmac_signer(secret=b"").token()


@attack("no known key has signed it")
def rsa_in_the_name_of_ec() -> str:
    return issuer.token({"alg": "ES256", "kid": "rsa"}, CLAIMS, RS.sign)


@attack("no known key has signed it")
def the_right_signature_under_another_alg() -> str:
    return RS.token(header={"alg": "PS256", "kid": "rsa"})


@attack("no known key has signed it")
def another_curve_than_the_keys() -> str:
    return ec_signer("ES384").token(kid="ec")


@attack("no known key has signed it")
def a_zero_signature_of_ecdsa() -> str:
    # CVE-2022-21449: r = s = 0 was right for every message
    return issuer.token({"alg": "ES256", "kid": "ec"}, CLAIMS, lambda _: bytes(64))


@attack("no known key has signed it")
def a_der_signature_of_ecdsa() -> str:
    def sign(data: bytes) -> bytes:
        raw = ES.sign(data)
        return encode_dss_signature(
            int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        )

    return issuer.token({"alg": "ES256", "kid": "ec"}, CLAIMS, sign)


@attack("no known key has signed it (alg 'RS256', kid 'stranger')")
def a_key_of_a_strangers() -> str:
    return STRANGER.token(kid="stranger")


@attack("no known key has signed it")
def a_strangers_key_under_a_known_id() -> str:
    return STRANGER.token(kid="rsa")


@attack("no known key has signed it")
def a_key_under_the_id_of_another() -> str:
    return RS.token(kid="ec")


@attack("its header has jwk")
def a_key_in_the_header() -> str:
    # CVE-2018-0114
    return STRANGER.token(header={"alg": "RS256", "jwk": STRANGER.jwk})


@attack("its header has jku")
def an_address_of_keys_in_the_header() -> str:
    return STRANGER.token(header={"alg": "RS256", "jku": "https://evil.example/keys", "kid": "a"})


@attack("its header has x5u")
def an_address_of_a_certificate_in_the_header() -> str:
    return STRANGER.token(header={"alg": "RS256", "x5u": "https://evil.example/cert"})


@attack("its header has x5c")
def a_certificate_in_the_header() -> str:
    return STRANGER.token(header={"alg": "RS256", "x5c": ["MIIB"]})


@attack("its header has jwk")
def a_key_in_the_header_of_a_token_that_is_right() -> str:
    return RS.token(header={"alg": "RS256", "kid": "rsa", "jwk": RS.jwk})


@attack("no known key has signed it (alg 'HS256', kid '../../../../dev/null')")
def a_kid_that_is_a_path() -> str:
    return hmac_signer(secret=b"").token(kid="../../../../dev/null")


@attack("""kid "x' UNION SELECT 'secret""")
def a_kid_that_is_sql() -> str:
    return hmac_signer(secret=b"secret").token(kid="x' UNION SELECT 'secret")


@attack(r"kid '|whoami\n'")
def a_kid_that_is_a_command() -> str:
    return STRANGER.token(kid="|whoami\n")


@attack("kid is no text")
def a_kid_that_is_a_number() -> str:
    return HS.token(header={"alg": "HS256", "kid": 7})


@attack("kid is no text")
def a_kid_without_end() -> str:
    return HS.token(kid="k" * 256)


@attack("its header has crit")
def something_critical() -> str:
    return HS.token(header={"alg": "HS256", "crit": ["exp"], "exp": NOW})


@attack("its header has b64")
def claims_that_are_not_encoded() -> str:
    # RFC 7797
    return HS.token(header={"alg": "HS256", "b64": False})


@attack("its header has cty")
def a_token_in_a_token() -> str:
    return HS.token(HS.token().encode(), {"alg": "HS256", "cty": "JWT"})


@wrong_claims("claims")
def a_token_in_a_token_that_does_not_say_so() -> str:
    return HS.token(HS.token().encode())


@attack("not three parts of base64url")
def an_encrypted_token() -> str:
    return ".".join([b64(b'{"alg":"dir","enc":"A128GCM"}'), "a", "b", "c", "d"])


@attack("typ 'logout+jwt' is another kind of token")
def a_token_for_another_purpose() -> str:
    return HS.token(header={"alg": "HS256", "typ": "logout+jwt"})


@attack("typ 7 is another kind of token")
def a_typ_that_is_a_number() -> str:
    return HS.token(header={"alg": "HS256", "typ": 7})


@attack("a member is there twice")
def alg_twice() -> str:
    return HS.token(header=b'{"alg":"none","alg":"HS256"}')


@wrong_claims("a member is there twice")
def sub_twice() -> str:
    return HS.token(b'{"sub":"1","exp":%d,"sub":"42"}' % (NOW + 9))


@wrong_claims("not an object")
def claims_that_are_a_list() -> str:
    return HS.token(b'["sub"]')


@wrong_claims("not JSON")
def claims_that_are_no_json() -> str:
    return HS.token(b"sub=42")


@wrong_claims("not UTF-8")
def claims_in_utf_16() -> str:
    return HS.token(json.dumps(CLAIMS).encode("utf-16"))


@attack("not an object")
def a_header_that_is_a_number() -> str:
    return HS.token(header=b"7")


@wrong_claims("nested too deeply")
def claims_without_bottom() -> str:
    return HS.token(b'{"x":' + b"[" * 5000)


@attack("nested too deeply")
def a_header_without_bottom() -> str:
    return HS.token(header=b'{"x":' + b"[" * 5000)


@wrong_claims("NaN is no number of JSON")
def an_exp_that_is_nan() -> str:
    return HS.token(b'{"sub":"42","exp":NaN}')


@wrong_claims("claim 'exp': it is no number of seconds")
def an_exp_beyond_all_numbers() -> str:
    return HS.token(b'{"sub":"42","exp":1e999}')


@wrong_claims("a number is too long")
def an_exp_of_five_thousand_digits() -> str:
    return HS.token(b'{"sub":"42","exp":' + b"9" * 5000 + b"}")


@wrong_claims("claim 'exp': it is no number of seconds")
def an_exp_that_is_true() -> str:
    return HS.token(CLAIMS | {"exp": True})


@wrong_claims("claim 'exp': it is no number of seconds")
def an_exp_that_is_a_text() -> str:
    return HS.token(CLAIMS | {"exp": str(NOW + 9)})


@wrong_claims("claim 'exp': it is no number of seconds")
def an_exp_in_milliseconds() -> str:
    return HS.token(CLAIMS | {"exp": (NOW + 9) * 1000})


@wrong_claims("claim 'exp': it is missing")
def no_exp() -> str:
    return HS.token({"sub": "42"})


@wrong_claims("it expired 0 s ago")
def expired() -> str:
    return HS.token(CLAIMS | {"exp": NOW})


@wrong_claims("its nbf is 1 s ahead")
def not_yet_valid() -> str:
    return HS.token(CLAIMS | {"nbf": NOW + 1})


@wrong_claims("its iat is 61 s ahead")
def issued_tomorrow() -> str:
    return HS.token(CLAIMS | {"iat": NOW + 61})


@wrong_claims("it has an aud, and no token_audience is set")
def for_somebody_else() -> str:
    return HS.token(CLAIMS | {"aud": "other"})


@wrong_claims("claim 'sub': it is missing")
def nobodys() -> str:
    return HS.token({"exp": NOW + 9})


@wrong_claims("claim 'sub': it has a control character")
def a_user_that_breaks_lines() -> str:
    return HS.token(CLAIMS | {"sub": "42\nlevel=info"})


@wrong_claims("claim 'channels': rights are a list")
def a_right_that_there_is_not() -> str:
    return HS.token(CLAIMS | {"channels": {"*": ["admin"]}})


@attack("characters are more than 8,192")
def a_token_without_end() -> str:
    return HS.token(CLAIMS | {"x": "y" * 10_000})


def name_of(value: object) -> str:
    return str(getattr(value, "__name__", ""))


@pytest.mark.parametrize(("make", "why"), ATTACKS, ids=name_of)
def test_a_stranger_learns_nothing(make: Attack, why: str) -> None:
    error = refusal(some_tokens(), make())
    assert why in error.why
    assert error.detail == "the token is not accepted: get a new one"
    assert (error.status, error.code) == (401, "invalid_token")


@pytest.mark.parametrize(("make", "why"), WRONG_CLAIMS, ids=name_of)
def test_an_issuer_learns_what_to_mend(make: Attack, why: str) -> None:
    error = refusal(some_tokens(), make())
    assert why in error.why
    assert error.status == 401
    assert error.detail.startswith("the token ")


@pytest.mark.parametrize(("make", "why"), ATTACKS + WRONG_CLAIMS, ids=name_of)
def test_nothing_of_the_token_is_told(make: Attack, why: str) -> None:
    text = make()
    error = refusal(some_tokens(), text)
    for part in text.split("."):
        assert len(part) < 4 or part not in error.detail + error.why


# Texts

GOOD = HS.token()
HEADER, BODY, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c",
        f"{HEADER}.{BODY}",
        f".{BODY}.{SIGNATURE}",
        f"{HEADER}..{SIGNATURE}",
        f"{GOOD}.",
        f".{GOOD}",
        f"{GOOD}.{SIGNATURE}",
        f" {GOOD}",
        f"{GOOD} ",
        f"{GOOD}\n",
        f"{GOOD}\0",
        f"{GOOD}=",
        f"{HEADER}=.{BODY}.{SIGNATURE}",
        f"{HEADER}.{BODY}.{SIGNATURE}A",
        f"{HEADER}.{BODY}.{SIGNATURE[:-1]}",
        f"{HEADER}.{BODY}.{SIGNATURE[:-4]}",
        f"{HEADER}\n.{BODY}.{SIGNATURE}",
        GOOD.replace("_", "/").replace("-", "+") + "+/",
        GOOD.replace(".", "\u3002"),
        GOOD.replace("e", "\u0435"),
        "\ud800.\ud800.\ud800",
        "é" * 100,
    ],
)
def test_texts_that_are_no_token(text: str) -> None:
    tokens = some_tokens()
    assert tokens.verify(GOOD)
    assert refusal(tokens, text).detail == "the token is not accepted: get a new one"


def test_there_is_one_text_for_one_token() -> None:
    """Bits that nobody reads are not left to choose: it would not be known for the same token."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(SIGNATURE[-1])  # 32 bytes are 43 characters, of which 2 bits are unused
    for other in {last ^ 1, last ^ 2, last ^ 3}:
        twin = f"{HEADER}.{BODY}.{SIGNATURE[:-1]}{alphabet[other]}"
        assert "not canonical" in refusal(some_tokens(), twin).why


# Anything at all

PARTS = st.text("ABCxyz019-_", max_size=12) | st.binary(max_size=40).map(b64)


def only_invalid(text: str) -> None:
    """*text* is no token, and refused as such."""
    error = refusal(some_tokens(), text)
    assert len(error.why) < 200
    assert error.code in ("invalid_token", "token_expired")


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    only_invalid(text)


@given(st.lists(PARTS, max_size=5).map(".".join))
def test_nothing_of_the_shape_of_a_token_raises_anything_else(text: str) -> None:
    only_invalid(text)


@given(st.data())
def test_no_change_of_a_good_token_is_good(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([GOOD, ES.token(kid="ec"), ED.token(kid="ed")]))
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda c: c != text[at]))
    only_invalid(text[:at] + other + text[at + 1 :])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "cty", "b64", "x"]),
    st.sampled_from(["none", "HS256", "RS256", "ES256", "EdDSA", "rsa", "ec", "JWT"]) | JSON,
)


@given(HEADERS, JSON)
def test_no_header_and_no_claims_raise_anything_else(header: dict[str, Any], claims: Any) -> None:
    """A stranger writes the header, the issuer the claims: neither breaks anything."""
    only_invalid(STRANGER.token(json.dumps(claims).encode(), header))
    only_invalid(HS.token(json.dumps(claims).encode()))
