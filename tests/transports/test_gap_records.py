"""A gap record among messages: every form writes it as a ``gap``, in its place."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.eventsource import EventStream as Browser
from tests.transports.frames import server_frames
from tests.transports.world import EPOCH, FIRST_ID, message
from tidewire.model import Message
from tidewire.transports.frames import Frames
from tidewire.transports.polling import poll_form
from tidewire.transports.sse import Events

GAP = {"type": "gap", "id": f"{EPOCH}-{FIRST_ID + 1}", "channel": "news", "reason": "expired"}


def messages() -> list[Message]:
    """A message, the record of a purge, and the first message after that."""
    record = Message(EPOCH, FIRST_ID + 1, "news", 0, 1000, b"", gap="expired")
    return [message(b'"old"'), record, message(b'"new"', id=FIRST_ID + 2, seq=2)]


@pytest.mark.parametrize("window_bits", [0, 15])
def test_a_frame_of_its_own(window_bits: int) -> None:
    frames = server_frames(
        Frames(batch=False, raw=False, window_bits=window_bits).messages(messages())
    )
    old, gap, new = [json.loads(frame.text) for frame in frames]
    assert (old["data"], gap, new["data"]) == ("old", GAP, "new")


def test_an_item_of_a_batch() -> None:
    (frame,) = server_frames(Frames(batch=True, raw=False, window_bits=0).messages(messages()))
    assert [item["type"] for item in json.loads(frame.text)] == ["message", "gap", "message"]


def test_raw_frames_tell_it_all_the_same() -> None:
    frames = server_frames(Frames(batch=False, raw=True, window_bits=0).messages(messages()))
    assert [frame.text for frame in frames[::2]] == ["old", "new"]
    assert json.loads(frames[1].text) == GAP


@pytest.mark.parametrize("raw", [False, True])
def test_an_event_that_onmessage_never_sees(raw: bool) -> None:
    events = Browser().feed(Events(chunked=False, raw=raw, retry=1).messages(messages()))
    assert [event.type for event in events] == ["message", "tidewire.gap", "message"]
    assert json.loads(events[1].data) == GAP
    assert events[1].last_event_id == GAP["id"]


@pytest.mark.parametrize("raw", [False, True])
def test_a_poll_has_it_among_its_gaps(raw: bool) -> None:
    body = json.loads(poll_form(raw=raw, recovered=True).messages(messages()))
    data = [item if raw else item["data"] for item in body["messages"]]
    assert (data, body["gaps"], body["recovered"]) == (["old", "new"], [GAP], False)


def test_a_poll_with_nothing_else_has_nothing_new() -> None:
    body = json.loads(poll_form(raw=False, recovered=True).messages(messages()[1:2]))
    assert (body["messages"], body["hasNew"], body["gaps"]) == ([], False, [GAP])
    assert body["cursor"] == GAP["id"]
