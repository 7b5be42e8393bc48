"""The MessagePack subprotocol, read and written by another library than the server's."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transports.client import Client
from tests.transports.frames import BINARY, CLOSE, client_frame, inflated, text
from tests.transports.world import EPOCH, FIRST_ID, World, message
from tidewire.model import BadRequest, Message, Subscription
from tidewire.model.envelope import Close, GapNotice
from tidewire.model.payload import binary_data
from tidewire.transports.codecs import MSGPACK
from tidewire.transports.commands import Publish

CURSOR = f"{EPOCH}-{FIRST_ID}"


def envelope(of: Message) -> Any:
    """What a client reads."""
    return msgpack.unpackb(MSGPACK.message(of))


def published(data: object, **fields: object) -> Publish:
    """The command that a client's publish is read as."""
    packed = msgpack.packb({"type": "publish", "channel": "a", "data": data, **fields})
    command = MSGPACK.command(packed, 16)
    assert isinstance(command, Publish)
    return command


# Out


def test_an_envelope_has_the_keys_of_the_json_one() -> None:
    full = message(b'{"a":[1,null,"\xc3\xa4"]}', event="headline", headers=b'{"lang":"en"}')
    for one in (message(), full, full.bare(deliveries=2)):
        assert envelope(one) == json.loads(one.envelope)
        assert next(iter(envelope(one))) == "type"


def test_binary_data_is_bytes() -> None:
    got = envelope(message(binary_data(bytes(range(256))), binary=True))
    assert got["data"] == bytes(range(256))
    assert "encoding" not in got
    assert envelope(message(rb'"\/\/8="', binary=True))["data"] == b"\xff\xff"


def test_a_gap_record() -> None:
    record = Message(EPOCH, FIRST_ID, "news", 0, 1, b"", gap="reset")
    assert envelope(record) == {"type": "gap", "id": CURSOR, "channel": "news", "reason": "reset"}


def test_an_envelope_is_made_once() -> None:
    one = message()
    assert MSGPACK.message(one) is MSGPACK.message(one)


@pytest.mark.parametrize(
    ("digits", "value"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"1e400", inf),
        (b"1" * 500, inf),
        (b"1.50", 1.5),
    ],
)
def test_numbers_beyond_64_bits_are_floats(digits: bytes, value: float) -> None:
    for data, expected in ((digits, value), (b'{"a":[%b]}' % digits, {"a": [value]})):
        got = envelope(message(data))["data"]
        assert got == expected
        assert repr(got) == repr(expected)


def test_control_envelopes() -> None:
    gap = GapNotice("e-1", "news", "slow", 3)
    assert msgpack.unpackb(MSGPACK.control(gap)) == {
        "type": "gap",
        "id": "e-1",
        "channel": "news",
        "reason": "slow",
        "skipped": 3,
    }
    assert msgpack.unpackb(MSGPACK.control(Close(1012, "x"))) == {
        "type": "close",
        "code": 1012,
        "reason": "x",
    }


@pytest.mark.parametrize("count", [1, 15, 16, 65_535, 65_536])
def test_a_batch_is_an_array(count: int) -> None:
    assert msgpack.unpackb(MSGPACK.batch([b"\x01"] * count)) == [1] * count


def test_raw_is_the_value() -> None:
    for batch in (False, True):
        values = [
            msgpack.unpackb(MSGPACK.raw(one, batch=batch))
            for one in (message(b'"text"'), message(b"[1]"), message(b'"AP8="', binary=True))
        ]
        assert values == ["text", [1], b"\x00\xff"]


# In

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(json_values)
def test_any_value_goes_in_and_comes_out(value: object) -> None:
    command = published(value)
    assert command.encoding is None
    assert json.loads(bytes(command.data)) == value
    assert envelope(message(bytes(command.data)))["data"] == value


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_536])
def test_bytes_are_binary_data(size: int) -> None:
    command = published(b"\xff" * size)
    assert (command.encoding, bytes(command.data)) == ("base64", binary_data(b"\xff" * size))


def test_base64_is_taken_too() -> None:
    command = published("AP8=", encoding="base64")
    assert (command.encoding, bytes(command.data)) == ("base64", b'"AP8="')


def test_what_json_cannot_say() -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    packed = msgpack.packb(
        {
            "type": "publish",
            "channel": "a",
            "data": {"bytes": b"\xff", "time": noon, "nan": nan, "inf": -inf, 5: "digits"},
        },
        datetime=True,
    )
    command = MSGPACK.command(packed, 16)
    assert isinstance(command, Publish)
    assert json.loads(bytes(command.data)) == {
        "bytes": b64encode(b"\xff").decode(),
        "time": "2026-01-02T12:00:00Z",
        "nan": None,
        "inf": None,
        "5": "digits",
    }


