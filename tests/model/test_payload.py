"""Checks on what publishers hand in: depth, one line, Base64, event, key."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.model import BadRequest
from tidewire.model.payload import (
    binary_data,
    check_base64,
    check_depth,
    check_event,
    check_key,
    one_line,
    text_of,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text('[]{}"\\ab', max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def too_deep(text: bytes, most: int) -> bool:
    try:
        check_depth(text, most)
    except BadRequest as error:
        return error.code == "too_deep"
    return False


# Depth


@given(JSON, st.sampled_from([None, 2]), st.booleans())
def test_depth_is_counted_exactly(value: object, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    depth = depth_of(value)
    assert not too_deep(text, depth)
    assert depth == 0 or too_deep(text, depth - 1)


@given(st.text('[]{}"\\', max_size=40))
def test_brackets_in_strings_do_not_count(text: str) -> None:
    assert not too_deep(json.dumps([text]).encode(), 1)
    assert too_deep(json.dumps([[text]]).encode(), 1)
    assert not too_deep(json.dumps({text: text}).encode(), 1)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (b"1", 0),
        (b"[]", 1),
        (b"[],[]", 1),
        (b"[[],[]]", 2),
        (b'["]",["["]]', 2),
        (rb'["\"[[[",[1]]', 2),
        (rb'["\\",[1]]', 2),
        (rb'["\\\"[[[",[1]]', 2),
        (rb'["\\\\",[1]]', 2),
        (b'["","","[[["]', 1),
        (b'{"a":{"b":{}}}', 3),
    ],
)
def test_depths(text: bytes, depth: int) -> None:
    assert not too_deep(text, depth)
    assert depth == 0 or too_deep(text, depth - 1)


def test_what_would_overflow_a_decoder_is_refused_before_it() -> None:
    assert too_deep(b"[" * 1_000_000, 64)
    assert too_deep(b'{"":' * 1_000_000, 64)
    assert too_deep(b"[" * 1_000_000 + b"]" * 1_000_000, 64)


MEBIBYTE = 1 << 20
HOSTILE = {
    "a string of escaped quotes that never ends": b'"' + b'\\"' * (MEBIBYTE // 2),
    "the same, ending in a backslash": b'"' + b'\\"' * (MEBIBYTE // 2) + b"\\",
    "escaped quotes outside of a string": b'\\"' * (MEBIBYTE // 2),
    "backslashes": b'"' + b"\\" * MEBIBYTE,
    "quotes": b'"' * MEBIBYTE,
    "empty strings": b'"",' * (MEBIBYTE // 3),
    "brackets": b"[]" * (MEBIBYTE // 2),
    "brackets in strings": b'"[",' * (MEBIBYTE // 4),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_depth_takes_linear_time_and_memory(text: bytes) -> None:
    """A check that looks back, or piles up what it may have to look at again, takes minutes or
    a hundred times the text."""
    text = b"[" * 64 + text
    begin = time.process_time()
    too_deep(text, 64)
    assert time.process_time() - begin < 2
    tracemalloc.start()
    try:
        too_deep(text, 64)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(text)
    finally:
        tracemalloc.stop()


# One line


@given(JSON, st.sampled_from([None, 1]))
def test_one_line_keeps_the_value(value: object, indent: int | None) -> None:
    line = one_line(json.dumps(value, indent=indent).encode())
    assert b"\n" not in line
    assert json.loads(line) == value


def test_text_on_one_line_is_left_as_it_is() -> None:
    text = b'{ "b" : 1.10, "a" : [ 1e5 , 12345678901234567890 ] }'
    assert one_line(text) is text


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_breaks_go_and_digits_stay(end: bytes) -> None:
    text = end.join([b"{", b'"b":', b"1.10,", b'"a": 12345678901234567890', b"}"])
    assert one_line(text).replace(b" ", b"") == b'{"b":1.10,"a":12345678901234567890}'


@pytest.mark.parametrize(
    "text",
    [rb'"\ud800"', rb'"\udc00"', rb'"\udc00\ud800"', rb'["a","\ud83dx"]', rb'{"\ud800":1}'],
)
def test_a_lone_surrogate_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest):
        one_line(text)


@pytest.mark.parametrize("text", [rb'"\ud83d\ude00"', rb'"\\ud800"', rb'"\u0000\u2028"'])
def test_other_escapes_are_left_as_they_are(text: bytes) -> None:
    assert one_line(text) == text


@pytest.mark.parametrize(
    "text",
    [
        b"1" * 5000,
        b"[-%b]" % (b"9" * 4301),
        b"1e400",
        b"[-1E+309]",
        b"2e0000308",
        b"9" * 309 + b".0",
    ],
)
def test_a_number_that_some_client_could_not_read_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest):
        one_line(text)


@pytest.mark.parametrize("text", [b"1e308", b"-1.7e308", b"1e-400", b'"1e400"', b"9" * 309])
def test_what_has_a_nearest_double_passes(text: bytes) -> None:
    assert one_line(text) == text


@pytest.mark.parametrize("text", [b"1" * 4299, b'"%b"' % (b"1" * 5000)])
def test_long_integers_and_strings_of_digits_pass(text: bytes) -> None:
    assert one_line(text) == text


def test_one_line_takes_linear_time() -> None:
    """Runs of digits that are just short enough are not looked at again from each of them."""
    text = b"[%b]" % b",".join([b"1" * 4299] * 240)
    begin = time.process_time()
    assert one_line(text) is text
    assert time.process_time() - begin < 2


# Event and key


@pytest.mark.parametrize("event", ["a", "x" * 128, "ä" * 128, "tidewire", "a.b c:d", "\u2028", " "])
def test_events(event: str) -> None:
    assert check_event(event) == event


@pytest.mark.parametrize(
    "event",
    ["", "x" * 129, "a\nb", "a\rb", "\0", "a\x7f", "\x85", "\x1f", "tidewire.", "tidewire.ready"],
)
def test_other_events_are_refused(event: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_event(event)
    assert raised.value.code == "invalid_event"


@given(st.text(max_size=130))
def test_an_event_that_passes_cannot_end_a_line(event: str) -> None:
    try:
        check_event(event)
    except BadRequest:
        return
    assert len(f"event: {event}".splitlines()[0]) > len("event: ")
    assert not set(event) & set("\r\n\0")


@pytest.mark.parametrize("key", ["k", "k" * 255, "ä" * 127, "\n", " "])
def test_keys(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "k" * 256, "ä" * 128])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_key(key)
    assert raised.value.code == "invalid_key"


# Binary


@given(st.binary())
def test_binary_data_is_base64_that_passes_the_check(body: bytes) -> None:
    data = binary_data(body)
    assert check_base64(data) is data
    assert base64.b64decode(json.loads(data), validate=True) == body


@pytest.mark.parametrize("data", [b'""', b'"AA=="', b'"AAA="', b'"AAAA"', rb'"\u0041A=="'])
def test_base64(data: bytes) -> None:
    assert check_base64(data) is data


@pytest.mark.parametrize(
    "data",
    [
        b"1",
        b"null",
        b'["AA=="]',
        b'"A"',
        b'"AA"',
        b'"AAA"',
        b'"AA="',
        b'"AA==="',
        b'"AAAA="',
        b'"AAAA===="',
        b'"AA======"',
        b'"===="',
        b'"AA==AA=="',
        b'"=AAA"',
        b'"AA =="',
        rb'"AA\n=="',
        b'"-_8="',  # the alphabet for URLs is another one
        '"ä==="'.encode(),
    ],
)
def test_what_is_no_base64_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest) as raised:
        check_base64(data)
    assert raised.value.code == "invalid_base64"


# Text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_text_of_a_string(text: str) -> None:
    assert text_of(json.dumps(text).encode()) == text
    assert text_of(msgspec.json.encode(text)) == text


@pytest.mark.parametrize("data", [b"1", b"null", b"true", b'["a"]', b'{"a":"b"}'])
def test_anything_else_has_no_text(data: bytes) -> None:
    assert text_of(data) is None
