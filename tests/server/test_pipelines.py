"""Requests in pipelines, whatever the client's pace: each answered once, in order, as if alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.one_connection import LATE, World, ok
from tests.server.stub_app import HOST, Answer, StubApp, get, post
from tidewire.server.turns import Turns

if TYPE_CHECKING:
    from tests.server.conftest import Server

GARBAGE = b"\x00\x01 no HTTP at all\r\n\r\n"


# Behind a stream


def test_bytes_behind_a_stream_do_not_touch_it(world: World) -> None:
    world.send(get(b"/stream") + GARBAGE, GARBAGE)
    stream = world.app.stream
    assert world.connection.stream is stream
    assert world.read() == b"head;"
    assert not world.lingers()
    world.advance(5 + LATE)
    assert stream is not None
    assert stream.told == ["timer"]
    world.lose()
    assert stream.told == ["timer", "lost"]


def test_many_requests_behind_a_stream_do_not_stop_it_reading(world: World) -> None:
    """It would never learn that its client has closed."""
    world.send(get(b"/stream") + get(b"/n") * 200)
    assert world.reads()
    assert world.app.handled == [b"/stream"]


def test_a_half_request_behind_a_stream_is_not_waited_for(world: World) -> None:
    world.send(get(b"/stream") + b"GET /half")
    world.advance(60)
    assert not world.closed()
    assert world.read() == b"head;"


def test_bytes_behind_an_event_stream_harm_nobody(app_server: Server) -> None:
    """One client's garbage must not end what others are sent."""
    before = app_server.client()
    before.send("/sse?channels=news")
    odd = app_server.client()
    odd.connection.data_received(
        b"GET /sse?channels=news HTTP/1.1\r\nHost: localhost\r\n\r\n" + GARBAGE
    )
    after = app_server.client()
    after.send("/sse?channels=news")
    for client in (before, odd, after):
        client.read()
    app_server.publish("news", b'"hello"')
    for client in (before, odd, after):
        assert b'"data":"hello"' in client.read()
    odd.leave()
    app_server.publish("news", b'"again"')
    assert b'"again"' in after.read()
    assert odd.read() == b""


# A client that does not take its answers


def test_no_answer_is_made_for_a_client_that_takes_none(world: World) -> None:
    """One read can hold thousands of requests, each for a page of history."""
    world.transport.takes = False
    world.send(get(b"/a") * 1_000)
    assert world.app.handled == [b"/a"]
    assert not world.reads()
    world.transport.take()
    assert world.app.handled == [b"/a"] * 2
    assert not world.reads()
    world.transport.takes = True
    world.transport.take()
    world.advance(0)
    assert world.answers() == [ok(b"/a")] * 1_000
    assert world.reads()


# Very many requests at once


def test_a_few_are_answered_and_the_rest_in_turns(world: World) -> None:
    world.send(get(b"/a") * 1_000)
    assert 0 < len(world.app.handled) < 100
    assert not world.reads()
    world.advance(0)
    assert world.answers() == [ok(b"/a")] * 1_000
    assert world.reads()


def test_turns_go_round() -> None:
    app = StubApp()
    first, second = World(app), World(app)
    for number, world in enumerate((first, second)):
        world.send(get(b"/%d" % number) * 1_000)
    app.turns.run_one()
    app.turns.run_one()
    app.turns.run_one()
    counts = [app.handled.count(b"/0"), app.handled.count(b"/1")]
    assert all(0 < count < 300 for count in counts), counts
    app.clock.advance(0)
    assert first.answers() == [ok(b"/0")] * 1_000
    assert second.answers() == [ok(b"/1")] * 1_000


def test_a_turn_waits_for_an_answer(world: World) -> None:
    world.send(get(b"/1") + get(b"/later") + get(b"/2") * 500)
    world.advance(0)
    assert world.app.handled == [b"/1", b"/later"]
    assert not world.reads()
    world.respond(b"at last")
    world.advance(0)
    assert world.answers() == [ok(b"/1"), ok(b"at last"), *[ok(b"/2")] * 500]
    assert world.reads()