def test_a_batch_of_publications() -> None:
    packed = msgpack.packb(
        {"type": "publish", "messages": [{"channel": "a", "data": d} for d in (1, b"x", None)]}
    )
    command = MSGPACK.command(packed, 16)
    assert isinstance(command, Publish)
    assert command.messages is not None
    assert [(one.encoding, bytes(one.data)) for one in command.messages] == [
        (None, b"1"),
        ("base64", b'"eA=="'),
        (None, b"null"),
    ]


@pytest.mark.parametrize(
    ("data", "ref"),
    [
        (b"", None),
        (b"\xc1", None),
        (b"\x91" * 100_000, None),
        (b"\xdd\xff\xff\xff\xff", None),
        (b"\xc6\xff\xff\xff\xff", None),
        (msgpack.packb([]), None),
        (msgpack.packb({"type": "ping", "ref": 1}) + b"\x00", None),
        (msgpack.packb({"type": "x", "ref": 5}), 5),
        (msgpack.packb({"ref": "r", "type": "ping", "unknown": 1}), "r"),
        (msgpack.packb({"type": "ping", "ref": 1.5}), None),
        (msgpack.packb({"ref": 1, "type": "publish", "data": {None: 1}}), 1),
        (msgpack.packb({"ref": 1, "type": "publish", "data": msgpack.ExtType(5, b"x")}), 1),
        (
            msgpack.packb(
                {"ref": 1, "type": "publish", "data": "\ud800"}, unicode_errors="surrogatepass"
            ),
            1,
        ),
        (b"\x82\xa4type\xa4ping\xa3ref\xa1\xff", None),
    ],
)
def test_what_is_no_command(data: bytes, ref: object) -> None:
    with pytest.raises(BadRequest) as caught:
        MSGPACK.command(data, 16)
    assert caught.value.code == "malformed"
    assert MSGPACK.ref_of(data) == ref


def test_what_nests_too_deep() -> None:
    value: object = 1
    for _ in range(17):
        value = [value]
    with pytest.raises(BadRequest) as caught:
        published(value)
    assert caught.value.code == "too_deep"


# On a connection


class Packed(Client):
    """A client of this subprotocol, which reads "news"."""

    def __init__(self, world: World, **how: Any) -> None:
        super().__init__(world, Subscription(("news",)), codec=MSGPACK, **how)

    def say(self, **command: object) -> list[Any]:
        """Send a command, and return what comes for it."""
        self.got()
        self.feed(client_frame(BINARY, msgpack.packb(command)))
        self.world.turn()
        return self.got()

    def got(self) -> list[Any]:
        """What came since the last call."""
        frames = self.frames()
        assert all(frame.opcode == BINARY for frame in frames)
        return [
            msgpack.unpackb(inflated(frame.payload) if frame.compressed else frame.payload)
            for frame in frames
        ]


@pytest.mark.parametrize("window_bits", [0, 15])
def test_publish_and_receive(world: World, window_bits: int) -> None:
    client = Packed(world, window_bits=window_bits)
    assert client.got()[0]["type"] == "ready"
    answers = client.say(type="publish", channel="news", data=b"\xff" * 500, ref="r")
    ok, sent = sorted(answers, key=lambda item: item["type"], reverse=True)
    assert (ok["type"], ok["ref"], ok["id"], ok["seq"]) == ("ok", "r", CURSOR, 1)
    assert (sent["type"], sent["id"], sent["data"]) == ("message", CURSOR, b"\xff" * 500)


def test_a_batch_and_its_answer(world: World) -> None:
    client = Packed(world, batch=True)
    ((ready,),) = client.got()
    assert ready["type"] == "ready"
    many = [{"channel": "news", "data": n} for n in range(20)]
    answers = client.say(type="publish", messages=many, ref=1)
    assert len(answers) == 2
    items = {items[0]["type"]: items for items in answers}
    assert [item["data"] for item in items["message"]] == list(range(20))
    assert [result["seq"] for result in items["ok"][0]["results"]] == list(range(1, 21))


def test_history_is_packed_too(world: World) -> None:
    world.publish("other", b'{"a":1.50}')
    (answer,) = Packed(world).say(type="history", channel="other", ref=1)
    assert [item["data"] for item in answer["messages"]] == [{"a": 1.5}]
    assert answer["more"] is False


def test_an_error(world: World) -> None:
    (answer,) = Packed(world).say(type="publish", channel="no such name!", data=1, ref=7)
    assert (answer["type"], answer["ref"], answer["code"]) == ("error", 7, "invalid_channel")


def test_text_is_not_taken(world: World) -> None:
    client = Packed(world)
    client.got()
    client.feed(text('{"type":"ping"}'))
    (frame,) = client.frames()
    assert (frame.opcode, frame.payload[:2]) == (CLOSE, (1003).to_bytes(2))
