"""Large envelopes in parts: on event streams, in polls, and as frames of a WebSocket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.acceptance.eventsource import EventStream as Browser
from tests.transports.client import Client
from tests.transports.frames import BINARY, CONTINUATION, TEXT, ServerFrame, inflated, split_frames
from tests.transports.test_sse import check_profile, dechunked
from tests.transports.world import EPOCH, FIRST_ID, World, message
from tidewire.model import Message, Subscription
from tidewire.model.payload import binary_data
from tidewire.transports.codecs import MSGPACK
from tidewire.transports.fragments import WHOLE, fragments_of
from tidewire.transports.frames import Frames
from tidewire.transports.framing import message_frames
from tidewire.transports.polling import poll_form
from tidewire.transports.sse import Events, events_form

CURSOR = f"{EPOCH}-{FIRST_ID}"
BEFORE = f"{EPOCH}-{FIRST_ID - 1}"
SIZE = 1024


def large(character: str = "x") -> Message:
    """A message whose envelope takes several parts."""
    return message(json.dumps(character * 2500, ensure_ascii=False).encode())


def whole_of(parts: list[Any]) -> Any:
    """The envelope of which these are the parts, checked as a client would."""
    assert [part["index"] for part in parts] == list(range(len(parts)))
    assert all(part["type"] == "fragment" for part in parts)
    assert {part["count"] for part in parts} == {len(parts)}
    assert {part["of"] for part in parts} == {CURSOR}
    assert ["id" in part for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1]["id"] == CURSOR
    return json.loads("".join(part["data"] for part in parts))


# The parts


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.integers(4, 50))
def test_the_parts_are_the_envelope(text: str, size: int) -> None:
    one = message(json.dumps(text, ensure_ascii=False).encode())
    parts = [json.loads(part) for part in fragments_of(one, size)]
    assert whole_of(parts) == json.loads(one.envelope)
    assert all(len(part["data"].encode()) <= size for part in parts)


def test_parts_are_as_large_as_they_may_be() -> None:
    parts = [json.loads(part) for part in fragments_of(large(), SIZE)]
    assert [len(part["data"]) for part in parts[:-1]] == [SIZE] * (len(parts) - 1)


def test_a_part_byte_by_byte() -> None:
    first, *_, last = fragments_of(message(b'"\xe2\x82\xac"'), 40)
    assert first == (
        b'{"type":"fragment","of":"epoch1-1000000","index":0,"count":3,'
        b'"data":"{\\"type\\":\\"message\\",\\"id\\":\\"epoch1-1000000\\","}'
    )
    assert last.startswith(
        b'{"type":"fragment","id":"epoch1-1000000","of":"epoch1-1000000","index":2,"count":3,'
    )


# Event streams


@pytest.mark.parametrize("character", ["x", "€", "\n"])
def test_events_of_parts(character: str) -> None:
    form = Events(chunked=False, raw=False, retry=1, fragment_size=SIZE)
    data = form.messages([large(character), message(id=FIRST_ID + 1)])
    check_profile(data)
    *parts, after = Browser().feed(data)
    assert {part.type for part in parts} == {"tidewire.fragment"}
    assert whole_of([json.loads(part.data) for part in parts])["data"] == character * 2500
    ids = [part.last_event_id for part in parts]
    assert ids == [BEFORE] * (len(parts) - 1) + [CURSOR]  # a cut resumes with the whole message
    assert after.type == "message"


def test_events_of_parts_without_names() -> None:
    plain = Events(chunked=False, raw=False, retry=1, fragment_size=SIZE)
    unnamed = Events(chunked=False, raw=False, retry=1, fragment_size=SIZE, named=False)
    data = unnamed.messages([large()])
    check_profile(data)
    assert data == plain.messages([large()]).replace(b"event: tidewire.fragment\n", b"")
    parts = Browser().feed(data)
    assert {part.type for part in parts} == {"message"}
    assert [part.last_event_id for part in parts] == [BEFORE] * (len(parts) - 1) + [CURSOR]


def test_each_part_is_a_chunk_of_its_own() -> None:
    plain = Events(chunked=False, raw=False, retry=1, fragment_size=SIZE)
    chunked = Events(chunked=True, raw=False, retry=1, fragment_size=SIZE)
    chunks = dechunked(chunked.messages([large()]))
    assert len(chunks) == len(fragments_of(large(), SIZE))
    assert b"".join(chunks) == plain.messages([large()])


def test_what_fits_is_whole() -> None:
    one = message(b'"%b"' % (b"x" * 900))
    form = Events(chunked=False, raw=False, retry=1, fragment_size=len(one.envelope))
    (event,) = Browser().feed(form.messages([one]))
    assert event.type == "message"


def test_raw_data_is_never_in_parts() -> None:
    (event,) = Browser().feed(
        Events(chunked=False, raw=True, retry=1, fragment_size=SIZE).messages([large()])
    )
    assert event.data == "x" * 2500


def test_the_parts_are_made_once() -> None:
    form, one = Events(chunked=False, raw=False, retry=1, fragment_size=SIZE), large()
    assert form.messages([one]) == form.messages([one])
    assert one.forms is not None
    assert one.forms[form] == form.messages([one])


def test_streams_that_want_parts_have_a_form_of_their_own() -> None:
    parts = events_form(chunked=True, raw=False, retry=1, fragment_size=SIZE)
    assert events_form(chunked=True, raw=False, retry=1, fragment_size=SIZE) is parts
    assert events_form(chunked=True, raw=False, retry=1, fragment_size=WHOLE) is not parts


# Polls


def test_parts_in_a_poll() -> None:
    form = poll_form(raw=False, recovered=True, fragment_size=SIZE)
    body = json.loads(form.messages([large("€"), message(id=FIRST_ID + 1)]))
    *parts, after = body["messages"]
    assert whole_of(parts)["data"] == "€" * 2500
    assert (after["type"], body["cursor"]) == ("message", f"{EPOCH}-{FIRST_ID + 1}")
    assert (body["hasNew"], body["recovered"]) == (True, True)


def test_an_answer_that_is_not_recovered_has_parts_as_well() -> None:
    form = poll_form(raw=False, recovered=True, fragment_size=SIZE).unrecovered()
    body = json.loads(form.messages([large()]))
    assert whole_of(body["messages"])["data"] == "x" * 2500
    assert body["recovered"] is False


def test_a_poll_in_raw_format_is_whole() -> None:
    body = json.loads(poll_form(raw=True, recovered=True, fragment_size=SIZE).messages([large()]))
    assert body["messages"] == ["x" * 2500]


# Frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1024])
def test_what_fits_is_one_frame(size: int) -> None:
    assert split_frames(message_frames(TEXT, b"x" * size, SIZE)) == [ServerFrame(TEXT, b"x" * size)]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("most", "size"), [(100, 101), (100, 200), (1024, 5000), (70_000, 200_000)]
)
def test_what_does_not_is_several(compressed: bool, most: int, size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    frames = split_frames(message_frames(BINARY, payload, most, compressed=compressed))
    count = -(-size // most)
    assert [frame.opcode for frame in frames] == [BINARY] + [CONTINUATION] * (count - 1)
    assert [frame.fin for frame in frames] == [False] * (count - 1) + [True]
    assert [frame.compressed for frame in frames] == [compressed] + [False] * (count - 1)
    assert b"".join(frame.payload for frame in frames) == payload
    assert [len(frame.payload) for frame in frames[:-1]] == [most] * (count - 1)


@pytest.mark.parametrize("batch", [False, True])
def test_a_large_message_in_frames(batch: bool) -> None:
    form = Frames(batch=batch, raw=False, window_bits=0, fragment_size=SIZE)
    frames = split_frames(form.messages([large()]))
    assert len(frames) == 3
    whole = json.loads(b"".join(frame.payload for frame in frames))
    assert (whole[0] if batch else whole)["data"] == "x" * 2500


def test_a_large_message_deflated_in_frames() -> None:
    noise = binary_data(bytes((n * n * 7 >> 3) & 0xFF for n in range(5000)))
    form = Frames(batch=False, raw=False, window_bits=15, codec=MSGPACK, fragment_size=SIZE)
    frames = split_frames(form.messages([message(noise, binary=True)]))
    assert [frame.compressed for frame in frames] == [True] + [False] * (len(frames) - 1)
    assert len(frames) > 1
    packed = inflated(b"".join(frame.payload for frame in frames))
    assert packed == MSGPACK.message(message(noise, binary=True))


def test_large_answers_are_in_frames_too(world: World) -> None:
    client = Client(world, Subscription(("news",)), fragment_size=SIZE)
    world.publish("other", b'"%b"' % (b"y" * 900))
    world.publish("other", b'"%b"' % (b"y" * 900))
    client.take()
    client.send({"type": "history", "channel": "other"})
    frames = split_frames(client.wire.take())
    assert len(frames) == 3
    answer = json.loads(b"".join(frame.payload for frame in frames))
    assert [len(item["data"]) for item in answer["messages"]] == [900, 900]
