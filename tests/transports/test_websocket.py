"""A WebSocket on a real hub: the forms of its frames, heartbeats, and every way that it ends."""

from __future__ import annotations

import json

import pytest

from tests.transports.client import INTERVAL, RETRY, START, TIMEOUT, Client, ids, kinds
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
    server_frames,
    text,
)
from tests.transports.world import EPOCH, FIRST_ID, World, message
from tidewire.hub import State
from tidewire.model import Cursor, Draft, Message, Subscription
from tidewire.model.envelope import Ok
from tidewire.transports.frames import DEFLATE_FROM, Frames, frames_form
from tidewire.transports.websocket import Heartbeat

NEWS = Subscription(("news",))
ENVELOPE = (
    b'{"type":"message","id":"epoch1-1000000","channel":"news","seq":1,"time":1000,"data":%b}'
)


def client_of(world: World) -> Client:
    """A client of the channel "news" that has read everything."""
    client = Client(world, NEWS)
    client.take()
    return client


# The forms of messages


def form(*, batch: bool = False, raw: bool = False, window_bits: int = 0) -> Frames:
    """A form of its own."""
    return Frames(batch=batch, raw=raw, window_bits=window_bits)


def three() -> list[Message]:
    """Messages of all kinds of data."""
    return [
        message(b'{"a": 1}'),
        message(b'"text \\"q\\"\\n"', id=FIRST_ID + 1),
        message(b'"AP8="', id=FIRST_ID + 2, binary=True),
    ]


def payloads(data: bytes) -> list[bytes]:
    """The payloads of plain text frames."""
    frames = server_frames(data)
    assert all(frame.opcode == TEXT and not frame.compressed for frame in frames)
    return [frame.payload for frame in frames]


def test_an_envelope_is_a_frame() -> None:
    assert payloads(form().messages([message(b"[1]")])) == [ENVELOPE % b"[1]"]
    messages = three()
    assert payloads(form().messages(messages)) == [one.envelope for one in messages]


def test_a_batch_is_a_frame_of_an_array() -> None:
    messages = three()
    (payload,) = payloads(form(batch=True).messages(messages))
    assert payload == b"[%b]" % b",".join([one.envelope for one in messages])
    assert payloads(form(batch=True).messages([message(b"1")])) == [b"[" + ENVELOPE % b"1" + b"]"]


def test_raw_is_the_data_alone() -> None:
    assert payloads(form(raw=True).messages(three())) == [b'{"a": 1}', b'text "q"\n', b"AP8="]


def test_a_raw_batch_is_an_array_of_data() -> None:
    (payload,) = payloads(form(raw=True, batch=True).messages(three()))
    assert payload == b'[{"a": 1},"text \\"q\\"\\n","AP8="]'


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("bits", [9, 15])
def test_what_is_worth_it_is_deflated(batch: bool, raw: bool, bits: int) -> None:
    for size in (1, 2000):
        data = b'"%b"' % (b"x" * size)
        plain = server_frames(form(batch=batch, raw=raw).messages([message(data)]))
        small = server_frames(
            form(batch=batch, raw=raw, window_bits=bits).messages([message(data)])
        )
        assert [frame.text for frame in small] == [frame.text for frame in plain]
        assert [frame.compressed for frame in small] == [size >= DEFLATE_FROM]
        assert size < DEFLATE_FROM or len(small[0].payload) < 200


@pytest.mark.parametrize("raw", [False, True])
def test_the_bytes_of_a_message_are_made_once(raw: bool) -> None:
    one, two = form(raw=raw), form(raw=raw, window_bits=15)
    sent = message(b'"%b"' % (b"x" * 1000))
    first, second = one.messages([sent]), two.messages([sent])
    assert first != second
    assert one.messages([sent]) is first
    assert two.messages([sent]) is second


def test_equal_connections_have_one_form() -> None:
    one = frames_form(batch=True, raw=False, window_bits=15)
    assert frames_form(batch=True, raw=False, window_bits=15) is one
    assert frames_form(batch=False, raw=False, window_bits=15) is not one
    assert frames_form(batch=True, raw=True, window_bits=15) is not one
    assert frames_form(batch=True, raw=False, window_bits=0) is not one


def test_control_envelopes() -> None:
    assert payloads(form(raw=True).control(Ok(5))) == [b'{"type":"ok","ref":5}']
    assert payloads(form(batch=True).control(Ok(5))) == [b'[{"type":"ok","ref":5}]']


