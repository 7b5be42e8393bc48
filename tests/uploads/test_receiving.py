"""One upload's offsets, without files or sockets."""

from __future__ import annotations

import pytest

from tidewire.model import BadRequest, TooLarge
from tidewire.uploads import Receiving, parse_chunk
from tidewire.uploads.receiving import WrongOffset


def test_chunks_in_order() -> None:
    state = Receiving(6, 0)
    assert state.take(0, b"ab")
    assert state.take(2, b"cd")
    assert state.due() == [b"ab", b"cd"]
    assert state.due() == []
    assert state.take(4, b"ef")
    state.wrote(4)
    assert not state.whole
    assert state.due() == [b"ef"]
    state.wrote(6)
    assert state.whole


def test_it_goes_on_where_it_was_cut() -> None:
    state = Receiving(10, 4)
    assert state.take(4, b"x")
    assert state.expected == 5


def test_nothing_is_missing_from_an_empty_file() -> None:
    assert Receiving(0, 0).whole


def test_an_empty_chunk_is_no_work() -> None:
    state = Receiving(2, 0)
    assert state.take(0, b"")
    assert state.due() == []


@pytest.mark.parametrize("offset", [0, 1, 3, 9])
def test_a_wrong_offset_is_refused_with_the_right_one(offset: int) -> None:
    state = Receiving(10, 0)
    state.take(0, b"ab")
    with pytest.raises(WrongOffset) as caught:
        state.take(offset, b"x")
    assert caught.value.offset == 2
    assert state.due() == [b"ab"]


def test_what_follows_a_wrong_offset_is_refused_once() -> None:
    state = Receiving(10, 0)
    with pytest.raises(WrongOffset):
        state.take(5, b"x")
    assert not state.take(6, b"x")
    assert state.take(0, b"x")
    with pytest.raises(WrongOffset):
        state.take(6, b"x")


def test_nothing_goes_beyond_the_end() -> None:
    state = Receiving(3, 0)
    with pytest.raises(TooLarge):
        state.take(0, b"abcd")
    assert state.take(0, b"abc")


def test_a_frame() -> None:
    chunk = parse_chunk(bytes.fromhex("00000007 0000000100000002") + b"data")
    assert (chunk.number, chunk.offset, bytes(chunk.data)) == (7, (1 << 32) + 2, b"data")
    assert bytes(parse_chunk(bytes(12)).data) == b""


@pytest.mark.parametrize("size", [0, 1, 11])
def test_a_frame_without_its_head(size: int) -> None:
    with pytest.raises(BadRequest):
        parse_chunk(bytes(size))
