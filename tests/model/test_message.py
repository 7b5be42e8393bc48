"""Messages: their envelope says what they are, byte for byte; their caches can be dropped."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.model import Cursor, Message, parse_cursor
from tidewire.model.payload import binary_data


def message(
    data: bytes = b"1",
    *,
    event: str | None = None,
    headers: bytes | None = None,
    binary: bool = False,
) -> Message:
    return Message(
        "q7Zf", 1795392012345678, "news:eu", 42, 1795392012345, data, event, headers, binary
    )


def envelope(of: Message) -> dict[str, Any]:
    parsed = json.loads(of.envelope)
    assert isinstance(parsed, dict)
    return parsed


def test_the_envelope_of_the_least_message() -> None:
    assert message(b'{"any":"JSON"}').envelope == (
        b'{"type":"message","id":"q7Zf-1795392012345678","channel":"news:eu","seq":42,'
        b'"time":1795392012345,"data":{"any":"JSON"}}'
    )


def test_the_envelope_of_a_full_message() -> None:
    full = message(b'"AA=="', event="headline", headers=b'{"lang":"en"}', binary=True)
    assert full.envelope == (
        b'{"type":"message","id":"q7Zf-1795392012345678","channel":"news:eu","seq":42,'
        b'"time":1795392012345,"event":"headline","data":"AA==","encoding":"base64",'
        b'"headers":{"lang":"en"}}'
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
UTF8 = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    JSON,
    st.none() | UTF8.filter(bool),
    st.none() | st.dictionaries(UTF8, UTF8, min_size=1, max_size=3),
)
def test_the_envelope_reads_back(
    data: object, event: str | None, headers: dict[str, str] | None
) -> None:
    parsed = envelope(
        message(
            json.dumps(data).encode(),
            event=event,
            headers=None if headers is None else json.dumps(headers).encode(),
        )
    )
    assert parsed.pop("data") == data
    assert parsed.pop("event", None) == event
    assert parsed.pop("headers", None) == headers
    assert parsed == {
        "type": "message",
        "id": "q7Zf-1795392012345678",
        "channel": "news:eu",
        "seq": 42,
        "time": 1795392012345,
    }


@given(UTF8)
def test_no_event_breaks_out_of_the_line(event: str) -> None:
    text = message(event=event).envelope
    assert b"\n" not in text
    assert b"\r" not in text
    assert json.loads(text)["event"] == event


@pytest.mark.parametrize("digits", [b"1.10", b"1e400", b"12345678901234567890", b"-0", b"1E+2"])
def test_the_data_keeps_its_own_text(digits: bytes) -> None:
    assert b'"data":%b}' % digits in message(digits).envelope


def test_binary_data_reads_back() -> None:
    everything = bytes(range(256))
    parsed = envelope(message(binary_data(everything), binary=True))
    assert parsed["encoding"] == "base64"
    assert b64decode(parsed["data"], validate=True) == everything


def test_the_cursor_is_the_id_of_the_envelope() -> None:
    one = message()
    assert one.cursor.decode() == envelope(one)["id"]
    assert parse_cursor(one.cursor.decode()) == Cursor(one.epoch, one.id)


def test_size_counts_data_and_headers() -> None:
    assert message(b"12345").size == 5
    assert message(b"12345", headers=b'{"a":"b"}', event="does not count").size == 5 + 9


def test_the_envelope_is_made_once_until_it_is_forgotten() -> None:
    one = message()
    first = one.envelope
    assert one.envelope is first
    one.forms = {"sse": b"id: 1"}
    one.forget_forms()
    assert not one.forms
    assert not one.made_envelope
    again = one.envelope
    assert again == first
    assert again is not first


def test_a_bare_message_is_the_same_without_what_was_made_of_it() -> None:
    full = message(b'"AA=="', event="headline", headers=b'{"lang":"en"}', binary=True)
    full.forms = {"sse": full.envelope}
    bare = full.bare()
    assert bare.forms is None
    assert bare.made_envelope is None
    assert bare.envelope == full.envelope
    assert (bare.epoch, bare.id, bare.seq, bare.time) == (full.epoch, full.id, full.seq, full.time)


def test_a_message_shows_what_it_is() -> None:
    assert repr(message(b'"secret"')) == "<Message q7Zf-1795392012345678 news:eu#42>"


def test_a_gap_record_is_told_as_a_gap() -> None:
    record = Message("e", 7, "news", 0, 1, b"", gap="reset")
    assert envelope(record) == {"type": "gap", "id": "e-7", "channel": "news", "reason": "reset"}


def test_only_a_delivery_again_is_counted() -> None:
    assert "deliveries" not in envelope(message())
    assert envelope(message().bare(deliveries=3))["deliveries"] == 3