def test_a_bad_request_behind_very_many_is_told_last(world: World) -> None:
    world.send(get(b"/a") * 500 + GARBAGE)
    assert not world.lingers()
    world.advance(0)
    *answers, last = world.answers()
    assert answers == [ok(b"/a")] * 500
    assert last.status == 400
    assert world.lingers()
    assert world.reads()


def test_a_stream_behind_very_many_requests(world: World) -> None:
    world.send(get(b"/a") * 500 + get(b"/stream") + get(b"/b") * 500)
    world.advance(0)
    assert world.app.handled == [b"/a"] * 500 + [b"/stream"]
    assert world.connection.stream is world.app.stream
    assert world.reads()


def test_who_leaves_before_its_turn_has_none(world: World) -> None:
    world.send(get(b"/a") * 500)
    handled = len(world.app.handled)
    world.lose()
    world.advance(60)
    assert len(world.app.handled) == handled


def test_newcomers_of_one_moment_have_turns() -> None:
    app = StubApp()
    times = iter([0.0, 1.0, 1.0, 2.0, 2.0, 3.0, *[4.0] * 100])
    app.turns = Turns(app.loop, times.__next__)
    worlds = [World(app) for _ in range(3)]
    for number, world in enumerate(worlds):
        world.send(get(b"/%d" % number) + get(b"/again"))
    assert app.handled == [b"/0", b"/again"]
    app.clock.advance(0)
    for number, world in enumerate(worlds):
        assert world.answers() == [ok(b"/%d" % number), ok(b"/again")]
        assert world.reads()


def test_who_sends_much_is_a_newcomer_again() -> None:
    app = StubApp()
    app.turns = Turns(app.loop, itertools.count().__next__)  # each look takes a second
    first, second = World(app), World(app)
    body = b"x" * 10_000
    for world in (first, second):
        world.send(get(b"/a"))
        app.clock.advance(0)
        assert world.answers() == [ok(b"/a")]
    first.send(post(b"/b", body))
    second.send(post(b"/c", body))
    assert app.handled[2:] == [b"/b" + body]
    app.clock.advance(0)
    assert second.answers() == [ok(b"/c" + body)]


def test_the_last_request_ends_it(world: World) -> None:
    world.send(get(b"/a") * 100 + get(b"/b", b"Connection: close") + get(b"/c") * 100)
    world.advance(0)
    assert world.answers() == [*[ok(b"/a")] * 100, ok(b"/b", last=True)]
    assert world.closed()


def test_an_answer_that_comes_late_does_not_start_the_next(world: World) -> None:
    world.send(get(b"/later/1") + get(b"/2") + get(b"/3"))
    world.transport.takes = False
    world.respond(b"one")
    assert world.app.handled == [b"/later/1"]
    world.transport.takes = True
    world.transport.take()
    assert world.answers() == [ok(b"one"), ok(b"/2"), ok(b"/3")]


def test_a_bad_request_waits_for_those_before_it_to_be_taken(world: World) -> None:
    world.transport.takes = False
    world.send(get(b"/1") + get(b"/2") + GARBAGE)
    assert not world.lingers()
    world.transport.takes = True
    world.transport.take()
    answers = world.answers()
    assert answers[:2] == [ok(b"/1"), ok(b"/2")]
    assert (len(answers), answers[2].status, answers[2].last) == (3, 400, True)
    assert world.lingers()


def test_a_refused_upgrade_waits_for_those_before_it_to_be_taken(world: World) -> None:
    world.transport.takes = False
    world.send(get(b"/1") + get(b"/2", b"Connection: Upgrade", b"Upgrade: other") + get(b"/3"))
    assert not world.closed()
    world.transport.takes = True
    world.transport.take()
    assert world.answers() == [ok(b"/1"), ok(b"/2", last=True)]
    assert world.closed()
    assert world.app.handled == [b"/1", b"/2"]


