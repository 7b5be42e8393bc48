"""A connection over a transport and a clock that the test moves."""

from __future__ import annotations

import pytest

from tests.server.one_connection import LATE, World, ok
from tests.server.stub_app import (
    HOST,
    LIMITS,
    Answer,
    StubApp,
    answers_of,
    get,
    post,
)
from tidewire.model import NotFound
from tidewire.server.connection import LINGER_SECONDS, MAX_PIPELINED

# One request after the other


def test_a_request_is_answered_and_the_connection_stays(world: World) -> None:
    world.send(get(b"/a"))
    assert world.answers() == [ok(b"/a")]
    world.send(post(b"/b", b"!"))
    assert world.answers() == [ok(b"/b!")]
    assert not world.closed()


def test_a_pipeline_is_answered_in_order(world: World) -> None:
    world.send(get(b"/1") + post(b"/2", b"x") + get(b"/3"))
    assert world.answers() == [ok(b"/1"), ok(b"/2x"), ok(b"/3")]


def test_what_is_behind_a_pending_answer_waits(world: World) -> None:
    world.send(get(b"/1") + get(b"/later/2") + get(b"/3"), get(b"/4"), get(b"/later/5"), get(b"/6"))
    assert world.answers() == [ok(b"/1")]
    assert world.app.handled == [b"/1", b"/later/2"]
    world.respond(b"two")
    assert world.answers() == [ok(b"two"), ok(b"/3"), ok(b"/4")]
    assert world.app.handled[-1] == b"/later/5"
    world.respond(b"five")
    assert world.answers() == [ok(b"five"), ok(b"/6")]


def test_equal_heads_that_wait_keep_their_bodies(world: World) -> None:
    bodies = [b"one", b"two", b"six", b"ten"]
    world.send(*(post(b"/later", body) for body in bodies))
    for body in bodies:
        world.respond(body)
    assert world.app.handled == [b"/later" + body for body in bodies]
    assert world.answers() == [ok(body) for body in bodies]


def test_reading_stops_while_many_wait(world: World) -> None:
    world.send(get(b"/later"))
    world.send(*[get(b"/n")] * (MAX_PIPELINED - 1))
    assert world.reads()
    world.send(get(b"/n"))
    assert not world.reads()
    world.respond(b"first")
    assert len(world.answers()) == MAX_PIPELINED + 1
    assert world.reads()


