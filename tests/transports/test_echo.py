"""The echo that conformance suites talk to."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.transports.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    ServerFrame,
    client_frame,
    deflated,
    inflated,
    server_frames,
    text,
)
from tests.transports.world import FakeWire
from tidewire.transports.echo import Echo
from tidewire.transports.framing import FrameParser
from tidewire.transports.pacing import Pacing


def echo(window_bits: int = 0) -> tuple[Echo, FakeWire]:
    """An echo and its connection."""
    wire = FakeWire()
    parser = FrameParser(max_size=1000, deflated=window_bits > 0)
    return Echo(wire, parser, window_bits, Pacing(Counter())), wire


def test_messages_come_back() -> None:
    stream, wire = echo()
    stream.feed(text("hé") + client_frame(BINARY, b"\x00\xff") + text(""))
    stream.feed(client_frame(TEXT, b"a", fin=False) + client_frame(CONTINUATION, b"b"))
    assert server_frames(wire.take()) == [
        ServerFrame(TEXT, "hé".encode()),
        ServerFrame(BINARY, b"\x00\xff"),
        ServerFrame(TEXT, b""),
        ServerFrame(TEXT, b"ab"),
    ]


@pytest.mark.parametrize("bits", [9, 15])
def test_messages_come_back_compressed(bits: int) -> None:
    stream, wire = echo(bits)
    stream.feed(client_frame(TEXT, deflated(b"hello " * 50), rsv=4) + client_frame(BINARY, b"x"))
    hello, binary = server_frames(wire.take())
    assert hello.compressed
    assert hello.text == "hello " * 50
    assert (binary.opcode, binary.compressed) == (BINARY, True)
    assert inflated(binary.payload) == b"x"


def test_pings_are_answered_and_pongs_are_not() -> None:
    stream, wire = echo()
    stream.feed(client_frame(PING, b"p") + client_frame(PONG, b"q"))
    assert server_frames(wire.take()) == [ServerFrame(PONG, b"p")]


@pytest.mark.parametrize(
    ("payload", "answer"),
    [(b"", b"\x03\xe8"), (b"\x03\xe9", b"\x03\xe9"), (b"\x0f\xa0bye", b"\x0f\xa0")],
)
def test_a_close_is_answered(payload: bytes, answer: bytes) -> None:
    stream, wire = echo()
    stream.feed(text("a") + client_frame(CLOSE, payload))
    assert server_frames(wire.take()) == [ServerFrame(TEXT, b"a"), ServerFrame(CLOSE, answer)]
    assert wire.done == ["close"]
    stream.feed(text("late"))  # FakeWire would object to an answer


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(TEXT, b"\xff"), 1007),
        (client_frame(3), 1002),
        (client_frame(TEXT, b"x" * 1001), 1009),
    ],
)
def test_what_is_wrong_ends_it(data: bytes, code: int) -> None:
    stream, wire = echo()
    stream.feed(data)
    (close,) = server_frames(wire.take())
    assert close.opcode == CLOSE
    assert int.from_bytes(close.payload[:2]) == code
    assert wire.done == ["linger"]
    stream.feed(data)


def test_what_came_before_it_is_returned() -> None:
    stream, wire = echo()
    stream.feed(text("a") + client_frame(PING, b"p") + client_frame(TEXT, b"b", rsv=4) + text("c"))
    returned, pong, close = server_frames(wire.take())
    assert (returned, pong) == (ServerFrame(TEXT, b"a"), ServerFrame(PONG, b"p"))
    assert close.payload == b"\x03\xeareserved bit set"


def test_a_close_inside_a_fragmented_message_is_answered_like_any_other() -> None:
    stream, wire = echo()
    stream.feed(client_frame(TEXT, b"a", fin=False) + client_frame(CLOSE, b"\x03\xe8"))
    assert server_frames(wire.take()) == [ServerFrame(CLOSE, b"\x03\xe8")]


def test_draining() -> None:
    stream, wire = echo()
    stream.end(1012, "the server restarts", again=True)
    (close,) = server_frames(wire.take())
    assert close == ServerFrame(CLOSE, b"\x03\xf4the server restarts")
    assert wire.done == ["linger"]
    stream.end(1012, "the server restarts", again=True)


def test_it_has_no_timer_and_nothing_to_forget() -> None:
    stream, wire = echo()
    assert stream.on_timer(0) > 0
    stream.resume()
    stream.lost()
    assert wire.take() == b""
