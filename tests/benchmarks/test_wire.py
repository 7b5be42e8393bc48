"""The load generator's readers find the same in the same bytes, however those are cut."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from benchmarks.loadgen import stamp, wire
from benchmarks.loadgen.publishers import typical_frame
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from benchmarks.loadgen.stamp import Stamp

STAMPS: list[Stamp] = [(number, number * 1000) for number in range(1, 6)]


def envelope(number: int, sent: int) -> bytes:
    return b'{"type":"message","data":"%b"}' % stamp.text(number, sent, 200).encode()


def websocket_stream() -> bytes:
    parts = [wire.server_frame(b'{"type":"ready"}'), b"\x89\x02hi"]
    for number, sent in STAMPS:
        whole = wire.server_frame(envelope(number, sent))
        parts.append(whole)
    # the last message in three fragments, with a ping between them
    body = envelope(*STAMPS[-1])
    parts[-1] = (
        b"\x01\x05" + body[:5] + b"\x00\x07" + body[5:12] + b"\x89\x00"
        + b"\x80\x7e" + len(body[12:]).to_bytes(2, "big") + body[12:]
    )  # fmt: skip
    return b"".join(parts)


def event_stream() -> bytes:
    events = [b'retry: 3000\nid: a-0\nevent: tidewire.ready\ndata: {"type":"ready"}\n\n']
    events += [b"id: a-1\ndata: " + envelope(*stamp) + b"\n\n" for stamp in STAMPS]
    events.insert(3, b":\n")  # a heartbeat, which no blank line follows
    joined = wire.event_chunk(events[1] + events[2])  # two events in one chunk
    cut = events[4]  # and one event in two chunks
    chunks = [wire.event_chunk(event) for event in events]
    chunks[1:3] = [joined]
    chunks[3] = wire.event_chunk(cut[:30]) + wire.event_chunk(cut[30:])
    return b"".join(chunks)


@given(st.lists(st.integers(0, 2000), max_size=12))
@pytest.mark.parametrize("transport", ["ws", "sse"])
def test_cuts_anywhere_change_nothing(transport: str, cuts: list[int]) -> None:
    scan, data = {
        "ws": (wire.scan_websocket, websocket_stream()),
        "sse": (wire.scan_sse, event_stream()),
    }[transport]
    raw = text = b""
    found: list[Stamp] = []
    others: list[bytes] = []
    bounds = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    for start, end in itertools.pairwise(bounds):
        result = scan(raw, text, data[start:end])
        raw, text = result.raw, result.text
        found += result.stamps
        others += [content for _, content in result.others]
    assert found == STAMPS
    assert any(b'"type":"ready"' in content for content in others)
    assert (raw, text) == (b"", b"")


@pytest.mark.parametrize(
    ("scan", "data"),
    [
        (wire.scan_websocket, b"\xc1\x01x"),
        (wire.scan_websocket, b"\x80\x01x"),
        (wire.scan_websocket, b"\x81\x81\0\0\0\0x"),
        (wire.scan_sse, b"3\r\nabcde\r\n"),
    ],
    ids=["reserved bit", "continues nothing", "masked", "chunk longer than its size"],
)
def test_broken_framing_is_an_error(scan: object, data: bytes) -> None:
    assert callable(scan)
    with pytest.raises(wire.WireError):
        scan(b"", b"", data)


@pytest.mark.parametrize("transport", ["ws", "sse"])
def test_a_stamp_is_replaced_in_the_bytes_on_the_wire(transport: str) -> None:
    frame = typical_frame(transport, "bench", 100)
    changed = stamp.replace(frame, stamp.find(frame), 77, 123_456_789)
    scan = wire.scan_websocket if transport == "ws" else wire.scan_sse
    assert scan(b"", b"", changed).stamps == ((77, 123_456_789),)
    assert len(changed) == len(frame)


def test_a_clients_frame_is_masked_as_the_rfc_says() -> None:
    # the example of RFC 6455 section 5.7
    assert wire.frame(b"Hello") == b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
