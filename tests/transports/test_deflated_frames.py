"""Compressed messages (RFC 7692), and the same bytes read by another implementation."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from tests.transports.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TAIL,
    TEXT,
    client_frame,
    deflated,
    head,
    inflated,
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
    close_frame,
    deflate,
    frame,
)

COMPRESSED = 4  # RSV1


def parser(max_size: int = 1 << 20, max_fragments: int = 4096) -> FrameParser:
    """A parser of a connection that agreed on permessage-deflate."""
    return FrameParser(max_size=max_size, max_fragments=max_fragments, deflated=True)


def refusal(data: bytes, max_size: int = 1 << 20) -> int:
    """The code with which *data* is refused."""
    with pytest.raises(ProtocolError) as raised:
        parser(max_size).feed(data)
    return raised.value.code


def compressed(opcode: int, payload: bytes, *pieces: int) -> bytes:
    """A compressed message, cut into fragments at *pieces*."""
    data = deflated(payload)
    cuts = [0, *pieces, len(data)]
    parts = [data[a:b] for a, b in pairwise(cuts)]
    last = len(parts) - 1
    return b"".join(
        client_frame(
            CONTINUATION if index else opcode,
            part,
            fin=index == last,
            rsv=0 if index else COMPRESSED,
        )
        for index, part in enumerate(parts)
    )


def test_the_example_of_the_rfc() -> None:
    payload = bytes.fromhex("f248cdc9c90700")  # section 7.2.3.1
    assert parser().feed(client_frame(TEXT, payload, rsv=COMPRESSED)) == [Text(b"Hello")]


def test_the_example_without_compression() -> None:
    payload = bytes.fromhex("000500faff48656c6c6f00")  # section 7.2.3.3
    assert parser().feed(client_frame(TEXT, payload, rsv=COMPRESSED)) == [Text(b"Hello")]


@pytest.mark.parametrize("cut", [(), (7,)])
def test_the_example_with_a_final_block(cut: tuple[int, ...]) -> None:
    payload = bytes.fromhex("f348cdc9c9070000")  # section 7.2.3.4
    if cut:
        data = client_frame(TEXT, payload[:7], fin=False, rsv=COMPRESSED)
        data += client_frame(CONTINUATION, payload[7:])
    else:
        data = client_frame(TEXT, payload, rsv=COMPRESSED)
    assert parser().feed(data) == [Text(b"Hello")]


def test_the_example_of_two_blocks() -> None:
    payload = bytes.fromhex("f248050000" + "00ffff" + "cac9c90700")  # section 7.2.3.5
    assert parser().feed(client_frame(TEXT, payload, rsv=COMPRESSED)) == [Text(b"Hello")]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("pieces", [(), (1,), (1, 1), (0,), (3, 5), (2, 3, 4, 5)])
def test_compressed_messages_and_their_fragments(opcode: int, pieces: tuple[int, ...]) -> None:
    payload = "Grüße, ".encode() * 20
    kind = Text if opcode == TEXT else Binary
    data = compressed(opcode, payload, *pieces)
    assert parser().feed(data) == [kind(payload)]
    bytewise = parser()
    assert [event for byte in data for event in bytewise.feed(bytes((byte,)))] == [kind(payload)]


def test_messages_that_are_not_compressed_may_stand_between() -> None:
    data = client_frame(TEXT, b"a") + compressed(TEXT, b"b") + client_frame(TEXT, b"c")
    assert parser().feed(data) == [Text(b"a"), Text(b"b"), Text(b"c")]


def test_an_empty_compressed_message() -> None:
    assert parser().feed(client_frame(TEXT, b"\x00", rsv=COMPRESSED)) == [Text(b"")]
    assert parser().feed(client_frame(TEXT, b"", rsv=COMPRESSED)) == [Text(b"")]


def test_no_context_is_kept_between_messages() -> None:
    one = parser()
    compressor = zlib.compressobj(wbits=-15)
    for expected in (True, False):
        data = compressor.compress(b"the same words " * 9) + compressor.flush(zlib.Z_SYNC_FLUSH)
        wire = client_frame(TEXT, data.removesuffix(TAIL), rsv=COMPRESSED)
        if expected:
            assert one.feed(wire) == [Text(b"the same words " * 9)]
        else:  # this one points back into the message before
            with pytest.raises(ProtocolError) as raised:
                one.feed(wire)
            assert raised.value.code == 1007


def test_text_is_checked_when_inflated() -> None:
    assert refusal(compressed(TEXT, b"\xff")) == 1007
    assert refusal(compressed(TEXT, b"cut \xc3")) == 1007
    assert parser().feed(compressed(BINARY, b"\xff")) == [Binary(b"\xff")]


@pytest.mark.parametrize("payload", [b"\xff", b"\x07", b"\x06\x00\x00", b"not deflated at all"])
def test_broken_data(payload: bytes) -> None:
    assert refusal(client_frame(BINARY, payload, rsv=COMPRESSED)) == 1007


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_are_not_compressed(opcode: int) -> None:
    assert refusal(client_frame(opcode, b"", rsv=COMPRESSED)) == 1002


def test_a_continuation_does_not_say_again_that_it_is_compressed() -> None:
    data = client_frame(TEXT, b"", fin=False, rsv=COMPRESSED)
    assert refusal(data + client_frame(CONTINUATION, b"", rsv=COMPRESSED)) == 1002


@pytest.mark.parametrize("rsv", [1, 2, 3, 5, 6, 7])
def test_the_other_reserved_bits_stay_refused(rsv: int) -> None:
    assert refusal(client_frame(TEXT, b"", rsv=rsv)) == 1002


# Limits


@pytest.mark.parametrize("pieces", [(), (2,), (1, 2, 3)])
def test_the_limit_is_for_the_inflated_size(pieces: tuple[int, ...]) -> None:
    assert parser(1000).feed(compressed(TEXT, b"a" * 1000, *pieces)) == [Text(b"a" * 1000)]
    assert refusal(compressed(TEXT, b"a" * 1001, *pieces), 1000) == 1009


def test_the_compressed_size_is_refused_by_its_header() -> None:
    assert refusal(head(TEXT, 1100, rsv=COMPRESSED), 1000) == 1009


def test_what_does_not_compress_may_be_as_large_as_the_limit() -> None:
    message = random.Random(1).randbytes(1000)
    compressed = deflated(message)
    assert len(compressed) > len(message)
    (event,) = FrameParser(max_size=1000, deflated=True).feed(
        client_frame(BINARY, compressed, rsv=COMPRESSED)
    )
    assert event == Binary(message)


@pytest.mark.parametrize("fragmented", [False, True])
def test_a_bomb_is_not_inflated(fragmented: bool) -> None:
    bomb = deflated(bytes(64 << 20))
    assert len(bomb) < 80_000
    data = (
        client_frame(BINARY, bomb[:100], fin=False, rsv=COMPRESSED)
        + client_frame(CONTINUATION, bomb[100:])
        if fragmented
        else client_frame(BINARY, bomb, rsv=COMPRESSED)
    )
    tracemalloc.start()
    try:
        assert refusal(data, 100_000) == 1009
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rest", [b"\x01", b"\x00\x00", b"abc", b"x" * 50_000])
@pytest.mark.parametrize("apart", [False, True])
def test_nothing_follows_a_final_block(rest: bytes, apart: bool) -> None:
    compressor = zlib.compressobj(wbits=-15)
    whole = compressor.compress(b"Hello") + compressor.flush(zlib.Z_FINISH)
    if apart:
        data = client_frame(TEXT, whole, fin=False, rsv=COMPRESSED)
        data += client_frame(CONTINUATION, rest, fin=False)
    else:
        data = client_frame(TEXT, whole + rest, rsv=COMPRESSED)
    assert refusal(data) == 1007


# Another implementation


def oracle_server(max_size: int = 1 << 20, *, deflated: bool = False) -> Protocol:
    """The server's side of the other library."""
    protocol = Protocol(Side.SERVER, max_size=max_size)
    if deflated:
        protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
    return protocol


