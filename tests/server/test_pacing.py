"""A WebSocket whose client takes a large message slowly: what gets through meanwhile, and back."""

from __future__ import annotations

import pytest

from tests.server.one_connection import LATE, World, ok
from tests.server.stub_app import STALL_TIMEOUT, Stream, get
from tests.transports.frames import PING, PONG, TEXT, ServerFrame, split_frames
from tidewire.server.backlog import PIECE
from tidewire.server.connection import MOST_BEHIND, PIECES_A_TURN
from tidewire.transports.framing import frame, message_frames

LARGE = message_frames(TEXT, b"x" * 1_000_000, 32 << 10)


def slow(world: World) -> Stream:
    """A stream of frames whose client took nothing of a large message yet."""
    world.send(get(b"/frames"))
    assert world.read() == b"head;"
    world.transport.takes = False
    assert not world.connection.write(LARGE)
    assert world.app.stream is not None
    return world.app.stream


def take_all(world: World) -> bytes:
    """Let the client take all there is; return it."""
    while world.behind():
        world.transport.take()
    return world.read()


def test_the_transport_gets_a_piece_at_a_time(world: World) -> None:
    stream = slow(world)
    assert len(world.transport.buffer) == PIECE
    world.transport.take(PIECE - 1)
    assert len(world.transport.buffer) == 1
    world.transport.take()
    assert len(world.transport.buffer) == PIECE
    assert stream.told == []
    assert take_all(world) == LARGE
    assert stream.told == ["resume"]


def test_pings_and_pongs_overtake_the_rest(world: World) -> None:
    slow(world)
    world.connection.interject(frame(PONG, b"you"))
    assert not world.connection.write(frame(TEXT, b"answer"))
    world.transport.take()
    world.connection.interject(frame(PING, b"me"))
    frames = split_frames(take_all(world))
    places = [index for index, one in enumerate(frames) if one.opcode in (PING, PONG)]
    assert [frames[place].payload for place in places] == [b"you", b"me"]
    assert places[0] == -(-PIECE // (32 << 10))  # behind the frame that was under way
    assert places[1] < 12
    assert frames[-1] == ServerFrame(TEXT, b"answer")
    assert b"".join(f.payload for f in frames[:-1] if f.opcode < 8) == b"x" * 1_000_000


def test_the_client_is_heard_meanwhile(world: World) -> None:
    stream = slow(world)
    assert world.reads()
    world.send(b"ping")
    assert stream.received == b"ping"


def test_but_not_while_many_answers_wait(world: World) -> None:
    slow(world)
    answer = frame(TEXT, b"a" * 1000)
    for _ in range(MOST_BEHIND // len(answer)):
        world.connection.write(answer)
    assert world.reads()
    world.connection.write(answer)
    assert not world.reads()
    take_all(world)
    assert world.reads()


def test_timers_run_meanwhile(world: World) -> None:
    stream = slow(world)
    world.advance(LATE)
    assert stream.told == ["timer"]  # which tells when it is due
    world.advance(5 + LATE)
    assert stream.told == ["timer"] * 2
    for _ in range(20):
        world.transport.take(1)
        world.advance(STALL_TIMEOUT / 2)
    assert not world.cut()
    assert len(stream.told) > 30


def test_a_client_that_takes_nothing_is_cut_all_the_same(world: World) -> None:
    slow(world)
    for _ in range(int(STALL_TIMEOUT)):
        world.connection.interject(frame(PING, b"p"))
        world.connection.write(frame(TEXT, b"answer"))
        world.advance(1)
    world.advance(5 + LATE)
    assert world.cut()
    assert world.app.stalled == 1


def test_answers_added_do_not_hide_that_the_client_takes_some(world: World) -> None:
    slow(world)
    for _ in range(int(STALL_TIMEOUT) * 2):
        world.connection.write(frame(TEXT, b"answer" * 20))
        world.transport.take(10)
        world.advance(1)
    assert not world.cut()


def test_a_client_that_takes_it_after_all(world: World) -> None:
    stream = slow(world)
    world.connection.write(LARGE)
    world.transport.takes = True
    world.transport.take()
    assert len(world.read()) <= PIECE * (PIECES_A_TURN + 1)
    assert stream.told == []
    world.advance(0.001)
    assert not world.behind()
    assert stream.told == ["resume"]


def test_close_leaves_nothing_behind(world: World) -> None:
    slow(world)
    world.connection.write(frame(TEXT, b"last"))
    world.connection.close()
    assert world.closed()
    world.transport.take()
    assert world.read() == LARGE + frame(TEXT, b"last")


def test_the_last_word_comes_behind_all_the_rest(world: World) -> None:
    slow(world)
    world.connection.write(frame(TEXT, b"last"))
    world.connection.linger()
    assert world.lingers()
    world.transport.take()
    assert world.read() == LARGE + frame(TEXT, b"last")
    world.advance(5)
    assert world.closed()


@pytest.mark.parametrize("end", ["lose", "abort"])
def test_nothing_is_written_to_a_connection_that_is_gone(world: World, end: str) -> None:
    slow(world)
    if end == "lose":
        world.lose()
    else:
        world.connection.abort()
    world.connection.write(frame(TEXT, b"late"))
    world.connection.interject(frame(PING, b""))
    world.connection.resume_writing()
    world.advance(1)
    assert len(world.transport.buffer) == PIECE


def test_other_streams_are_left_to_the_transport(world: World) -> None:
    world.send(get(b"/stream"))
    world.transport.takes = False
    world.connection.write(LARGE)
    assert len(world.transport.buffer) == len(LARGE)
    assert not world.reads()


@pytest.mark.parametrize("takes", [True, False])
def test_a_large_answer_of_http(world: World, takes: bool) -> None:
    world.transport.takes = takes
    world.send(get(b"/later") + get(b"/next"))
    body = bytes(300_000)
    world.respond(body)
    world.transport.takes = True
    while world.behind():
        world.transport.take()
    assert world.answers() == [ok(body), ok(b"/next")]