def test_the_messages_of_a_round_are_one_batch(world: World) -> None:
    client = Client(world, NEWS, batch=True)
    ((ready,),) = client.take()
    assert ready["type"] == "ready"
    world.log.append([Draft("news", b"1"), Draft("news", b"2")])
    world.turn()
    (batch,) = client.take()
    assert [item["data"] for item in batch] == [1, 2]
    assert client.ask({"type": "ping", "ref": 1}) == [[{"type": "ok", "ref": 1}]]


def test_a_large_message_is_the_same_bytes_for_all_who_come_back(world: World) -> None:
    world.publish(data=b'"%b"' % (b"x" * 300_000))
    clients = [Client(world, Subscription(("news",), (Cursor(EPOCH, 0),))) for _ in range(2)]
    one, two = [client.wire.written[-1] for client in clients]
    assert one is two
    assert [kinds(client.take()) for client in clients] == [["ready", "message"]] * 2


def test_a_deflated_connection(world: World) -> None:
    client = Client(world, NEWS, window_bits=15)
    client.take()
    world.publish(data=b'"%b"' % (b"x" * 900))
    (frame,) = client.frames()
    assert frame.compressed
    assert json.loads(frame.text)["data"] == "x" * 900
    client.feed(client_frame(TEXT, deflated(b'{"type":"ping","ref":1}'), rsv=4))
    assert client.take() == [{"type": "ok", "ref": 1}]


def test_connections_share_their_bytes(world: World) -> None:
    clients = [client_of(world) for _ in range(3)]
    world.publish()
    first, *others = [client.wire.written[0] for client in clients]
    assert all(other is first for other in others)


# Pings


def test_pings_are_answered_in_their_order(world: World) -> None:
    client = client_of(world)
    client.feed(
        client_frame(PING, b"a"),
        text('{"type":"ping","ref":1}'),
        client_frame(PING, b"\xff" * 125),
        client_frame(PING),
    )
    assert client.frames() == [
        ServerFrame(PONG, b"a"),
        ServerFrame(TEXT, b'{"type":"ok","ref":1}'),
        ServerFrame(PONG, b"\xff" * 125),
        ServerFrame(PONG, b""),
    ]


def test_a_ping_between_the_fragments_of_a_command(world: World) -> None:
    client = client_of(world)
    client.feed(
        client_frame(TEXT, b'{"type":', fin=False),
        client_frame(PING, b"p"),
        client_frame(CONTINUATION, b'"ping"}'),
    )
    assert client.frames() == [ServerFrame(PONG, b"p"), ServerFrame(TEXT, b'{"type":"ok"}')]


def test_a_client_that_answers_is_pinged_at_the_interval(world: World) -> None:
    client = client_of(world)
    now, pinged = START, []
    for _ in range(9):
        now += client.stream.on_timer(now)
        if [frame.opcode for frame in client.frames()] == [PING]:
            pinged.append(now - START)
            client.feed(client_frame(PONG))
    # Each is noted when the time for its pong has begun: on_timer said to come back at its end.
    assert [at - TIMEOUT for at in pinged] == [INTERVAL, 2 * INTERVAL, 3 * INTERVAL, 4 * INTERVAL]
    assert client.live


@pytest.mark.parametrize("timeout", [25.0, 40.0])
def test_a_timeout_that_is_not_under_the_interval(world: World, timeout: float) -> None:
    client = Client(world, NEWS, heartbeat=Heartbeat(25.0, timeout))
    client.take()
    now = START + 25
    for _ in range(3):
        now += client.stream.on_timer(now)
        assert [frame.opcode for frame in client.frames()] == [PING]
        client.feed(client_frame(PONG))
    assert now == START + 25 + 3 * timeout
    assert client.live


def test_before_the_interval_there_is_nothing_to_do(world: World) -> None:
    client = client_of(world)
    assert client.stream.on_timer(START + 1) == INTERVAL - 1
    assert client.frames() == []


@pytest.mark.parametrize(
    "sign",
    [client_frame(PONG), client_frame(PONG, b"other"), client_frame(PING), text("{}"), b"\x81"],
)
def test_whatever_comes_shows_that_the_client_is_there(world: World, sign: bytes) -> None:
    client = client_of(world)
    due = START + INTERVAL
    assert client.stream.on_timer(due) == TIMEOUT
    client.feed(sign)
    client.wire.take()
    assert client.stream.on_timer(due + TIMEOUT) == INTERVAL - TIMEOUT
    assert client.frames() == []
    assert client.stream.on_timer(due + INTERVAL) == TIMEOUT
    assert [frame.opcode for frame in client.frames()] == [PING]