def oracle_client(*, deflated: bool = False) -> Protocol:
    """The client's side of the other library."""
    protocol = Protocol(Side.CLIENT)
    if deflated:
        protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
    return protocol


outgoing = st.lists(
    st.one_of(
        st.tuples(st.just(TEXT), st.text(max_size=300).map(str.encode)),
        st.tuples(st.just(BINARY), st.binary(max_size=300)),
        st.tuples(st.just(PING), st.binary(max_size=125)),
        st.tuples(st.just(PONG), st.binary(max_size=125)),
    ),
    max_size=5,
)


def event(opcode: int, payload: bytes) -> Event:
    """What a parser should make of it."""
    kinds: dict[int, type[Text | Binary | Ping | Pong]] = {
        TEXT: Text,
        BINARY: Binary,
        PING: Ping,
        PONG: Pong,
    }
    return kinds[opcode](payload)


@pytest.mark.parametrize("with_deflate", [False, True])
@given(sent=outgoing)
def test_what_another_client_sends(with_deflate: bool, sent: list[tuple[int, bytes]]) -> None:
    client = oracle_client(deflated=with_deflate)
    for opcode, payload in sent:
        if opcode == TEXT:
            half = len(payload) // 2
            client.send_text(payload[:half], fin=False)
            client.send_continuation(payload[half:], fin=True)
        elif opcode == BINARY:
            client.send_binary(payload)
        elif opcode == PING:
            client.send_ping(payload)
        else:
            client.send_pong(payload)
    received = FrameParser(max_size=1000, deflated=with_deflate)
    events = received.feed(b"".join(client.data_to_send()))
    assert events == [event(opcode, payload) for opcode, payload in sent]


