"""JSON that all readers understand in the same way, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.access.strict_json import json_object


def test_an_object() -> None:
    assert json_object(b' {"a": [1, 2.5, null, true, "\\u00e9"], "b": {"a": 1}} ') == {
        "a": [1, 2.5, None, True, "é"],
        "b": {"a": 1},
    }


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not JSON at character 0"),
        (b"{", "not JSON"),
        (b'{"a":1} x', "not JSON at character 8"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"[]", "not an object"),
        (b'"a"', "not an object"),
        (b"null", "not an object"),
        (b'{"a":1,"a":1}', "a member is there twice"),
        (b'{"a":1,"\\u0061":2}', "a member is there twice"),
        (b'{"x":[{"a":1,"a":2}]}', "a member is there twice"),
        (b'{"a":NaN}', "NaN is no number of JSON"),
        (b'{"a":-Infinity}', "-Infinity is no number of JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "a number is too long"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON at character 0"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b'{"\xff":1}', "not UTF-8 at byte 2"),
    ],
)
def test_what_is_none(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        json_object(data)


@given(st.binary() | st.text().map(str.encode))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        json_object(data)
    except ValueError:
        return


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())))
def test_what_is_written_is_read(value: dict[str, object]) -> None:
    assert json_object(json.dumps(value).encode()) == value
