"""Where a subscriber without a cursor starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.model import BadRequest, Since, Subscription
from tidewire.model.subscription import NOW, START, parse_since


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("now", NOW),
        ("start", START),
        ("-1", Since("last", 1)),
        ("-999999999", Since("last", 999_999_999)),
        ("0", Since("time", 0)),
        ("1795392012345", Since("time", 1_795_392_012_345)),
        ("999999999999999", Since("time", 999_999_999_999_999)),
    ],
)
def test_the_forms(text: str, since: Since) -> None:
    assert parse_since(text) == since


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "-0",
        "-01",
        "--1",
        "-1.5",
        "+5",
        "007",
        "1.5",
        "1e3",
        " 1",
        "1\n",
        "-1\n",
        "now\n",
        "NOW",
        "yesterday",
        "2026-01-01",
        "\u0661",  # a digit, but not of ASCII
        "-1000000000",
        "1000000000000000",  # as µs it would leave 64 bits
        "9" * 5000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_since(text)
    assert raised.value.code == "invalid_since"
    assert len(raised.value.detail) < 200


@given(st.integers(1, 10**9 - 1))
def test_every_count_is_read(count: int) -> None:
    assert parse_since(f"-{count}") == Since("last", count)


@given(st.integers(0, 10**15 - 1))
def test_every_time_is_read_and_fits_an_id(ms: int) -> None:
    since = parse_since(str(ms))
    assert since == Since("time", ms)
    assert since.number * 1000 < 2**63


def test_a_subscription_starts_now_unless_told() -> None:
    assert Subscription(("a",)) == (("a",), (), NOW)