def test_who_has_taken_its_answer_has_time_for_the_next_request(world: World) -> None:
    head = b"GET /2 HTTP/1.1\r\n" + HOST
    world.transport.takes = False
    world.send(get(b"/1") + head)
    world.advance(5)
    world.transport.takes = True
    world.transport.take()
    world.advance(9)
    assert world.answers() == [ok(b"/1")]
    world.send(b"\r\n")
    assert world.answers() == [ok(b"/2")]


def test_but_not_for_ever(world: World) -> None:
    world.transport.takes = False
    world.send(get(b"/1") + b"GET /2")
    world.transport.takes = True
    world.transport.take()
    world.advance(10 + LATE)
    answers = world.answers()
    assert [answer.status for answer in answers] == [200, 408]


def test_a_held_answer_keeps_its_time_when_the_one_before_is_taken(world: World) -> None:
    world.send(get(b"/later"))
    world.transport.takes = False
    world.respond(b"much")
    world.advance(3)
    world.transport.takes = True
    world.transport.take()
    world.send(get(b"/hold"))
    world.advance(5 + LATE)
    assert world.app.pending is not None
    assert world.app.pending.told == ["timer"]


def test_an_idle_connection_whose_answer_was_taken_late_is_closed_later(world: World) -> None:
    world.transport.takes = False
    world.send(get(b"/1"))
    world.advance(10)
    world.transport.takes = True
    world.transport.take()
    world.advance(59)
    assert not world.closed()
    world.advance(61 + LATE)
    assert world.closed()


# Anything in any pieces

CHUNKED = b"POST /c HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % HOST

REQUESTS = st.lists(
    st.sampled_from(
        [
            get(b"/a"),
            get(b"/b", b"X-One: 1"),
            post(b"/a", b"one"),
            post(b"/a", b"two"),
            post(b"/a", b"three"),
            post(b"/a", b""),
            get(b"/later/1"),
            post(b"/later", b"one"),
            post(b"/later", b"two"),
            CHUNKED,
            b"\r\n" + get(b"/a"),
        ]
    ),
    min_size=1,
    max_size=12,
)


def alone(request: bytes) -> list[Answer]:
    """The answer to *request* on a connection of its own."""
    world = World()
    world.send(request)
    answer_what_waits(world)
    return world.answers()


def answer_what_waits(world: World) -> None:
    """Answer the current request, if it is one to ``/later``."""
    current = world.connection.current
    if current is not None:
        world.respond(current.target + current.body)


def test_a_request_being_answered_keeps_its_body(world: World) -> None:
    # The next has the same head and a body of the same length: the reader's quick way.
    world.send(post(b"/later", b"one"))
    world.send(post(b"/later", b"two"))
    answer_what_waits(world)
    answer_what_waits(world)
    assert world.answers() == [ok(b"/laterone"), ok(b"/latertwo")]


@settings(max_examples=300)
@given(REQUESTS, st.data())
def test_each_request_is_answered_as_if_it_were_alone(
    requests: list[bytes], data: st.DataObject
) -> None:
    """In any pieces, repeated heads among them, however late the answers are made and taken."""
    stream = b"".join(requests)
    whole = data.draw(st.booleans(), label="each in a piece of its own")
    if whole:
        pieces = list(requests)
    else:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12), label="cuts"))
        pieces = [
            stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b
        ]
    world = World()
    while pieces:
        step = data.draw(st.sampled_from(["send", "send", "answer", "full", "take"]), label="step")
        if step == "send" and world.reads():
            world.send(pieces.pop(0))
        elif step == "answer":
            answer_what_waits(world)
        elif step == "full":
            world.transport.takes = False
        else:
            world.transport.takes = True
            world.transport.take()
    world.transport.takes = True
    world.transport.take()
    for _ in requests:
        answer_what_waits(world)
    expected = [answer for request in requests for answer in alone(request)]
    assert world.answers() == expected
    assert len(world.app.handled) == len(requests)
    assert world.reads()