@pytest.mark.parametrize("with_deflate", [False, True])
@given(sent=outgoing)
def test_what_another_client_receives(with_deflate: bool, sent: list[tuple[int, bytes]]) -> None:
    client = oracle_client(deflated=with_deflate)
    for opcode, payload in sent:
        if with_deflate and opcode in (TEXT, BINARY):
            client.receive_data(frame(opcode, deflate(payload), compressed=True))
        else:
            client.receive_data(frame(opcode, payload))
    received = [event for event in client.events_received() if isinstance(event, Frame)]
    assert [(frame.opcode.value, bytes(frame.data)) for frame in received] == sent


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_lengths_that_another_client_receives(size: int) -> None:
    client = oracle_client()
    client.receive_data(frame(BINARY, b"x" * size))
    (received,) = client.events_received()
    assert isinstance(received, Frame)
    assert (received.opcode, len(received.data)) == (Opcode.BINARY, size)


def test_a_close_that_another_client_receives() -> None:
    client = oracle_client()
    client.receive_data(close_frame(4408, "no answer to a ping"))
    assert client.close_rcvd == Close(4408, "no answer to a ping")


def test_a_close_that_another_client_sends() -> None:
    client = oracle_client()
    client.send_close(4000, "enough")
    data = b"".join(client.data_to_send())
    assert FrameParser(max_size=100).feed(data) == [Closing(4000, "enough")]


WRONG = [
    client_frame(TEXT, b"a", mask=None),
    client_frame(TEXT, rsv=4),
    client_frame(3),
    client_frame(0xB),
    client_frame(PING, fin=False),
    client_frame(CONTINUATION),
    client_frame(TEXT, fin=False) + client_frame(TEXT),
    client_frame(PING, b"x" * 126),
    client_frame(CLOSE, b"x"),
    client_frame(CLOSE, b"\x03\xed"),
    client_frame(CLOSE, b"\x03\xe8\xff"),
    client_frame(TEXT, b"x" * 1001),
]


@pytest.mark.parametrize("data", WRONG)
def test_another_server_refuses_the_same(data: bytes) -> None:
    server = oracle_server(1000)
    server.receive_data(data)
    assert server.close_sent is not None
    with pytest.raises(ProtocolError) as raised:
        FrameParser(max_size=1000).feed(data)
    assert raised.value.code == server.close_sent.code


@given(payload=st.binary(max_size=500))
def test_our_own_deflating_and_the_parser_agree(payload: bytes) -> None:
    assert inflated(deflate(payload)) == payload
    wire = client_frame(BINARY, deflate(payload), rsv=COMPRESSED)
    assert parser().feed(wire) == [Binary(payload)]