def test_head_gets_no_body(world: World) -> None:
    world.send(b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n")
    data = world.read()
    assert b"Content-Length: 2\r\n" in data
    assert data.endswith(b"\r\n\r\n")


def test_a_second_answer_is_dropped(world: World) -> None:
    world.send(get(b"/a"))
    world.read()
    world.respond(b"again")
    assert world.read() == b""


def test_ready_made_bytes_are_an_answer(world: World) -> None:
    world.send(get(b"/later/1") + get(b"/2"))
    world.connection.respond_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready")
    assert world.answers() == [ok(b"ready"), ok(b"/2")]


def test_an_error_is_a_problem_document(world: World) -> None:
    world.send(get(b"/later/1") + get(b"/2"))
    world.connection.respond_error(NotFound("no such thing"))
    first, second = world.answers()
    assert first.status == 404
    assert b"no such thing" in first.body
    assert second == ok(b"/2")


@pytest.mark.parametrize(
    "request_bytes",
    [get(b"/a", b"Connection: close"), b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"],
    ids=["close", "HTTP/1.0"],
)
def test_the_last_answer_closes(world: World, request_bytes: bytes) -> None:
    world.send(request_bytes + get(b"/b"))
    assert world.answers() == [ok(b"/a", last=True)]
    assert world.closed()
    assert world.app.handled == [b"/a"]


# Requests that cannot be read


def test_a_bad_request_is_answered_and_the_rest_thrown_away(world: World) -> None:
    world.send(get(b"/a") + b"nonsense\r\n\r\n" + get(b"/b"))
    first, second = world.answers()
    assert first == ok(b"/a")
    assert (second.status, second.last) == (400, True)
    assert world.lingers()
    world.send(get(b"/c"))
    assert world.read() == b""
    assert world.app.handled == [b"/a"]
    world.end()
    assert world.closed()


def test_who_does_not_close_after_a_bad_request_is_closed(world: World) -> None:
    world.send(b"nonsense\r\n\r\n")
    world.advance(LINGER_SECONDS - 0.2)
    assert world.lingers()
    world.advance(0.2 + LATE)
    assert world.closed()
    assert not world.cut()


def test_who_sends_without_end_after_a_bad_request_is_cut(world: World) -> None:
    world.send(b"nonsense\r\n\r\n")
    sent = 0
    while not world.cut():
        world.send(b"x" * (1 << 20))
        assert world.cut() or not world.reads()  # others have their turns between
        world.advance(0)
        sent += 1
        assert sent <= 17


def test_what_came_before_a_bad_request_is_answered_first(world: World) -> None:
    world.send(get(b"/later") + get(b"/b"), b"nonsense\r\n\r\n", get(b"/c"))
    assert world.read() == b""
    assert not world.transport.ended
    world.respond(b"late")
    first, second, third = world.answers()
    assert (first, second) == (ok(b"late"), ok(b"/b"))
    assert (third.status, third.last) == (400, True)
    assert world.lingers()
    assert world.app.handled == [b"/later", b"/b"]


def test_a_body_over_its_limit_is_refused_before_it_comes(world: World) -> None:
    world.send(post(b"/a", b"")[:-2].replace(b": 0", b": 200001") + b"Expect: 100-continue\r\n\r\n")
    (answer,) = world.answers()
    assert (answer.status, answer.last) == (413, True)
    assert world.lingers()
    assert world.app.refusals == ["body_size"]


# 100 (Continue)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTING = post(b"/b", b"body", b"Expect: 100-continue")


def test_a_client_that_waits_is_told_to_go_on_once(world: World) -> None:
    world.send(EXPECTING[:-4])
    assert world.read() == CONTINUE
    world.send(b"bo")
    assert world.read() == b""
    world.send(b"dy")
    assert world.answers() == [ok(b"/bbody")]


def test_it_is_told_when_its_turn_has_come(world: World) -> None:
    world.send(get(b"/later"), EXPECTING[:-4])
    assert world.read() == b""
    world.respond(b"late")
    data = world.read()
    assert data.endswith(CONTINUE)
    assert answers_of(data.removesuffix(CONTINUE)) == [ok(b"late")]
    world.send(b"body")
    assert world.answers() == [ok(b"/bbody")]


# Time


def test_a_client_that_sends_nothing_is_closed(world: World) -> None:
    world.advance(LIMITS.head_timeout - 0.1)
    assert not world.closed()
    world.advance(0.1 + LATE)
    assert world.closed()
    assert world.read() == b""


def test_a_head_must_come_in_time(world: World) -> None:
    world.send(get(b"/a"))
    world.advance(30)  # between requests it may be silent
    world.answers()
    for byte in b"GET /slow HTTP/1.1\r\nX: "[:20]:  # a byte now and then wins no time
        world.send(bytes([byte]))
        world.advance(LIMITS.head_timeout / 21)
        assert world.read() == b""
    world.advance(LIMITS.head_timeout / 21 + LATE)
    (answer,) = world.answers()
    assert (answer.status, answer.last) == (408, True)
    assert world.lingers()
    assert world.app.refusals == ["slow_head"]


def test_a_body_has_a_time_of_its_own(world: World) -> None:
    request = post(b"/b", b"body")
    world.send(request[:10])
    world.advance(LIMITS.head_timeout - 1)
    world.send(request[10:-4])
    world.advance(LIMITS.body_timeout - 1)
    world.send(b"bod")
    assert world.read() == b""
    world.advance(1 + LATE)
    (answer,) = world.answers()
    assert (answer.status, answer.last) == (408, True)
    assert b"body" in answer.body
    assert world.app.refusals == ["slow_body"]


def test_reads_that_all_end_within_a_head_are_not_one_slow_head(world: World) -> None:
    request = get(b"/a")
    world.send(request[:9])
    for _ in range(30):
        world.advance(1)
        world.send(request[9:] + request[:9])
        assert world.answers() == [ok(b"/a")]
    world.advance(LIMITS.head_timeout + LATE)
    assert [answer.status for answer in world.answers()] == [408]


def test_the_time_of_a_request_begins_when_those_before_are_answered(world: World) -> None:
    world.send(get(b"/later"), get(b"/b")[:9])
    world.advance(500)
    world.respond(b"late")
    assert world.answers() == [ok(b"late")]
    world.advance(LIMITS.head_timeout - 0.1)
    assert world.read() == b""
    world.advance(0.1 + LATE)
    assert [answer.status for answer in world.answers()] == [408]


def test_an_idle_connection_is_closed(world: World) -> None:
    world.send(get(b"/a"))
    world.answers()
    for _ in range(5):  # each request gives it the time again
        world.advance(LIMITS.keepalive_timeout - 1)
        world.send(get(b"/a"))
        assert world.answers() == [ok(b"/a")]
    world.advance(2 * LIMITS.keepalive_timeout + LATE)
    assert world.closed()
    assert world.read() == b""


def test_an_answer_in_the_making_has_time(world: World) -> None:
    world.send(get(b"/later"))
    world.advance(10_000)
    assert not world.closed()
    world.respond(b"late")
    assert world.answers() == [ok(b"late")]
    world.advance(2 * LIMITS.keepalive_timeout + LATE)
    assert world.closed()


def test_a_pending_answer_is_asked_when_it_says(world: World) -> None:
    world.send(get(b"/hold") + get(b"/b"))
    pending = world.app.pending
    assert pending is not None
    world.advance(5 + LATE)
    assert pending.told == ["timer"]
    pending.next_timer = 0
    world.advance(5 + LATE)
    assert pending.told == ["timer", "timer"]
    assert [answer.status for answer in world.answers()] == [204, 200]
    world.advance(20)
    assert pending.told == ["timer", "timer"]


# The client leaves


@pytest.mark.parametrize("sent", [b"", b"GET /a", get(b"/a"), get(b"/hold"), get(b"/stream")])
def test_a_client_that_closes_its_side_is_closed(world: World, sent: bytes) -> None:
    if sent:
        world.send(sent)
    world.end()
    assert world.closed()


def test_a_half_closed_client_still_gets_its_answers(world: World) -> None:
    world.send(get(b"/later") + get(b"/b") + get(b"/c"))
    world.end()
    assert not world.closed()
    world.respond(b"late")
    assert world.answers() == [ok(b"late"), ok(b"/b"), ok(b"/c", last=True)]
    assert world.closed()


def test_a_lost_connection_leaves_nothing_behind(world: World) -> None:
    world.send(get(b"/hold") + get(b"/b"))
    pending = world.app.pending
    world.lose()
    assert pending is not None
    assert pending.told == ["lost"]
    assert world.app.connections == []
    world.respond(b"nobody")
    assert world.read() == b""
    assert world.app.handled == [b"/hold"]
    world.advance(1_000)
    assert pending.told == ["lost"]
    assert world.app.clock.idle()


# Streams


def test_a_stream_gets_all_that_follows(world: World) -> None:
    upgrade = get(b"/stream", b"Connection: Upgrade", b"Upgrade: websocket")
    world.send(upgrade + b"frames", b"more")
    stream = world.app.stream
    assert stream is not None
    assert stream.received == b"framesmore"
    assert world.read() == b"head;"
    world.advance(5 + LATE)
    world.advance(5 + LATE)
    assert stream.told == ["timer", "timer"]
    world.lose()
    assert stream.told == ["timer", "timer", "lost"]


def test_requests_behind_a_stream_are_not_handled(world: World) -> None:
    world.send(get(b"/stream") + get(b"/b"), get(b"/c"))
    assert world.app.handled == [b"/stream"]
    assert world.read() == b"head;"


@pytest.mark.parametrize("behind", [b"nonsense\r\n\r\n", b"GET /b HT", post(b"/b", b"x")[:-1]])
def test_what_is_behind_a_stream_does_not_touch_it(world: World, behind: bytes) -> None:
    world.send(get(b"/stream") + behind, behind)
    world.advance(LIMITS.body_timeout + LATE)
    assert world.read() == b"head;"
    assert not world.transport.ended
    assert not world.closed()


def test_bytes_behind_a_refused_upgrade_are_never_read(world: World) -> None:
    upgrade = get(b"/a", b"Connection: Upgrade", b"Upgrade: other")
    world.send(upgrade + get(b"/smuggled"))
    assert world.answers() == [ok(b"/a", last=True)]
    assert world.closed()
    assert world.app.handled == [b"/a"]


def test_nor_those_that_come_while_the_refusal_is_made(world: World) -> None:
    world.send(get(b"/later", b"Connection: Upgrade", b"Upgrade: other"), get(b"/smuggled"))
    world.respond(b"no")
    assert world.answers() == [ok(b"no", last=True)]
    assert world.closed()
    assert world.app.handled == [b"/later"]


# Draining


def test_an_idle_connection_is_drained_at_once(world: World) -> None:
    world.send(get(b"/a"))
    assert not world.connection.drain()
    assert world.closed()


def test_an_answer_in_the_making_is_the_last(world: World) -> None:
    world.send(get(b"/later") + get(b"/b"))
    world.connection.drain()
    assert not world.closed()
    world.respond(b"late")
    assert world.answers() == [ok(b"late", last=True)]
    assert world.closed()
    assert world.app.handled == [b"/later"]


def test_a_held_answer_is_given_when_its_turn_has_come(world: World) -> None:
    world.send(get(b"/hold"))
    assert world.connection.drain()
    assert world.answers() == []
    world.connection.send_away(5_000)
    assert world.answers() == [Answer(204, b"", True)]
    assert world.closed()


def test_a_stream_says_goodbye(world: World) -> None:
    world.send(get(b"/stream"))
    assert world.connection.drain()
    assert world.read() == b"head;"
    world.connection.send_away(5_000)
    assert world.read() == b"bye"
    assert world.closed()


def test_a_lingering_connection_is_closed(world: World) -> None:
    world.send(b"nonsense\r\n\r\n")
    assert world.connection.drain()
    world.connection.send_away(5_000)
    assert world.closed()


def test_a_connection_made_while_draining_has_one_answer() -> None:
    app = StubApp()
    app.draining = True
    world = World(app)
    world.send(get(b"/a"))
    assert world.answers() == [ok(b"/a", last=True)]
    assert world.closed()


def test_one_too_many_is_marked_as_refused() -> None:
    app = StubApp()
    first = World(app)
    app.full = True
    assert not first.connection.refused
    assert World(app).connection.refused
