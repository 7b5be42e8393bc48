"""Commands over a WebSocket find their answers, however the connection ends."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tidewire.client import Interrupted, Refused
from tidewire.client.commands import Commands
from tidewire.client.envelope import Received, parse_envelope, parse_packed


def envelope(**fields: Any) -> Received:
    return parse_envelope(json.dumps(fields).encode())


async def test_answers_come_in_any_order() -> None:
    commands = Commands()
    first, one = commands.begin()
    second, two = commands.begin()
    assert commands.take(envelope(type="ok", ref=second, id="e-2"))
    assert commands.take(envelope(type="error", ref=first, code="no", message="not this"))
    assert (await two)["id"] == "e-2"
    with pytest.raises(Refused, match="not this") as raised:
        await one
    assert raised.value.code == "no"


async def test_what_may_pass_is_tried_again() -> None:
    commands = Commands()
    ref, answer = commands.begin()
    commands.take(envelope(type="error", ref=ref, code="engine_unavailable", message="away"))
    with pytest.raises(Interrupted, match="away"):
        await answer


async def test_only_answers_are_taken_and_those_of_nobody_are_dropped() -> None:
    commands = Commands()
    assert not commands.take(envelope(type="ready", id="e-1"))
    assert not commands.take(envelope(type="later"))
    assert commands.take(envelope(type="ok", ref=99))
    assert commands.take(envelope(type="error", code="no", message="of no command"))
    ref, answer = commands.begin()
    answer.cancel()
    assert commands.take(envelope(type="ok", ref=ref))


async def test_the_end_of_the_connection_is_an_answer_to_all() -> None:
    commands = Commands()
    answers = [commands.begin()[1] for _ in range(3)]
    commands.end("the connection ended")
    for answer in answers:
        with pytest.raises(Interrupted, match="the connection ended"):
            await answer
    with pytest.raises(Interrupted):
        commands.begin()


def test_messagepack_shows_as_the_json_that_others_get() -> None:
    packed = {"type": "message", "id": "e-1", "channel": "a", "seq": 1, "time": 5, "new": [1.5]}
    text = parse_packed(msgspec.msgpack.encode(packed | {"data": {"ä": None}}))
    assert json.loads(text.json) == packed | {"data": {"ä": None}}
    binary = parse_packed(msgspec.msgpack.encode(packed | {"data": b"\x00\xff"}))
    assert json.loads(binary.json) == packed | {"data": "AP8=", "encoding": "base64"}
    with pytest.raises(Refused, match="not a Tidewire envelope"):
        parse_packed(b'{"type":"ready"}')
    with pytest.raises(Refused, match="not a Tidewire envelope"):
        parse_packed(msgspec.msgpack.encode({"type": "ready", "id": "?"}).replace(b"?", b"\xff"))
