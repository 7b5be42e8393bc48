"""Large messages put together from their parts: cut anywhere, in disorder, and begun again."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest

from tests.client.scripted_server import Step, Then, answer, event_stream, scripted
from tidewire.client import (
    Backoff,
    Interrupted,
    LongPollTransport,
    Message,
    Position,
    Received,
    Refused,
    ServerAddress,
    SseTransport,
    open_http,
    receive,
)
from tidewire.client.envelope import Close, Gap, Ready, parse_envelope
from tidewire.client.fragments import Assembly

TEXT = json.dumps(
    {"type": "message", "id": "e-5", "channel": "a", "seq": 1, "time": 9, "data": "größer 🌊"},
    ensure_ascii=False,
)
WHOLE = parse_envelope(TEXT.encode())


def parts_of(*pieces: str, of: str = "e-5") -> list[Received]:
    """An envelope's text in these pieces, as the server sends them."""
    return [
        parse_envelope(json.dumps(fragment(of, index, len(pieces), piece)).encode())
        for index, piece in enumerate(pieces)
    ]


def fragment(of: str, index: int, count: int, data: str) -> dict[str, Any]:
    one = {"type": "fragment", "of": of, "index": index, "count": count, "data": data}
    return one | {"id": of} if index == count - 1 else one


def take_all(assembly: Assembly, parts: list[Received]) -> list[Received | None]:
    return [assembly.take(part) for part in parts]


@pytest.mark.parametrize("first", range(1, len(TEXT)))
def test_cut_at_every_place(first: int) -> None:
    """In three parts, the third cut being the middle of what is left."""
    second = first + (len(TEXT) - first) // 2
    assembly = Assembly()
    *parts, last = parts_of(TEXT[:first], TEXT[first:second], TEXT[second:])
    assert [assembly.take(part) for part in parts] == [None, None]
    assert assembly.take(last) == WHOLE


def test_one_character_a_part() -> None:
    assembly = Assembly()
    taken = take_all(assembly, parts_of(*TEXT))
    assert taken[-1] == WHOLE
    assert taken.count(None) == len(TEXT) - 1


def test_one_message_after_the_other() -> None:
    assembly = Assembly()
    assert take_all(assembly, parts_of(TEXT[:9], TEXT[9:])) == [None, WHOLE]
    assert take_all(assembly, parts_of(TEXT)) == [WHOLE]
    assert assembly.take(WHOLE) is WHOLE
    assembly.end()


@pytest.mark.parametrize(
    "order", [[1], [0, 2], [0, 0], [0, 1, 1], [0, 1, 0]], ids=lambda order: str(order)
)
def test_a_missing_or_doubled_part_interrupts(order: list[int]) -> None:
    parts = parts_of(TEXT[:20], TEXT[20:40], TEXT[40:])
    assembly = Assembly()
    *good, bad = [parts[index] for index in order]
    for part in good:
        assert assembly.take(part) is None
    with pytest.raises(Interrupted, match="a part of message e-5 is missing"):
        assembly.take(bad)


@pytest.mark.parametrize(
    "other",
    [
        WHOLE,
        Received(Gap("e-4", "a", "expired"), b""),
        Received(Ready("e-4"), b""),
        *parts_of("{", "}", of="e-6"),
    ],
)
def test_nothing_comes_between_parts(other: Received) -> None:
    """Or the position would be past a message that is not there."""
    assembly = Assembly()
    assembly.take(parts_of(TEXT[:20], TEXT[20:])[0])
    with pytest.raises(Interrupted):
        assembly.take(other)


def test_a_stream_may_end_between_parts() -> None:
    assembly = Assembly()
    assembly.take(parts_of(TEXT[:20], TEXT[20:])[0])
    close = Received(Close(1012, "", 0), b"")
    assert assembly.take(close) is close
    with pytest.raises(Interrupted):
        assembly.end()


