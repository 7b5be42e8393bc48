"""Frames into messages: RFC 6455 section 5, one rule at a time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transports.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
    head,
)
from tidewire.transports.framing import (
    Binary,
    Closing,
    Event,
    FrameParser,
    Ping,
    Pong,
    ProtocolError,
    Text,
)

LENGTHS = [0, 1, 125, 126, 127, 128, 65535, 65536, 70_000]


def parse(data: bytes, *, max_size: int = 1 << 20, max_fragments: int = 4096) -> list[Event]:
    """What a new parser makes of *data* fed whole."""
    return FrameParser(max_size=max_size, max_fragments=max_fragments).feed(data)


def feed_all(parser: FrameParser, pieces: Iterable[bytes]) -> list[Event]:
    """What comes out of *pieces* fed one after the other."""
    return [event for piece in pieces for event in parser.feed(piece)]


def bytewise(data: bytes) -> list[bytes]:
    """*data* in pieces of one byte."""
    return [data[index : index + 1] for index in range(len(data))]


def refusal(data: bytes, *, max_size: int = 1 << 20, max_fragments: int = 4096) -> tuple[int, str]:
    """Code and reason with which *data* is refused, the same whole as byte by byte."""
    found = []
    for pieces in ([data], bytewise(data)):
        parser = FrameParser(max_size=max_size, max_fragments=max_fragments)
        with pytest.raises(ProtocolError) as raised:
            feed_all(parser, pieces)
        found.append((raised.value.code, raised.value.reason))
    assert found[0] == found[1]
    return found[0]


# Whole frames


@pytest.mark.parametrize("size", LENGTHS)
def test_every_form_of_length(size: int) -> None:
    payload = bytes(index % 128 for index in range(size))
    assert parse(client_frame(TEXT, payload)) == [Text(payload)]
    assert parse(client_frame(BINARY, payload)) == [Binary(payload)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 300])
def test_every_form_of_length_byte_by_byte(size: int) -> None:
    payload = b"x" * size
    parser = FrameParser(max_size=1000)
    assert feed_all(parser, bytewise(client_frame(TEXT, payload))) == [Text(payload)]


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 130])
def test_the_mask_is_taken_off(mask: bytes, size: int) -> None:
    payload = bytes(range(size))
    assert parse(client_frame(BINARY, payload, mask=mask)) == [Binary(payload)]


def test_the_example_of_the_rfc() -> None:
    assert parse(bytes.fromhex("818537fa213d7f9f4d5158")) == [Text(b"Hello")]


def test_frames_in_one_piece_come_out_in_order() -> None:
    data = (
        client_frame(TEXT, b"1")
        + client_frame(PING, b"2")
        + client_frame(BINARY, b"3")
        + client_frame(PONG, b"4")
        + client_frame(TEXT, b"5")
    )
    assert parse(data) == [Text(b"1"), Ping(b"2"), Binary(b"3"), Pong(b"4"), Text(b"5")]


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_frame_and_a_part_of_the_next(cut: int) -> None:
    one, two = client_frame(TEXT, b"one"), client_frame(TEXT, b"a second one")
    parser = FrameParser(max_size=100)
    cut = min(cut, len(two) - 1)
    assert parser.feed(one + two[:cut]) == [Text(b"one")]
    assert parser.feed(two[cut:] + one) == [Text(b"a second one"), Text(b"one")]


def test_no_bytes_are_no_event() -> None:
    assert parse(b"") == []


def test_which_rule_is_broken_first_does_not_depend_on_the_pieces() -> None:
    one_too_many = head(CONTINUATION, 1 << 63)
    data = client_frame(TEXT, b"a", fin=False) + one_too_many
    assert refusal(data, max_fragments=1) == (1009, "more than 1 fragments")


@pytest.mark.parametrize(
    "wrong",
    [
        client_frame(TEXT, b"c", rsv=1),
        client_frame(3),
        client_frame(CONTINUATION, b"c"),
        client_frame(TEXT, b"c", mask=None),
        client_frame(TEXT, b"\xff"),
        head(TEXT, 1 << 20),
    ],
)
def test_what_came_before_something_wrong_counts(wrong: bytes) -> None:
    data = client_frame(TEXT, b"a") + client_frame(PING, b"b") + wrong
    with pytest.raises(ProtocolError) as raised:
        parse(data, max_size=1000)
    assert raised.value.before == [Text(b"a"), Ping(b"b")]


def test_after_something_wrong_nothing_counts() -> None:
    parser = FrameParser(max_size=100)
    with pytest.raises(ProtocolError):
        parser.feed(client_frame(TEXT, b"a", fin=False) + client_frame(3))
    assert parser.feed(client_frame(CONTINUATION, b"b")) == []
    assert parser.feed(client_frame(TEXT, b"c")) == []


# Lengths that are wrong


@pytest.mark.parametrize(
    ("size", "length_bytes"),
    [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)],
)
def test_a_length_must_have_its_shortest_form(size: int, length_bytes: int) -> None:
    data = head(TEXT, size, length_bytes=length_bytes)
    assert refusal(data) == (1002, "length not in its shortest form")


def test_a_length_has_63_bits() -> None:
    assert refusal(head(TEXT, 1 << 63)) == (1002, "length over 63 bits")
    assert refusal(head(TEXT, (1 << 64) - 1)) == (1002, "length over 63 bits")
    assert refusal(head(TEXT, (1 << 63) - 1))[0] == 1009


@pytest.mark.parametrize("size", [65_536, 70_000, 1 << 20])
@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\x01\x02\x03\x04"])
def test_no_part_of_a_long_frame_is_taken_for_a_whole_one(size: int, mask: bytes) -> None:
    # 133 bytes is where a mark of 127 would be right if it were a length.
    data = client_frame(TEXT, b"a" * size, mask=mask)
    for cut in (*range(1, 20), *range(120, 145)):
        parser = FrameParser(max_size=1 << 20)
        assert parser.feed(data[:cut]) == [], cut
        assert parser.feed(data[cut:]) == [Text(b"a" * size)]


@pytest.mark.parametrize("cut", range(1, 140))
def test_no_part_of_a_frame_of_medium_length_is_taken_for_a_whole_one(cut: int) -> None:
    data = client_frame(TEXT, b"a" * 134, mask=b"\0\0\0\0")
    parser = FrameParser(max_size=1 << 20)
    assert parser.feed(data[:cut]) == []
    assert parser.feed(data[cut:]) == [Text(b"a" * 134)]


# Masks, reserved bits, opcodes


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [0, 5])
def test_a_frame_without_a_mask_is_refused(opcode: int, size: int) -> None:
    data = client_frame(opcode, b"x" * size, mask=None)
    assert refusal(data) == (1002, "frames from a client must be masked")


def test_a_missing_mask_is_seen_in_the_first_two_bytes() -> None:
    with pytest.raises(ProtocolError):
        parse(head(TEXT, 1000, mask=None)[:2])


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_reserved_bits_are_refused(rsv: int, opcode: int) -> None:
    assert refusal(client_frame(opcode, rsv=rsv)) == (1002, "reserved bit set")


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
@pytest.mark.parametrize("fin", [True, False])
def test_unknown_opcodes_are_refused(opcode: int, fin: bool) -> None:
    assert refusal(client_frame(opcode, fin=fin)) == (1002, f"unknown opcode {opcode:#x}")


# Fragments


def fragments(opcode: int, *payloads: bytes) -> bytes:
    """A message in as many frames as there are payloads."""
    last = len(payloads) - 1
    return b"".join(
        client_frame(CONTINUATION if index else opcode, payload, fin=index == last)
        for index, payload in enumerate(payloads)
    )


@pytest.mark.parametrize(
    "payloads",
    [(b"a", b"b"), (b"a", b"b", b"c"), (b"", b""), (b"", b"abc"), (b"abc", b""), (b"", b"a", b"")],
)
@pytest.mark.parametrize(("opcode", "kind"), [(TEXT, Text), (BINARY, Binary)])
@pytest.mark.parametrize("cut_up", [False, True])
def test_fragments_are_joined(
    payloads: tuple[bytes, ...], opcode: int, kind: Callable[[bytes], Event], cut_up: bool
) -> None:
    data = fragments(opcode, *payloads)
    parser = FrameParser(max_size=100)
    events = feed_all(parser, bytewise(data) if cut_up else [data])
    assert events == [kind(b"".join(payloads))]


def test_fragmented_messages_one_after_the_other() -> None:
    data = fragments(TEXT, b"a", b"b") + fragments(BINARY, b"c", b"d") + client_frame(TEXT, b"e")
    assert parse(data) == [Text(b"ab"), Binary(b"cd"), Text(b"e")]


def test_control_frames_may_stand_between_fragments() -> None:
    data = (
        client_frame(TEXT, b"a", fin=False)
        + client_frame(PING, b"p")
        + client_frame(CONTINUATION, b"b", fin=False)
        + client_frame(PONG, b"q")
        + client_frame(CONTINUATION, b"c")
    )
    assert parse(data) == [Ping(b"p"), Pong(b"q"), Text(b"abc")]


def test_a_close_may_stand_between_fragments() -> None:
    data = client_frame(TEXT, b"a", fin=False) + client_frame(CLOSE, b"\x03\xe8")
    assert parse(data) == [Closing(1000, "")]


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frames_have_no_fragments(opcode: int) -> None:
    assert refusal(client_frame(opcode, fin=False)) == (1002, "control frame in fragments")


@pytest.mark.parametrize("fin", [True, False])
def test_a_continuation_needs_a_beginning(fin: bool) -> None:
    assert refusal(client_frame(CONTINUATION, b"a", fin=fin)) == (1002, "continuation of nothing")


def test_a_message_that_is_complete_is_not_continued() -> None:
    data = fragments(TEXT, b"a", b"b") + client_frame(CONTINUATION, b"c")
    assert refusal(data) == (1002, "continuation of nothing")


@pytest.mark.parametrize("first", [TEXT, BINARY])
@pytest.mark.parametrize("second", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
def test_messages_are_not_mixed(first: int, second: int, fin: bool) -> None:
    data = client_frame(first, b"a", fin=False) + client_frame(second, b"b", fin=fin)
    assert refusal(data) == (1002, "a new message inside a fragmented one")


def test_a_whole_text_frame_inside_a_message_is_refused_in_a_piece_of_its_own() -> None:
    parser = FrameParser(max_size=100)
    assert parser.feed(client_frame(TEXT, b"", fin=False)) == []
    with pytest.raises(ProtocolError):
        parser.feed(client_frame(TEXT, b"b"))


# Control frames


@pytest.mark.parametrize(("opcode", "kind"), [(PING, Ping), (PONG, Pong)])
@pytest.mark.parametrize("size", [0, 1, 125])
def test_pings_and_pongs_carry_up_to_125_bytes(
    opcode: int, kind: Callable[[bytes], Event], size: int
) -> None:
    assert parse(client_frame(opcode, b"\xff" * size)) == [kind(b"\xff" * size)]


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [126, 127, 65535, 65536])
def test_longer_control_frames_are_refused_by_their_header(opcode: int, size: int) -> None:
    assert refusal(head(opcode, size)) == (1002, "control frame over 125 bytes")


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("length_bytes", [2, 8])
def test_control_frames_have_no_longer_form_of_length(opcode: int, length_bytes: int) -> None:
    with pytest.raises(ProtocolError) as raised:
        parse(head(opcode, 5, length_bytes=length_bytes) + b"12345")
    assert raised.value.code == 1002


def test_the_size_limit_is_not_for_control_frames() -> None:
    assert parse(client_frame(PING, b"x" * 125), max_size=10) == [Ping(b"x" * 125)]


# Closing


def closing(code: int, reason: bytes = b"") -> bytes:
    """A close frame from a client."""
    return client_frame(CLOSE, struct.pack("!H", code) + reason)


ALLOWED = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4400, 4999]
FORBIDDEN = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", ALLOWED)
def test_codes_that_may_be_sent(code: int) -> None:
    assert parse(closing(code)) == [Closing(code, "")]


@pytest.mark.parametrize("code", FORBIDDEN)
def test_codes_that_may_not_be_sent(code: int) -> None:
    assert refusal(closing(code)) == (1002, f"close code {code} may not be sent")


def test_a_close_without_a_code() -> None:
    assert parse(client_frame(CLOSE)) == [Closing(1005, "")]


def test_a_close_of_one_byte() -> None:
    assert refusal(client_frame(CLOSE, b"\x03")) == (1002, "close frame of one byte")


@pytest.mark.parametrize("reason", ["x", "x" * 123, "schön \N{WATER WAVE}", "\0"])
def test_reasons(reason: str) -> None:
    assert parse(closing(4000, reason.encode())) == [Closing(4000, reason)]


@pytest.mark.parametrize("reason", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"ok\xc0\x80"])
def test_a_reason_is_utf8(reason: bytes) -> None:
    assert refusal(closing(1000, reason)) == (1007, "close reason is not UTF-8")


def test_nothing_counts_after_a_close() -> None:
    assert parse(closing(1000) + client_frame(TEXT, b"late") + b"\xff\xff") == [Closing(1000, "")]
    parser = FrameParser(max_size=100)
    assert parser.feed(closing(1000)) == [Closing(1000, "")]
    assert parser.feed(client_frame(TEXT, b"late")) == []


def test_what_came_before_a_close_counts() -> None:
    assert parse(client_frame(TEXT, b"a") + closing(1001)) == [Text(b"a"), Closing(1001, "")]


# Text


@pytest.mark.parametrize("character", ["é", "€", "\N{WATER WAVE}", "\U0010ffff", "\x00", "\ufeff"])
def test_a_character_may_be_cut_by_fragments(character: str) -> None:
    data = character.encode()
    assert parse(fragments(TEXT, *bytewise(data))) == [Text(data)]


BROKEN_TEXT = [
    b"\xff",
    b"\x80",
    b"\xc0\x80",  # overlong
    b"\xc1\xbf",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",  # a surrogate
    b"\xf4\x90\x80\x80",  # over U+10FFFF
    b"\xf8\x88\x80\x80\x80",
    b"a\xc3",  # cut
    b"\xe2\x82",
    b"\xf0\x9f\x8c",
]


@pytest.mark.parametrize("broken", BROKEN_TEXT)
def test_text_is_utf8(broken: bytes) -> None:
    assert refusal(client_frame(TEXT, broken)) == (1007, "text is not UTF-8")
    assert refusal(fragments(TEXT, b"good", broken)) == (1007, "text is not UTF-8")
    assert refusal(fragments(TEXT, broken, b"")) == (1007, "text is not UTF-8")
    assert parse(client_frame(BINARY, broken)) == [Binary(broken)]


def test_broken_text_is_refused_before_the_message_ends() -> None:
    parser = FrameParser(max_size=100)
    parser.feed(client_frame(TEXT, b"good", fin=False))
    with pytest.raises(ProtocolError) as raised:
        parser.feed(client_frame(CONTINUATION, b"\xf4\x90", fin=False))
    assert raised.value.code == 1007


def test_broken_text_is_refused_before_its_frame_ends() -> None:
    for before in ([], [client_frame(TEXT, b"good", fin=False)]):
        parser = FrameParser(max_size=100)
        frame = client_frame(CONTINUATION if before else TEXT, b"\xce\xba\xf4\x90 and more")
        for piece in [*before, frame[:7], frame[7:9]]:
            assert parser.feed(piece) == []
        with pytest.raises(ProtocolError) as raised:
            parser.feed(frame[9:10])
        assert (raised.value.code, raised.value.reason) == (1007, "text is not UTF-8")


def test_only_text_is_looked_at_before_its_frame_ends() -> None:
    for frame in (client_frame(BINARY, b"\xff\xff"), client_frame(PING, b"\xff\xff")):
        parser = FrameParser(max_size=100)
        (event,) = feed_all(parser, bytewise(frame))
        assert event in (Binary(b"\xff\xff"), Ping(b"\xff\xff"))


@given(text=st.text(max_size=60), data=st.data())
def test_text_may_be_cut_anywhere(text: str, data: st.DataObject) -> None:
    payload = text.encode()
    cut = data.draw(st.integers(0, len(payload)))
    wire = client_frame(TEXT, payload[:cut], fin=False) + client_frame(CONTINUATION, payload[cut:])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=8)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert feed_all(FrameParser(max_size=1000), pieces) == [Text(payload)]


def test_the_cut_character_of_one_message_is_not_continued_in_the_next() -> None:
    parser = FrameParser(max_size=100)
    assert parser.feed(fragments(BINARY, b"\xc3", b"")) == [Binary(b"\xc3")]
    assert parser.feed(fragments(TEXT, b"a", b"b")) == [Text(b"ab")]
    with pytest.raises(ProtocolError):
        parser.feed(fragments(TEXT, b"\xa9", b""))


# Limits


def test_a_message_of_the_greatest_size() -> None:
    assert parse(client_frame(TEXT, b"x" * 100), max_size=100) == [Text(b"x" * 100)]
    data = fragments(TEXT, b"x" * 60, b"x" * 40)
    assert parse(data, max_size=100) == [Text(b"x" * 100)]


@pytest.mark.parametrize("size", [101, 126, 65536, 1 << 40])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_larger_one_is_refused_by_its_header(size: int, opcode: int) -> None:
    assert refusal(head(opcode, size, mask=b"abcd"), max_size=100) == (
        1009,
        "message over 100 bytes",
    )


def test_the_header_before_its_mask_is_enough() -> None:
    with pytest.raises(ProtocolError) as raised:
        parse(head(TEXT, 101)[:2], max_size=100)
    assert raised.value.code == 1009


def test_fragments_are_added_up() -> None:
    data = client_frame(TEXT, b"x" * 60, fin=False) + head(CONTINUATION, 41)
    assert refusal(data, max_size=100)[0] == 1009


def test_the_size_is_counted_anew_for_each_message() -> None:
    data = fragments(TEXT, b"x" * 60, b"x" * 40) * 3 + client_frame(TEXT, b"x" * 100)
    assert len(parse(data, max_size=100)) == 4


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_fragments_are_counted(payload: bytes) -> None:
    most = fragments(TEXT, *[payload] * 5)
    assert parse(most, max_fragments=5) == [Text(payload * 5)]
    assert parse(most * 2, max_fragments=5) == [Text(payload * 5)] * 2
    over = fragments(TEXT, *[payload] * 6)
    assert refusal(over, max_fragments=5) == (1009, "more than 5 fragments")


# Any cuts


messages = st.lists(
    st.one_of(
        st.builds(lambda text: [(TEXT, text.encode())], st.text(max_size=150)),
        st.builds(lambda data: [(BINARY, data)], st.binary(max_size=150)),
        st.builds(lambda data: [(PING, data)], st.binary(max_size=125)),
        st.builds(
            lambda parts: [
                (CONTINUATION if index else TEXT, part.encode()) for index, part in enumerate(parts)
            ],
            st.lists(st.text(max_size=10), min_size=2, max_size=4),
        ),
    ),
    max_size=6,
)


KINDS: dict[int, Callable[[bytes], Event]] = {TEXT: Text, BINARY: Binary, PING: Ping}


@given(messages=messages, mask=st.binary(min_size=4, max_size=4), data=st.data())
def test_how_the_bytes_are_cut_makes_no_difference(
    messages: list[list[tuple[int, bytes]]], mask: bytes, data: st.DataObject
) -> None:
    expected: list[Event] = []
    wire = b""
    for message in messages:
        for index, (opcode, payload) in enumerate(message):
            wire += client_frame(opcode, payload, fin=index == len(message) - 1, mask=mask)
        joined = b"".join(payload for _, payload in message)
        expected.append(KINDS[message[0][0]](joined))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=8)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert feed_all(FrameParser(max_size=1000), pieces) == expected


def outcome(parser: FrameParser, pieces: Iterable[bytes]) -> list[Event | int]:
    """The events, and at their end the code of the refusal if there is one."""
    found: list[Event | int] = []
    try:
        for piece in pieces:
            found += parser.feed(piece)
    except ProtocolError as error:
        found += [*error.before, error.code]
    return found


frames_of_all_kinds = st.one_of(
    st.binary(max_size=200),
    st.builds(
        client_frame,
        st.sampled_from([TEXT, TEXT, TEXT, BINARY, CONTINUATION, PING, CLOSE]),
        st.one_of(st.binary(max_size=140), st.text(max_size=140).map(str.encode)),
        fin=st.booleans(),
        mask=st.sampled_from([b"\0\0\0\0", b"abcd", None]),
        length_bytes=st.sampled_from([None, None, 2, 8]),
    ),
)


@given(data=frames_of_all_kinds, max_size=st.sampled_from([0, 50, 126, 1000]))
def test_the_quick_way_agrees_with_the_general_way(data: bytes, max_size: int) -> None:
    quick = outcome(FrameParser(max_size=max_size), [data])
    general = FrameParser(max_size=max_size)
    # With its first byte fed alone a frame never goes the quick way.
    assert outcome(general, [data[:1], data[1:]]) == quick


@given(data=st.binary(max_size=300))
def test_any_bytes_give_events_or_a_refusal(data: bytes) -> None:
    for deflate in (False, True):
        whole = outcome(FrameParser(max_size=100, deflated=deflate), [data])
        cut = outcome(FrameParser(max_size=100, deflated=deflate), bytewise(data))
        assert whole == cut
