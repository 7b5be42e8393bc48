"""Server-sent events: the bytes, and what a browser's parser makes of them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.acceptance.eventsource import Event
from tests.acceptance.eventsource import EventStream as Browser
from tests.transports.world import EPOCH, FIRST_ID, FakeWire, World, message
from tidewire.hub import Session, State, Terms
from tidewire.model import Cursor, Message, Subscription
from tidewire.model.envelope import Close, Control, GapNotice, Ready
from tidewire.transports.sse import Events, EventStream, events_form

CURSOR = f"{EPOCH}-{FIRST_ID}"
ENVELOPE = (
    b'{"type":"message","id":"epoch1-1000000","channel":"news","seq":1,"time":1000,"data":%b}'
)

plain = Events(chunked=False, raw=False, retry=3000)
chunked = Events(chunked=True, raw=False, retry=3000)
raw = Events(chunked=False, raw=True, retry=3000)
unnamed = Events(chunked=False, raw=False, retry=3000, named=False)


def parsed(data: bytes) -> tuple[list[Event], int | None]:
    """Events and retry as a browser reads them, the same whole as byte by byte."""
    browser, slow = Browser(), Browser()
    events = browser.feed(data)
    assert [event for byte in data for event in slow.feed(bytes((byte,)))] == events
    return events, browser.retry_ms


def dechunked(data: bytes) -> list[bytes]:
    """The chunks of a body of HTTP/1.1."""
    chunks = []
    while data:
        match = re.match(rb"([0-9a-f]+)\r\n", data)
        assert match, data
        size, begin = int(match[1], 16), match.end()
        assert data[begin + size : begin + size + 2] == b"\r\n"
        chunks.append(data[begin : begin + size])
        data = data[begin + size + 2 :]
    return chunks


def check_profile(data: bytes) -> None:
    """The rules that keep common parsers right."""
    assert b"\r" not in data
    assert not data.startswith((b"\xef\xbb\xbf", b"\n"))
    assert data.endswith(b"\n\n")
    assert b"\n\n\n" not in data
    for block in data.removesuffix(b"\n\n").split(b"\n\n"):
        names = [line.partition(b":")[0] for line in block.split(b"\n")]
        assert names.count(b"id") == 1
        assert names[-1] == b"id"
        assert names.count(b"event") <= 1
        assert b"data" in names
        assert set(names) <= {b"event", b"id", b"retry", b"data"}
        assert all(b": " in line for line in block.split(b"\n"))
        id = re.search(rb"^id: (.*)$", block, re.MULTILINE)
        assert id
        assert re.fullmatch(rb"[A-Za-z0-9._:-]{1,128}", id[1])


# Messages


def test_a_message_byte_by_byte() -> None:
    assert plain.messages([message()]) == (
        b"data: " + ENVELOPE % b"1" + b"\nid: epoch1-1000000\n\n"
    )


def test_a_message_with_an_event_name() -> None:
    data = plain.messages([message(event="headline")])
    assert data.startswith(b"event: headline\ndata: {")
    check_profile(data)
    (event,), retry = parsed(data)
    assert (event.type, event.last_event_id, retry) == ("headline", CURSOR, None)
    assert json.loads(event.data)["event"] == "headline"


def test_a_message_without_an_event_name_comes_to_onmessage() -> None:
    (event,), _ = parsed(plain.messages([message()]))
    assert event.type == "message"


def test_a_message_without_its_name_comes_to_onmessage() -> None:
    data = unnamed.messages([message(event="headline")])
    check_profile(data)
    (event,), _ = parsed(data)
    assert (event.type, event.last_event_id) == ("message", CURSOR)
    assert json.loads(event.data)["event"] == "headline"
    assert plain.messages([message(event="headline")]) == b"event: headline\n" + data
    assert unnamed.messages([message()]) == plain.messages([message()])


def test_several_messages() -> None:
    messages = [message(b"%d" % n, id=FIRST_ID + n, seq=n + 1) for n in range(3)]
    data = plain.messages(messages)
    check_profile(data)
    events, _ = parsed(data)
    assert [json.loads(event.data)["data"] for event in events] == [0, 1, 2]
    assert [event.last_event_id for event in events] == [
        f"{EPOCH}-{FIRST_ID + n}" for n in range(3)
    ]


@pytest.mark.parametrize("size", [1, 10, 1000, 70_000])
def test_each_message_is_a_chunk(size: int) -> None:
    messages = [message(b'"' + b"x" * size + b'"'), message(b"2", id=FIRST_ID + 1)]
    whole = plain.messages(messages)
    messages = [message(b'"' + b"x" * size + b'"'), message(b"2", id=FIRST_ID + 1)]
    chunks = dechunked(chunked.messages(messages))
    assert len(chunks) == 2
    assert b"".join(chunks) == whole


def test_the_bytes_are_made_once_for_each_form() -> None:
    one = message()
    first = {form: form.messages([one]) for form in (plain, chunked, raw)}
    assert len(set(first.values())) == 3
    assert one.forms is not None
    for form, data in first.items():
        assert one.forms[form] == data
        assert form.messages([one]) == data


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(value=json_values, event=st.none() | st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_any_value_comes_through(value: object, event: str | None) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()
    event = event or None
    wire = plain.messages([message(data, event=event)])
    check_profile(wire)
    (got,), _ = parsed(wire)
    assert json.loads(got.data)["data"] == value
    assert got.type == (event or "message")


# Raw


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("hello", ["hello"]),
        ("", [""]),
        (" a leading space", [" a leading space"]),
        ("two\nlines", ["two", "lines"]),
        ("cr\rand\r\ncrlf", ["cr", "and", "crlf"]),
        ("\n", ["", ""]),
        ("end\n", ["end", ""]),
        ("a\n\nb", ["a", "", "b"]),
        ("not\u2028a\u2029line\x0bend\x0c\x85", ["not\u2028a\u2029line\x0bend\x0c\x85"]),
        ("id: x\n\ndata: y", ["id: x", "", "data: y"]),
    ],
)
def test_a_raw_string_is_its_text(text: str, lines: list[str]) -> None:
    wire = raw.messages([message(json.dumps(text).encode())])
    expected = b"".join(b"data: %b\n" % line.encode() for line in lines)
    assert wire == expected + b"id: epoch1-1000000\n\n"
    check_profile(wire)
    (event,), _ = parsed(wire)
    assert event == Event("message", "\n".join(lines), CURSOR)


@given(text=st.text())
def test_any_raw_string_comes_through(text: str) -> None:
    wire = raw.messages([message(json.dumps(text, ensure_ascii=False).encode())])
    check_profile(wire)
    (event,), _ = parsed(wire)
    assert event.data == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("data", [b"1", b"null", b"[1, 2]", b'{"a":"b\\nc"}', b"1.50"])
def test_other_raw_data_is_its_json(data: bytes) -> None:
    assert raw.messages([message(data)]) == b"data: %b\nid: epoch1-1000000\n\n" % data


def test_raw_binary_is_its_base64() -> None:
    wire = raw.messages([message(b'"AP8="', binary=True, event="image")])
    assert wire == b"event: image\ndata: AP8=\nid: epoch1-1000000\n\n"


# Control envelopes

CONTROLS: list[tuple[Control, str, int | None]] = [
    (Ready(CURSOR, "s", True, ("a", "b")), "tidewire.ready", 3000),
    (GapNotice(CURSOR, "a", "expired"), "tidewire.gap", None),
    (Close(1012, "the server restarts", 1234), "tidewire.close", 1234),
    (Close(4403, "not allowed"), "tidewire.close", None),
]


@pytest.mark.parametrize(("envelope", "name", "retry"), CONTROLS)
@pytest.mark.parametrize("form", [plain, raw])
def test_control_envelopes(envelope: Control, name: str, retry: int | None, form: Events) -> None:
    data = form.control(envelope, CURSOR)
    check_profile(data)
    (event,), told = parsed(data)
    assert (event.type, event.last_event_id, told) == (name, CURSOR, retry)
    assert json.loads(event.data)["type"] == name.removeprefix("tidewire.")
    assert data.count(b"\ndata: ") == 1
    assert dechunked(chunked.control(envelope, CURSOR)) == [data]


@pytest.mark.parametrize(("envelope", "name", "retry"), CONTROLS)
def test_control_envelopes_without_names(envelope: Control, name: str, retry: int | None) -> None:
    data = unnamed.control(envelope, CURSOR)
    check_profile(data)
    assert plain.control(envelope, CURSOR) == b"event: %b\n" % name.encode() + data
    (event,), told = parsed(data)
    assert (event.type, event.last_event_id, told) == ("message", CURSOR, retry)
    assert json.loads(event.data)["type"] == name.removeprefix("tidewire.")


def test_ready_byte_by_byte() -> None:
    assert plain.control(Ready(CURSOR, "s", False, ("news",)), CURSOR) == (
        b"event: tidewire.ready\nretry: 3000\n"
        b'data: {"type":"ready","id":"epoch1-1000000","session":"s","recovered":false,'
        b'"channels":["news"]}\nid: epoch1-1000000\n\n'
    )


def test_a_heartbeat_is_a_comment_without_a_blank_line() -> None:
    assert plain.heartbeat() == b":\n"
    assert chunked.heartbeat() == b"2\r\n:\n\r\n"
    assert parsed(plain.heartbeat()) == ([], None)
    between = plain.messages([message()]) + b":\n" + plain.messages([message(id=FIRST_ID + 1)])
    assert len(parsed(between)[0]) == 2


def test_the_end() -> None:
    assert plain.end() == b""
    assert chunked.end() == b"0\r\n\r\n"


def test_equal_streams_have_one_form() -> None:
    one = events_form(chunked=True, raw=False, retry=1)
    assert events_form(chunked=True, raw=False, retry=1) is one
    assert events_form(chunked=True, raw=False, retry=2) is not one
    assert events_form(chunked=False, raw=False, retry=1) is not one
    assert events_form(chunked=True, raw=True, retry=1) is not one
    other = events_form(chunked=True, raw=False, retry=1, named=False)
    assert other is not one
    assert events_form(chunked=True, raw=False, retry=1, named=False) is other


# A stream


def begin(
    world: World, wire: FakeWire, wanted: Subscription, *, form: Events = plain
) -> EventStream:
    """A stream that has sent its first page, as the server starts one."""
    session = Session(world.hub, wire, form, "s")
    opening = world.open(wanted)
    holding = world.sessions.hold(session, Terms("sse"), opening.start.after)
    stream = EventStream(wire, form, holding, heartbeat=15, now=100, retry=lambda: 777)
    taken = wire.write(session.begin(opening))
    session.go_on(more=opening.page.more, congested=not taken)
    world.turn()
    return stream


def ids(events: list[Event]) -> list[int]:
    """The ids in the cursors of *events*."""
    return [int(event.last_event_id.partition("-")[2]) for event in events]


def test_a_stream_from_its_beginning(world: World) -> None:
    wire = FakeWire()
    before = world.publish()
    begin(world, wire, Subscription(("news",)))
    after = [world.publish(), world.publish(data=b'"x"', event="e")]
    data = wire.take()
    check_profile(data)
    events, retry = parsed(data)
    assert [event.type for event in events] == ["tidewire.ready", "message", "e"]
    assert ids(events) == [before, *after]
    assert retry == 3000
    assert data.count(b"retry:") == 1


def test_a_stream_from_a_cursor(world: World) -> None:
    wire = FakeWire()
    sent = [world.publish() for _ in range(4)]
    begin(world, wire, Subscription(("news",), (Cursor(EPOCH, sent[1]),)))
    events, _ = parsed(wire.take())
    assert ids(events) == sent[1:]
    assert json.loads(events[0].data)["recovered"] is True


def test_a_gap_in_a_stream_without_names(small_world: World) -> None:
    wire = FakeWire()
    sent = [small_world.publish(event="e") for _ in range(6)]
    small_world.forget()
    begin(small_world, wire, Subscription(("news",), (Cursor(EPOCH, sent[0]),)), form=unnamed)
    data = wire.take()
    check_profile(data)
    events, _ = parsed(data)
    assert {event.type for event in events} == {"message"}
    types = [json.loads(event.data)["type"] for event in events]
    assert types == ["ready", "gap"] + ["message"] * 3
    assert ids(events) == [sent[0], *sent[2:]]


def test_a_gap_in_a_stream(small_world: World) -> None:
    wire = FakeWire()
    sent = [small_world.publish() for _ in range(6)]
    small_world.forget()
    begin(small_world, wire, Subscription(("news",), (Cursor(EPOCH, sent[0]),)))
    events, _ = parsed(wire.take())
    assert [event.type for event in events] == ["tidewire.ready", "tidewire.gap"] + ["message"] * 3
    assert ids(events) == [sent[0], *sent[2:]]
    assert json.loads(events[0].data)["recovered"] is False
    assert json.loads(events[1].data)["reason"] == "expired"


def test_heartbeats(world: World) -> None:
    wire = FakeWire()
    stream = begin(world, wire, Subscription(("news",)))
    wire.take()
    assert stream.on_timer(110) == 5
    assert wire.take() == b""
    assert stream.on_timer(115) == 15
    assert wire.take() == b":\n"
    assert stream.on_timer(140) == 15  # a late timer does not make up for what it missed
    assert wire.take() == b":\n"


def test_what_the_client_sends_is_of_no_meaning(world: World) -> None:
    wire = FakeWire()
    stream = begin(world, wire, Subscription(("news",)))
    wire.take()
    stream.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert wire.take() == b""
    assert stream.session.state is State.LIVE


@pytest.mark.parametrize("form", [plain, chunked])
def test_draining(world: World, form: Events) -> None:
    wire = FakeWire()
    stream = begin(world, wire, Subscription(("news",)), form=form)
    last = world.publish()
    wire.take()
    stream.end(1012, "the server restarts", again=True)
    data = wire.take()
    if form is chunked:
        body, end = dechunked(data)
        assert end == b""
    else:
        body = data
    check_profile(body)
    (event,), retry = parsed(body)
    assert (event.type, retry, ids([event])) == ("tidewire.close", 777, [last])
    assert json.loads(event.data) == {
        "type": "close",
        "code": 1012,
        "reason": "the server restarts",
        "retry": 777,
    }
    assert wire.done == ["close"]
    world.publish()  # FakeWire would object to a write now


def test_a_lost_stream_is_forgotten(world: World) -> None:
    wire = FakeWire()
    stream = begin(world, wire, Subscription(("news",)))
    wire.take()
    stream.lost()
    world.publish()
    assert wire.take() == b""
    assert stream.session.state is State.CLOSED


def test_a_slow_stream_loses_nothing(world: World) -> None:
    wire = FakeWire()
    stream = begin(world, wire, Subscription(("news",)))
    wire.take()
    wire.takes = False
    sent = [world.publish()]
    assert ids(parsed(wire.take())[0]) == sent
    later = [world.publish() for _ in range(3)]
    assert wire.take() == b""
    wire.takes = True
    stream.resume()
    world.turn()
    assert ids(parsed(wire.take())[0]) == later


def test_streams_share_their_bytes(world: World) -> None:
    wires = [FakeWire() for _ in range(3)]
    for wire in wires:
        begin(world, wire, Subscription(("news",)))
        wire.take()
    world.publish()
    first, *others = [wire.written[0] for wire in wires]
    assert all(other is first for other in others)


def test_events_without_names_are_made_only_when_somebody_asks_for_them(world: World) -> None:
    def made() -> set[object]:
        page = world.hub.recent.read({"news": 0}, world.hub.position, 10, 10_000)
        assert page is not None
        return set(page.messages[-1].forms or ())

    wires = {form: FakeWire() for form in (plain, unnamed)}
    begin(world, wires[plain], Subscription(("news",)))
    world.publish(event="e")
    assert made() == {plain}
    for _ in range(2):
        begin(world, wires[unnamed], Subscription(("news",)), form=unnamed)
    world.publish(event="e")
    assert made() == {plain, unnamed}
    one, other = wires[unnamed].written[-2:]
    assert one is other
    assert wires[plain].written[-1] == b"event: e\n" + one


def test_forms_are_forgotten_with_the_message() -> None:
    one: Message = message()
    plain.messages([one])
    one.forget_forms()
    assert one.forms is None