def test_a_slow_client_is_pinged_and_its_pong_may_be_late(world: World) -> None:
    client = client_of(world)
    client.wire.congested = True
    due = START + INTERVAL
    assert client.stream.on_timer(due) == INTERVAL
    assert client.stream.on_timer(due + INTERVAL) == INTERVAL
    # They overtake messages, so their pongs must not be taken for proof that those came.
    assert client.frames() == [ServerFrame(PING, b"")] * 2
    client.wire.congested = False
    assert client.stream.on_timer(due + INTERVAL * 2) == TIMEOUT
    assert client.live


def test_a_ping_from_before_the_client_was_slow_is_forgotten(world: World) -> None:
    client = client_of(world)
    due = START + INTERVAL
    assert client.stream.on_timer(due) == TIMEOUT
    client.wire.congested = True
    client.stream.on_timer(due + TIMEOUT)
    client.wire.congested = False
    assert client.stream.on_timer(due + INTERVAL) == TIMEOUT
    assert [frame.opcode for frame in client.frames()] == [PING] * 2
    assert client.live


def test_a_close_frame_that_is_not_out_yet_needs_no_answer(world: World) -> None:
    client = client_of(world)
    client.wire.congested = True
    client.stream.end(1012, "the server restarts", again=True)
    for now in range(10):
        assert client.stream.on_timer(START + now) == 2
    client.wire.congested = False
    assert client.stream.on_timer(START + 10) == 2
    assert client.stream.on_timer(START + 12) == 0
    assert client.wire.done == ["abort"]


def test_a_client_that_is_not_read_cannot_answer(world: World) -> None:
    client = client_of(world)
    due = START + INTERVAL
    client.stream.on_timer(due)
    client.wire.reading = False  # its pong waits behind what the disk must take
    assert client.stream.on_timer(due + TIMEOUT) == INTERVAL - TIMEOUT
    client.wire.reading = True
    client.stream.on_timer(due + INTERVAL)
    assert client.live
    client.stream.on_timer(due + INTERVAL + TIMEOUT)
    assert not client.live


def test_no_answer_to_a_ping(world: World) -> None:
    client = client_of(world)
    due = START + INTERVAL
    client.stream.on_timer(due)
    client.feed(client_frame(PONG))
    client.stream.on_timer(due + TIMEOUT)
    client.stream.on_timer(due + INTERVAL)
    assert [frame.opcode for frame in client.frames()] == [PING] * 2
    wait = client.stream.on_timer(due + INTERVAL + TIMEOUT)
    assert wait > 0
    assert client.frames() == [ServerFrame(CLOSE, b"\x11\x38no answer to a ping")]
    assert client.session.state is State.CLOSED
    assert client.wire.done == []
    world.publish()
    assert client.frames() == []
    assert client.stream.on_timer(due + INTERVAL + TIMEOUT + wait) == 0
    assert client.wire.done == ["abort"]


# The closing handshake


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"", b"\x03\xe8"),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x03\xe9going away", b"\x03\xe9"),
        (b"\x0f\xa0", b"\x0f\xa0"),
    ],
)
def test_the_client_closes(world: World, payload: bytes, answer: bytes) -> None:
    client = client_of(world)
    client.close(payload)
    assert client.frames() == [ServerFrame(CLOSE, answer)]
    assert client.wire.done == ["close"]
    assert client.session.state is State.CLOSED
    world.publish()  # FakeWire would object to a write
    client.feed(text('{"type":"ping"}'), client_frame(PING))


def test_what_the_client_sent_before_its_close_counts(world: World) -> None:
    client = client_of(world)
    client.feed(text('{"type":"publish","channel":"x","data":1}'), client_frame(CLOSE))
    ok, close = client.take()
    assert ok["type"] == "ok"
    assert close == ["close", 1000]


def test_the_server_drains(world: World) -> None:
    client = client_of(world)
    last = world.publish()
    client.take()
    client.stream.end(1012, "the server restarts", again=True)
    envelope, close = client.take()
    assert envelope == {
        "type": "close",
        "code": 1012,
        "reason": "the server restarts",
        "retry": RETRY,
    }
    assert close == ["close", 1012]
    assert client.wire.done == []
    assert client.session.state is State.CLOSED
    client.stream.end(1012, "the server restarts", again=True)
    client.feed(text('{"type":"publish","channel":"news","data":1}'), client_frame(PING))
    assert client.frames() == []
    assert world.do(world.log.head()) == last
    client.close(b"\x03\xf4")
    assert client.frames() == []  # the close was answered: there is no third
    assert client.wire.done == ["close"]


