"""The commands of a WebSocket as they are written."""

from __future__ import annotations

import msgspec
import pytest

from tidewire.transports.commands import (
    Command,
    History,
    Ping,
    Publish,
    Ref,
    Subscribe,
    Unsubscribe,
    decode_command,
    ref_of,
)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b'{"type":"ping"}', Ping()),
        (b'{"type":"ping","ref":null}', Ping()),
        (b'{"ref":7,"type":"ping"}', Ping(ref=7)),
        (b'{"type":"ping","ref":"x"}', Ping(ref="x")),
        (b'{"type":"subscribe"}', Subscribe()),
        (b'{"type":"subscribe","channels":["a","b"]}', Subscribe(channels=["a", "b"])),
        (
            b'{"type":"subscribe","channels":["a"],"since":"start"}',
            Subscribe(channels=["a"], since="start"),
        ),
        (b'{"type":"subscribe","channels":["a"],"since":-5}', Subscribe(channels=["a"], since=-5)),
        (
            b'{"type":"subscribe","channels":["a"],"cursor":"e-1"}',
            Subscribe(channels=["a"], cursor="e-1"),
        ),
        (
            b'{"type":"subscribe","channels":{"a":"e-1","b":-3}}',
            Subscribe(channels={"a": "e-1", "b": -3}),
        ),
        (b'{"type":"unsubscribe","channels":["a"]}', Unsubscribe(channels=["a"])),
        (b'{"type":"history","channel":"a"}', History(channel="a")),
        (
            b'{"type":"history","channel":"a","cursor":"e-1","limit":5}',
            History(channel="a", cursor="e-1", limit=5),
        ),
        (b'{"type":"history","channel":"a","since":0}', History(channel="a", since=0)),
    ],
)
def test_commands(text: bytes, command: Command) -> None:
    assert decode_command(text) == command


def test_a_publish_keeps_its_data_as_it_was_written() -> None:
    command = decode_command(b'{"type":"publish","channel":"a","data":{"b": 1.50}}')
    assert isinstance(command, Publish)
    assert bytes(command.data) == b'{"b": 1.50}'
    assert command.messages is None


def test_a_publish_without_data_is_seen() -> None:
    command = decode_command(b'{"type":"publish","channel":"a"}')
    assert isinstance(command, Publish)
    assert not command.data


def test_a_batch() -> None:
    command = decode_command(b'{"type":"publish","messages":[{"channel":"a","data":1}]}')
    assert isinstance(command, Publish)
    assert command.messages is not None
    assert [(item.channel, bytes(item.data)) for item in command.messages] == [("a", b"1")]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"null",
        b"[]",
        b"{}",
        b'{"ref":1}',
        b'{"type":1}',
        b'{"type":"x"}',
        b'{"type":"PING"}',
        b'{"type":"ping","unknown":1}',
        b'{"type":"ping","ref":1.5}',
        b'{"type":"ping","ref":{}}',
        b'{"type":"ping","ref":true}',
        b'{"type":"subscribe","channels":"a"}',
        b'{"type":"subscribe","channels":[1]}',
        b'{"type":"subscribe","channels":{"a":1.5}}',
        b'{"type":"subscribe","channels":["a"],"cursor":5}',
        b'{"type":"unsubscribe","channels":{"a":"b"}}',
        b'{"type":"publish","messages":[{"channel":"a"}]}',
        b'{"type":"history","channel":"a","limit":"5"}',
        b'{"type":"history","channel":"a","limit":5.5}',
        b'{"type":"ping"} {"type":"ping"}',
    ],
)
def test_what_is_no_command(text: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_command(text)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        (b'{"type":"x","ref":5}', 5),
        (b'{"ref":"a","type":"subscribe","channels":7}', "a"),
        (b'{"type":"x"}', None),
        (b'{"ref":1.5}', None),
        (b'{"ref":[1]}', None),
        (b"[5]", None),
        (b"nonsense", None),
        (b"", None),
        (b'{"ref":5', None),
        (b'{"a":' * 50_000, None),
    ],
)
def test_the_ref_of_what_is_no_command(text: bytes, ref: Ref) -> None:
    assert ref_of(text) == ref
