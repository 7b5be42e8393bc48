"""Frames from the server: their heads, close frames, and compressed payloads."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transports.frames import BINARY, CLOSE, PING, PONG, TEXT, masked
from tidewire.transports import framing
from tidewire.transports.framing import close_frame


@pytest.mark.parametrize(
    ("size", "start"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65535, "817effff"),
        (65536, "817f0000000000010000"),
    ],
)
def test_the_head_of_a_frame(size: int, start: str) -> None:
    assert framing.frame(framing.TEXT, b"x" * size) == bytes.fromhex(start) + b"x" * size


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_the_first_byte_of_a_frame(opcode: int) -> None:
    assert framing.frame(opcode, b"a")[0] == 0x80 | opcode
    assert framing.frame(opcode, b"a", compressed=True)[0] == 0xC0 | opcode


def test_a_close_frame() -> None:
    assert close_frame(1000) == b"\x88\x02\x03\xe8"
    assert close_frame(1012, "back soon") == b"\x88\x0b\x03\xf4back soon"


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("x" * 122 + "é", "x" * 122),
        ("x" * 121 + "é", "x" * 121 + "é"),
        ("\N{WATER WAVE}" * 60, "\N{WATER WAVE}" * (123 // len("\N{WATER WAVE}".encode()))),
    ],
)
def test_a_long_reason_is_cut_between_characters(reason: str, kept: str) -> None:
    assert close_frame(1002, reason)[4:] == kept.encode()


def test_what_was_masked_twice_is_as_before() -> None:
    assert masked(masked(b"some bytes")) == b"some bytes"


@given(payload=st.binary(max_size=2000), bits=st.integers(9, 15))
def test_what_was_deflated_can_be_inflated(payload: bytes, bits: int) -> None:
    data = framing.deflate(payload, bits)
    assert not data.endswith(b"\x00\x00\xff\xff")
    inflater = zlib.decompressobj(wbits=-bits)
    assert inflater.decompress(data + b"\x00\x00\xff\xff") == payload
