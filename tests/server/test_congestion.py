"""A connection whose client does not read, over a transport and a clock that the test moves."""

from __future__ import annotations

from tests.server.one_connection import LATE, World, ok
from tests.server.stub_app import (
    STALL_TIMEOUT,
    get,
)
from tidewire.server.connection import Connection

# A client that does not read


def congested(world: World) -> Connection:
    """Its connection, with a stream and bytes that wait."""
    world.send(get(b"/stream"))
    world.transport.takes = False
    assert not world.connection.write(b"x" * 100)
    return world.connection


def test_a_congested_connection_reads_nothing_until_all_is_out(world: World) -> None:
    connection = congested(world)
    assert world.behind()
    assert not world.reads()
    assert not connection.write(b"y")
    world.transport.take(50)
    assert world.behind()
    world.transport.takes = True
    world.transport.take()
    assert not world.behind()
    assert world.reads()
    assert world.app.stream is not None
    assert world.app.stream.told == ["resume"]
    assert world.read() == b"head;" + b"x" * 100 + b"y"


def test_each_reason_not_to_read_counts(world: World) -> None:
    connection = congested(world)
    connection.stop_reading(4)
    world.transport.take()
    assert not world.reads()
    connection.read_on(1)  # not its reason any more
    assert not world.reads()
    connection.read_on(4)
    assert world.reads()
    connection.read_on(4)
    assert world.reads()


def test_who_takes_no_answers_gets_no_more_made(world: World) -> None:
    world.transport.takes = False
    world.send(b"".join(get(b"/%d" % n) for n in range(100)))
    handled = len(world.app.handled)
    assert handled < 5
    world.transport.takes = True
    while world.behind() or not world.reads():
        world.transport.take()
        world.advance(0)
    assert [answer.body for answer in world.answers()] == [b"/%d" % n for n in range(100)]
    assert world.reads()
    world.send(get(b"/last"))
    assert world.answers() == [ok(b"/last")]


def test_a_bad_request_behind_answers_that_wait_is_told_last(world: World) -> None:
    world.transport.takes = False
    world.send(get(b"/1") + get(b"/2") + b"nonsense\r\n\r\n")
    world.transport.takes = True
    while world.behind():
        world.transport.take()
    assert [answer.status for answer in world.answers()] == [200, 200, 400]
    assert world.lingers()


def test_a_client_that_takes_nothing_is_cut(world: World) -> None:
    congested(world)
    world.advance(STALL_TIMEOUT - 1)
    assert not world.cut()
    world.advance(STALL_TIMEOUT / 4 + 1 + LATE)
    assert world.cut()
    assert world.app.stalled == 1


def test_nor_does_it_hold_up_a_close_for_ever(world: World) -> None:
    congested(world).close()
    world.advance(STALL_TIMEOUT / 4 + LATE)
    assert not world.cut()
    world.advance(STALL_TIMEOUT + LATE)
    assert world.cut()
    assert world.app.stalled == 1


def test_a_slow_client_that_takes_a_little_is_not(world: World) -> None:
    congested(world)
    for _ in range(90):
        world.advance(STALL_TIMEOUT / 2)
        world.transport.take(1)
    assert not world.cut()
    world.advance(STALL_TIMEOUT * 1.5 + LATE)
    assert world.cut()
    assert world.app.stalled == 1


def test_a_client_that_reads_again_gets_its_timers_back(world: World) -> None:
    congested(world)
    stream = world.app.stream
    assert stream is not None
    world.advance(STALL_TIMEOUT - 1)
    assert stream.told == []  # a heartbeat would only wait with the rest
    world.transport.takes = True
    world.transport.take()
    world.advance(LATE)
    assert stream.told == ["resume", "timer"]
    world.advance(STALL_TIMEOUT * 2)
    assert not world.cut()
    assert len(stream.told) > 5


def test_nothing_resumes_while_closing(world: World) -> None:
    connection = congested(world)
    connection.close()
    world.transport.take()
    assert world.app.stream is not None
    assert world.app.stream.told == []
    assert connection.fd == -1