@pytest.mark.parametrize("text", ["{", "[]", '{"type":"ready","id":"e-5"}', TEXT.replace("5", "6")])
def test_parts_that_are_not_the_message_are_refused(text: str) -> None:
    assembly = Assembly()
    with pytest.raises(Refused):
        take_all(assembly, parts_of(text[:1], text[1:]))


def test_memory_is_bounded() -> None:
    assembly = Assembly(max_size=100)
    with pytest.raises(Refused, match="message e-5 has more than 100 characters"):
        take_all(assembly, parts_of(*("x" * 10 for _ in range(11))))
    assembly = Assembly(max_size=100)
    with pytest.raises(Refused):
        take_all(assembly, parts_of(*("" for _ in range(101))))


# Over connections


def large(number: int) -> tuple[str, dict[str, Any]]:
    envelope = {"type": "message", "id": f"e-{number}", "channel": "news", "seq": number,
                "time": 5, "data": "x" * 3000}  # fmt: skip
    return json.dumps(envelope), envelope


def event(name: str, id: str, data: dict[str, Any]) -> str:
    return f"event: tidewire.{name}\nid: {id}\ndata: {json.dumps(data)}\n\n"


def split(number: int) -> list[dict[str, Any]]:
    text, _ = large(number)
    pieces = [text[at : at + 1024] for at in range(0, len(text), 1024)]
    return [fragment(f"e-{number}", at, len(pieces), piece) for at, piece in enumerate(pieces)]


async def take(transport: Any, position: Position, count: int) -> list[Message]:
    async def at_once(_: float) -> None:
        """In place of a wait."""

    messages: list[Message] = []
    events = receive(transport, position, backoff=Backoff(draw=lambda: 0.0), sleep=at_once)
    async with aclosing(events):
        async for one in events:
            if isinstance(one, Received) and isinstance(one.envelope, Message):
                messages.append(one.envelope)
                if len(messages) == count:
                    break
    return messages


@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_a_stream_cut_between_parts_brings_the_whole_message(kept: int) -> None:
    blocks = [
        event("fragment", "e-7" if part["index"] == part["count"] - 1 else "e-6", part)
        for part in split(7)
    ]
    assert len(blocks) == 4
    before = event("ready", "e-6", {"type": "ready", "id": "e-6", "session": "s"})
    async with scripted(
        event_stream(before, *blocks[:kept], blocks[kept][:-1]),
        event_stream(*blocks, then=Then.HOLD),
    ) as server:
        address = ServerAddress.parse(server.url)
        async with open_http(address) as http:
            position = Position(["news"])
            [message] = await take(SseTransport(http, address), position, 1)
        assert message.data == "x" * 3000
        assert position.cursor == "e-7"
        assert server.requests[1].query["cursor"] == "e-6"
        assert server.requests[0].query["fragments"] == "true"


async def test_a_poll_brings_parts_among_whole_messages() -> None:
    _, whole = large(8)
    good = {"messages": [*split(7), whole, *split(9)], "cursor": "e-9"}
    torn = {"messages": [whole, *split(9)[:-1]], "cursor": "e-9"}
    rest = {"messages": split(9), "cursor": "e-9"}
    async with scripted(answer(body=good)) as server:
        address = ServerAddress.parse(server.url)
        async with open_http(address) as http:
            position = Position(["news"], cursor="e-6")
            messages = await take(LongPollTransport(http, address), position, 3)
    assert [message.id for message in messages] == ["e-7", "e-8", "e-9"]
    steps: list[Step] = [answer(body=torn), answer(body=rest)]
    async with scripted(*steps) as server:
        address = ServerAddress.parse(server.url)
        async with open_http(address) as http:
            position = Position(["news"], cursor="e-6")
            messages = await take(LongPollTransport(http, address), position, 2)
        assert [message.id for message in messages] == ["e-8", "e-9"]
        assert server.requests[1].query["cursor"] == "e-8"
        assert server.requests[1].query["fragments"] == "true"
