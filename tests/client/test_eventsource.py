"""The event stream decoder against the standard's cases, fed whole, byte by byte and at random."""

from __future__ import annotations

import base64
import itertools
import json
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.client.eventsource import EventDecoder, ServerEvent, TooMuchData

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "eventsource_cases.json").read_text("utf-8")
)["parse"]


def decode(chunks: Iterable[bytes]) -> tuple[list[ServerEvent], str, int | None]:
    decoder = EventDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events, decoder.last_event_id, decoder.retry


def whole(stream: bytes) -> Iterator[bytes]:
    yield stream


def byte_by_byte(stream: bytes) -> Iterator[bytes]:
    for byte in stream:
        yield bytes((byte,))


def at_random(stream: bytes) -> Iterator[bytes]:
    source = random.Random(len(stream))
    begin = 0
    while begin < len(stream):
        end = begin + source.randint(0, 7)
        yield stream[begin:end]
        begin = end


def test_there_are_all_cases() -> None:
    assert len(CASES) == 66


@pytest.mark.parametrize("chunking", [whole, byte_by_byte, at_random])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_standard(case: dict[str, Any], chunking: Any) -> None:
    stream = base64.b64decode(case["stream_b64"])
    events, last_event_id, retry = decode(chunking(stream))
    assert events == [
        ServerEvent(event["type"], event["data"], event["lastEventId"]) for event in case["events"]
    ]
    assert last_event_id == (case["last_event_id"] or "")
    assert retry == case["retry_ms"]


@given(
    stream=st.lists(
        st.sampled_from(
            [b"data", b"id", b"event", b"retry", b":", b" ", b"\r", b"\n", b"\r\n", b"1", b"x",
             b"\0", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xff", b"\xe2\x80"]
        ),
        max_size=60,
    ).map(b"".join),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)  # fmt: skip
def test_where_the_stream_is_cut_makes_no_difference(stream: bytes, cuts: list[int]) -> None:
    borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(borders)]
    assert decode(pieces) == decode([stream])


def test_an_event_is_there_with_its_last_byte() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\r") == []
    # A lone CR ends a line, so this ends the block; no waiting for a LF that may follow.
    assert decoder.feed(b"\r") == [ServerEvent("message", "a", "")]
    assert decoder.feed(b"\ndata: b\n\n") == [ServerEvent("message", "b", "")]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 50, b"data: x\n" * 10, b":" + b"x" * 50])
def test_an_event_beyond_the_limit_is_refused(stream: bytes) -> None:
    decoder = EventDecoder(max_size=40)
    with pytest.raises(TooMuchData):
        list(map(decoder.feed, byte_by_byte(stream)))


def test_the_limit_is_for_one_event_not_for_the_stream() -> None:
    decoder = EventDecoder(max_size=40)
    for _ in range(100):
        assert len(decoder.feed(b"data: " + b"x" * 30 + b"\n\n")) == 1


def test_work_grows_with_the_number_of_bytes_only() -> None:
    """A line of 4 MB in pieces of 64 bytes: work that grew with the square would take minutes."""
    decoder = EventDecoder()
    begin = time.process_time()
    decoder.feed(b"data: ")
    for _ in range(65536):
        decoder.feed(b"x" * 64)
    [event] = decoder.feed(b"\n\n")
    assert len(event.data) == 4 << 20
    assert time.process_time() - begin < 5
