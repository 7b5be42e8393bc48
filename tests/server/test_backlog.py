"""What waits for a slow client: whole frames, with control frames between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.transports.frames import PING, PONG, TEXT, ServerFrame, split_frames
from tidewire.server.backlog import PIECE, Backlog
from tidewire.transports.framing import frame, message_frames


def test_pieces_are_views_of_the_same_bytes() -> None:
    data = frame(TEXT, bytes(3 * PIECE))
    backlog = Backlog(data, 1000, 0)
    pieces = backlog.rest()
    assert [len(piece) for piece in pieces[:-1]] == [PIECE] * (len(pieces) - 1)
    assert all(isinstance(piece, memoryview) and piece.obj is data for piece in pieces)
    assert b"".join(pieces) == data[1000:]


def test_other_frames_wait_behind() -> None:
    first, second, third = (frame(TEXT, text) for text in (b"1" * 500, b"2", b"3"))
    backlog = Backlog(first, 100, 0)
    backlog.put(second)
    backlog.put(third)
    assert (backlog.size, backlog.behind) == (len(first) - 100 + 6, 6)
    assert b"".join(backlog.rest()) == first[100:] + second + third
    assert not backlog


def test_a_control_frame_goes_before_the_next_frame() -> None:
    one, two, three = (frame(TEXT, bytes(size)) for size in (100, 1000, 70_000))
    backlog = Backlog(one + two + three, 150, 0)
    ping = frame(PING, b"p")
    backlog.interject(ping)
    backlog.put(one)
    assert b"".join(backlog.rest()) == two[48:] + ping + three + one


def test_a_control_frame_goes_first_at_a_border() -> None:
    data = frame(TEXT, b"x" * 100)
    backlog = Backlog(data + data, len(data), 0)
    backlog.interject(b"\x89\x00")
    assert backlog.take() == b"\x89\x00"
    assert backlog.take() == data


def test_a_control_frame_behind_the_last() -> None:
    data = frame(TEXT, b"x" * 100)
    backlog = Backlog(data, 5, 0)
    backlog.interject(b"\x89\x00")
    assert b"".join(backlog.rest()) == data[5:] + b"\x89\x00"


def test_frames_that_begin_behind_a_head() -> None:
    head, data = b"HTTP/1.1 101 Switching Protocols\r\n\r\n", frame(TEXT, b"x" * 100)
    for sent in (0, 5, len(head)):
        backlog = Backlog(head + data, sent, len(head))
        backlog.interject(b"\x89\x00")
        assert b"".join(backlog.rest()) == head[sent:] + b"\x89\x00" + data


def test_the_newest_of_a_kind_is_enough() -> None:
    backlog = Backlog(frame(TEXT, b"x" * 100), 5, 0)
    for number in range(10):
        backlog.interject(frame(PONG, b"%d" % number))
        backlog.interject(frame(PING, b"p"))
    assert backlog.size == 97 + 3 + 3
    assert b"".join(backlog.rest()).endswith(b"\x8a\x019\x89\x01p")


@given(st.data())
def test_whatever_comes_between_all_frames_stay_whole(data: st.DataObject) -> None:
    sizes = st.lists(st.sampled_from([0, 1, 125, 126, 70_000, PIECE, 300_000]), min_size=1)
    written = b"".join(
        message_frames(TEXT, bytes(size), 100_000) for size in data.draw(sizes, "sizes")
    )
    sent = data.draw(st.integers(0, len(written) - 1), "sent")
    backlog = Backlog(written, sent, 0)
    out = [written[:sent]]
    added, controls = b"", 0
    while backlog:
        match data.draw(st.integers(0, 5), "next"):
            case 0 if controls < 20:
                backlog.interject(frame(PING, b"%d" % controls))
                controls += 1
            case 1 if len(added) < 1000:
                backlog.put(frame(TEXT, b"behind"))
                added += frame(TEXT, b"behind")
            case _:
                out.append(bytes(backlog.take()))
    frames = split_frames(b"".join(out))
    assert [one for one in frames if one.opcode != PING] == split_frames(written + added)
    pings = [one for one in frames if one.opcode == PING]
    assert pings == sorted(pings, key=lambda ping: int(ping.payload))
    assert len(pings) <= controls
    assert not controls or pings[-1:] == [ServerFrame(PING, b"%d" % (controls - 1))]
