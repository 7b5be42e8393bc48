"""Fuzzed: what publishers send; and how the messages that it makes are written and read again."""

from __future__ import annotations

import json
from typing import Any

import msgpack

from tests.fuzz.dialogues import check_refusal
from tidewire.client.envelope import Message as Received
from tidewire.client.envelope import parse_envelope, parse_packed
from tidewire.model import Draft, Message, TidewireError
from tidewire.model.payload import bytes_of
from tidewire.transports.codecs import JSON, MSGPACK, PROTOBUF
from tidewire.transports.codecs.schema import Envelope
from tidewire.transports.publish import Limits, draft_of_body, drafts_of_json

LIMITS = Limits(message_size=300, json_depth=8, batch=5, recipients=5)


def bodies(data: bytes) -> None:
    """What is published in JSON is refused, or becomes messages that every client can read."""
    try:
        drafts, batch = drafts_of_json(data, LIMITS)
    except TidewireError as error:
        check_refusal(error)
        return
    assert len(drafts) <= LIMITS.batch
    assert batch or len(drafts) == 1
    for draft in drafts:
        assert len(draft.data) <= (LIMITS.message_size + 2) * 4 // 3 + 4
        check(draft)


def contents(data: bytes) -> None:
    """What is published as a body of any type is refused, or a message that all can read."""
    texts = data.split(b"\n", 6)
    body = texts.pop() if len(texts) == 7 else b""
    kind, channel, event, key, ttl, version = [
        text.decode("utf-8", "replace") for text in [*texts, *[b""] * 6][:6]
    ]
    try:
        draft = draft_of_body(
            channel,
            kind,
            body,
            LIMITS,
            event=event or None,
            key=key or None,
            ttl=ttl or None,
            version=version or None,
        )
    except TidewireError as error:
        check_refusal(error)
    else:
        check(draft)


def check(draft: Draft) -> None:
    """All subscribers, whatever they speak, are told the same by the message of *draft*."""
    assert b"\n" not in draft.data
    assert b"\r" not in draft.data
    value = json.loads(draft.data)
    assert depth_of(value) <= LIMITS.json_depth
    headers = None if draft.headers is None else json.loads(draft.headers)
    message = Message(
        "epoch1", 5, draft.channel, 7, 9, draft.data, draft.event, draft.headers, draft.binary
    )
    about = ("epoch1-5", draft.channel, 7, 9, draft.event, headers)

    text = JSON.message(message)
    assert b"\n" not in text
    received = parse_envelope(text).envelope
    assert isinstance(received, Received)
    assert of_client(received) == about
    assert same(json.loads(text)["data"], value)
    assert received.encoding == ("base64" if draft.binary else None)

    expected = bytes_of(draft.data) if draft.binary else value
    packed = MSGPACK.message(message)
    received = parse_packed(packed).envelope
    assert isinstance(received, Received)
    assert of_client(received) == about
    assert same(msgpack.unpackb(packed, strict_map_key=False)["data"], expected)

    envelope = Envelope.FromString(PROTOBUF.message(message)).message
    content = envelope.binary if draft.binary else json.loads(envelope.json)
    assert same(content, expected)
    assert envelope.channel == draft.channel


def of_client(message: Received) -> tuple[object, ...]:
    return (
        message.id,
        message.channel,
        message.seq,
        message.time,
        message.event,
        message.headers,
    )


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same; whole numbers beyond 64 bits may have become floats."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, int) and not isinstance(other, bool):
        return not -(1 << 63) <= other < 1 << 64 and one == float(str(other))
    return type(one) is type(other) and bool(one == other)