def test_a_client_that_does_not_answer_a_close(world: World) -> None:
    client = client_of(world)
    client.stream.end(1012, "the server restarts", again=True)
    assert client.stream.on_timer(START + 5) == 2  # perhaps it could be sent only now
    assert client.stream.on_timer(START + 6) == 1
    assert client.stream.on_timer(START + 7) == 0
    assert client.wire.done == ["abort"]


def test_a_batch_connection_drains(world: World) -> None:
    client = Client(world, NEWS, batch=True)
    client.take()
    client.stream.end(1012, "the server restarts", again=True)
    (envelope,), close = client.take()
    assert envelope["type"] == "close"
    assert close == ["close", 1012]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(TEXT, b"\xff"), 1007),
        (client_frame(TEXT, b"x", mask=None), 1002),
        (client_frame(0xB), 1002),
        (client_frame(TEXT, b"x" * 20_001), 1009),
        (client_frame(CLOSE, b"x"), 1002),
        (client_frame(CLOSE, b"\x03\xed"), 1002),
    ],
)
def test_what_breaks_the_protocol_ends_it(world: World, data: bytes, code: int) -> None:
    client = client_of(world)
    client.feed(data)
    assert client.take() == [["close", code]]
    assert client.wire.done == ["linger"]
    assert client.session.state is State.CLOSED
    client.feed(data)
    world.publish()


def test_what_came_before_it_is_carried_out(world: World) -> None:
    client = client_of(world)
    client.feed(text('{"type":"ping","ref":1}'), client_frame(0xB), text('{"type":"ping"}'))
    assert client.take() == [{"type": "ok", "ref": 1}, ["close", 1002]]


@pytest.mark.parametrize("fragmented", [False, True])
def test_binary_messages_are_refused(world: World, fragmented: bool) -> None:
    client = client_of(world)
    client.feed(client_frame(BINARY, b"{}", fin=not fragmented))
    if fragmented:
        assert client.take() == []
        client.feed(client_frame(CONTINUATION))
    client.feed(text('{"type":"ping"}'), client_frame(BINARY, b"{}"))
    assert client.take() == [["close", 1003]]
    assert client.wire.done == []
    client.close(b"\x03\xeb")
    assert client.wire.done == ["close"]


def test_what_follows_a_binary_message_in_the_same_piece_is_nothing(world: World) -> None:
    client = client_of(world)
    client.feed(
        client_frame(BINARY, b"x"),
        text('{"type":"publish","channel":"a","data":1}'),
        client_frame(PING),
        client_frame(CLOSE),
    )
    assert client.take() == [["close", 1003]]
    assert client.wire.done == ["close"]
    assert world.do(world.log.head()) == 0


def test_a_connection_that_is_lost(world: World) -> None:
    client = client_of(world)
    client.stream.lost()
    world.publish()
    assert client.frames() == []
    assert client.session.state is State.CLOSED


def test_a_publish_that_is_answered_after_the_close(world: World) -> None:
    client = client_of(world)
    world.engine.holds = True
    client.send({"type": "publish", "ref": 1, "channel": "x", "data": 1})
    client.close()
    assert client.take() == [["close", 1000]]
    world.engine.confirm()
    world.turn()  # FakeWire would object to the answer


# Slow clients


def test_a_slow_client_loses_nothing(world: World) -> None:
    client = client_of(world)
    client.wire.takes = False
    sent = [world.publish() for _ in range(4)]
    assert ids(client.take()) == sent[:1]
    assert not client.live
    client.wire.takes = True
    client.stream.resume()
    world.turn()
    assert ids(client.take()) == sent[1:]
    assert client.live


def test_a_client_that_was_too_slow_is_told(small_world: World) -> None:
    client = client_of(small_world)
    client.wire.takes = False
    sent = [small_world.publish() for _ in range(7)]
    client.take()
    small_world.forget()
    client.wire.takes = True
    client.stream.resume()
    small_world.turn()
    gap, *messages = client.take()
    assert (gap["type"], gap["reason"]) == ("gap", "slow")
    assert ids(messages) == sent[4:]


def test_a_client_that_drains_and_is_full_again(world: World) -> None:
    sent = [world.publish() for _ in range(3)]
    client = Client(world, Subscription(("news",), (Cursor(EPOCH, sent[0]),)))
    assert kinds(client.take()) == ["ready", "message", "message"]
    client.wire.takes = False
    first = world.publish()
    client.stream.resume()  # the wire has drained, and is full again at once
    later = world.publish()
    assert ids(client.take()) == [first, later]
