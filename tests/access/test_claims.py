"""What a token says of its user: each claim, and each thing that may be wrong with it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.access.issuer import NOW
from tidewire.access.claims import (
    Claims,
    check_addressee,
    check_begin,
    check_expiry,
    claims_of,
)
from tidewire.model import BadRequest, InvalidToken, TokenExpired


def read(**claims: Any) -> Claims:
    return claims_of({"sub": "42"} | claims)


# What is read


def test_all_that_a_token_can_say() -> None:
    claims = claims_of(
        {
            "sub": "Zoë Ω 😀",
            "exp": 200,
            "nbf": 100,
            "iat": 0,
            "jti": "t-1",
            "device": "a phone",
            "channels": {"news": ["subscribe"], "chat:*": ["publish", "publish", "ack"]},
            "limits": {"connections": 2, "messages": 0, "bytes": 1 << 53, "channels": 8},
            "name": {"anything": ["else"]},
        }
    )
    assert claims == Claims(
        user="Zoë Ω 😀",
        channels={"news": frozenset({"subscribe"}), "chat:*": frozenset({"publish", "ack"})},
        expires=200,
        token_id="t-1",
        issued=0,
        not_before=100,
        device="a phone",
        limits={"connections": 2, "messages": 0, "bytes": 1 << 53, "channels": 8},
    )


def test_a_user_is_all_that_it_has_to_say() -> None:
    assert claims_of({"sub": "42"}) == Claims("42", {})


def test_the_same_rights_are_kept_once() -> None:
    one = read(channels={"a": ["ack", "publish"]}).channels["a"]
    other = read(channels={"b": ["publish", "ack"]}).channels["b"]
    assert one is other


# What is refused


@pytest.mark.parametrize("claim", ["sub", "jti", "device"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        "x" * 256,
        42,
        True,
        ["42"],
        {"id": "42"},
        "a\nb",
        "a\0",
        "\x7f",
        "\x85",
        "\u2028",
        "\ud800",
    ],
)
def test_texts_are_short_and_have_no_control_characters(claim: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"^claim '{claim}': it (is no text|has a control)"):
        read(**{claim: value})


def test_a_token_has_a_user() -> None:
    with pytest.raises(BadRequest, match="claim 'sub': it is missing"):
        claims_of({})
    with pytest.raises(BadRequest, match="claim 'sub': it is missing"):
        claims_of({"sub": None})


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        "1800000000",
        float("inf"),
        float("nan"),
        -0.5,
        -1,
        1_800_000_000_000,  # ms
        10**400,
        [1_800_000_000],
        {},
    ],
)
def test_times_are_seconds(claim: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"claim '{claim}': it is no number of seconds"):
        read(**{claim: value})


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_times_may_have_a_fraction(claim: str) -> None:
    """RFC 7519 section 2, NumericDate."""
    claims = read(**{claim: 1_800_000_000.5})
    assert 1_800_000_000.5 in (claims.expires, claims.not_before, claims.issued)


@pytest.mark.parametrize(
    ("channels", "problem"),
    [
        (None, "it is no object"),
        ([], "it is no object"),
        ("news", "it is no object"),
        ({"": ["subscribe"]}, "a name in it is neither"),
        ({"a b": ["subscribe"]}, "a name in it is neither"),
        ({"a,b": ["subscribe"]}, "a name in it is neither"),
        ({"!consumers": ["subscribe"]}, "a name in it is neither"),
        ({"ä": ["subscribe"]}, "a name in it is neither"),
        ({"[a-z]+": ["subscribe"]}, "a name in it is neither"),
        ({"x" * 256: ["subscribe"]}, "a name in it is neither"),
        ({"news": "subscribe"}, "rights are a list"),
        ({"news": {"subscribe": True}}, "rights are a list"),
        ({"news": None}, "rights are a list"),
        ({"news": ["read"]}, "rights are a list"),
        ({"news": ["Subscribe"]}, "rights are a list"),
        ({"news": ["*"]}, "rights are a list"),
        ({"news": ["admin"]}, "rights are a list"),
        ({"news": [["subscribe"]]}, "rights are a list"),
        ({"news": ["subscribe", 1]}, "rights are a list"),
    ],
)
def test_channels_are_rights_by_channel_or_pattern(channels: object, problem: str) -> None:
    with pytest.raises(BadRequest, match=f"claim 'channels': {problem}"):
        read(channels=channels)


@pytest.mark.parametrize(
    "limits",
    [
        None,
        [],
        5,
        {"conections": 1},
        {"connections": "1"},
        {"connections": True},
        {"connections": 1.0},
        {"connections": -1},
        {"connections": None},
        {"bytes": (1 << 53) + 1},
    ],
)
def test_a_limit_that_cannot_be_held_is_not_left_out(limits: object) -> None:
    with pytest.raises(BadRequest, match="claim 'limits': "):
        read(limits=limits)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "hidden\n"},
        {"channels": {"hidden ": []}},
        {"channels": {"a": ["hidden"]}},
        {"limits": {"hidden": 1}},
        {"exp": "hidden"},
    ],
)
def test_the_text_has_nothing_of_the_token(claims: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as raised:
        read(**claims)
    assert "hidden" not in raised.value.detail


# Times


@pytest.mark.parametrize("leeway", [0, 30])
def test_a_token_expires_at_the_second_that_it_names(leeway: int) -> None:
    check_expiry(NOW, NOW - 0.001 + leeway, leeway)
    check_expiry(None, NOW, leeway)
    for late in (0, 1, 10**9):
        with pytest.raises(TokenExpired, match="get a new one") as raised:
            check_expiry(NOW, NOW + leeway + late, leeway)
        assert raised.value.code == "token_expired"
        assert re.search(r"expired \d+ s ago", raised.value.why)


def test_a_token_is_not_good_before_its_time() -> None:
    check_begin(read(nbf=NOW), NOW, 0)
    check_begin(read(nbf=NOW + 30), NOW, 30)
    for ahead, leeway in ((1, 0), (31, 30), (10**6, 300)):
        with pytest.raises(InvalidToken, match="not valid yet") as raised:
            check_begin(read(nbf=NOW + ahead), NOW, leeway)
        assert raised.value.why == f"its nbf is {ahead} s ahead"


def test_clocks_may_differ_on_when_it_was_issued() -> None:
    check_begin(read(iat=NOW + 60), NOW, 0)
    with pytest.raises(InvalidToken, match="not valid yet"):
        check_begin(read(iat=NOW + 61), NOW, 0)


# For whom, and by whom


@pytest.mark.parametrize("aud", ["us", ["us"], ["them", "us"]])
def test_a_token_names_us(aud: object) -> None:
    check_addressee({"aud": aud}, "us", None)


@pytest.mark.parametrize("claims", [{}, {"aud": []}, {"aud": "them"}, {"aud": ["them"]}])
@pytest.mark.parametrize("more", [{}, {"azp": "us"}, {"Aud": "us"}])
def test_a_token_for_others(claims: dict[str, object], more: dict[str, object]) -> None:
    with pytest.raises(InvalidToken, match="for another server") as raised:
        check_addressee(claims | more, "us", None)
    assert raised.value.why == "its aud is not 'us'"


@pytest.mark.parametrize("aud", ["US", "us ", "u", "us2", ""])
def test_an_audience_is_compared_exactly(aud: str) -> None:
    with pytest.raises(InvalidToken):
        check_addressee({"aud": aud}, "us", None)


def test_without_an_audience_of_ours_nobody_may_be_named() -> None:
    check_addressee({}, None, None)
    check_addressee({"aud": []}, None, None)
    with pytest.raises(InvalidToken) as raised:
        check_addressee({"aud": "them"}, None, None)
    assert raised.value.why == "it has an aud, and no token_audience is set"


@pytest.mark.parametrize("aud", [7, True, None, {"us": 1}, ["us", 7], [["us"]]])
def test_an_audience_of_another_kind(aud: object) -> None:
    for ours in ("us", None):
        with pytest.raises(BadRequest, match="claim 'aud': it is neither"):
            check_addressee({"aud": aud}, ours, None)


def test_the_issuer_is_compared_exactly() -> None:
    check_addressee({"iss": "https://a.example"}, None, "https://a.example")
    check_addressee({"iss": "anybody"}, None, None)
    for iss in (None, 7, "", "https://a.example/", "https://A.example", ["https://a.example"]):
        with pytest.raises(InvalidToken, match="for another server") as raised:
            check_addressee({"iss": iss}, None, "https://a.example")
        assert raised.value.why == "its iss is not 'https://a.example'"
    with pytest.raises(InvalidToken):
        check_addressee({}, None, "https://a.example")


# Anything at all

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["sub", "exp", "nbf", "iat", "jti", "aud", "iss", "device", "channels", "limits", "x"]


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_nothing_else_is_raised(claims: dict[str, object]) -> None:
    try:
        found = claims_of({"sub": "42"} | claims)
        check_addressee(claims, "us", "them")
    except (BadRequest, InvalidToken):
        return
    assert 1 <= len(found.user) <= 255
