"""The Protocol Buffers subprotocol: against protoc, which knows nothing but the .proto file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from google.protobuf.message_factory import GetMessageClass

from tests.transports.client import Client
from tests.transports.frames import BINARY, client_frame
from tests.transports.world import EPOCH, FIRST_ID, World, message
from tidewire.model import BadRequest, Message, Subscription
from tidewire.model.envelope import Close, Control, Error, GapNotice, Ok, Progress, Ready
from tidewire.model.payload import binary_data
from tidewire.transports import commands
from tidewire.transports.codecs import PROTOBUF, schema
from tidewire.transports.commands import Command, Publish
from tidewire.transports.publish import Publication

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parent.parent.parent
CURSOR = f"{EPOCH}-{FIRST_ID}"


def protoc(option: str, data: bytes) -> bytes:
    """What the compiler's ``--encode`` or ``--decode`` makes of *data*."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'protocol'}"]
    return subprocess.run(
        [*command, option, "tidewire.proto"], input=data, capture_output=True, check=True
    ).stdout


def read(data: bytes) -> Any:
    """An envelope as a client reads it."""
    return schema.Envelope.FromString(data)


def written(**fields: Any) -> bytes:
    """A command as a client writes it: ``ref``, and one kind with its fields."""
    command = schema.Command(ref=fields.pop("ref", None))
    ((kind, inner),) = fields.items()
    part = getattr(command, kind)
    part.SetInParent()
    for name, value in inner.items():
        if isinstance(value, dict):
            getattr(part, name).update(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                getattr(part, name).add(**item)
        elif isinstance(value, list):
            getattr(part, name).extend(value)
        else:
            setattr(part, name, value)
    data: bytes = command.SerializeToString()
    return data


def published(**fields: Any) -> Publish:
    """The command that a client's publish is read as."""
    command = PROTOBUF.command(written(publish=fields), 16)
    assert isinstance(command, Publish)
    return command


# The schema


def test_the_description_is_that_of_the_proto_file() -> None:
    check = [sys.executable, str(ROOT / "scripts" / "compile_protocol.py"), "--check"]
    subprocess.run(check, check=True)


def fields_of(kind: str, name: str) -> set[str]:
    """The fields that an envelope or a command of that kind has in the .proto file."""
    whole = schema.Envelope if kind == "envelope" else schema.Command
    return {field.name for field in whole.DESCRIPTOR.fields_by_name[name].message_type.fields}


def tag_of(struct: type) -> str:
    """The kind of an envelope or command, as JSON has it in ``type``."""
    return str(struct.__struct_config__.tag)  # type: ignore[attr-defined]


@pytest.mark.parametrize("struct", get_args(Control), ids=tag_of)
def test_every_field_of_an_envelope_is_there(struct: Any) -> None:
    names = {field.name for field in msgspec.structs.fields(struct)}
    assert fields_of("envelope", tag_of(struct)) == names


@pytest.mark.parametrize("struct", get_args(Command), ids=tag_of)
def test_every_field_of_a_command_is_there(struct: Any) -> None:
    names = {field.name for field in msgspec.structs.fields(struct)} - {"ref"}
    if struct is commands.Publish:
        names = names - {"data", "encoding"} | {"json", "binary"}
    if struct is commands.Subscribe:
        names |= {"starts"}
    assert fields_of("command", tag_of(struct)) == names


def test_every_field_of_a_publication_is_there() -> None:
    names = {field.name for field in msgspec.structs.fields(Publication)} - {"data", "encoding"}
    many = schema.Command.DESCRIPTOR.fields_by_name["publish"].message_type.fields_by_name
    fields = {field.name for field in many["messages"].message_type.fields}
    assert fields == names | {"json", "binary"}


# Out


def test_a_message_as_protoc_reads_it() -> None:
    one = message(b'{"a":1.50}', event="headline", headers=b'{"lang":"en"}').bare(deliveries=2)
    assert protoc("--decode=tidewire.v1.Envelope", PROTOBUF.message(one)).decode() == (
        "message {\n"
        f'  id: "{CURSOR}"\n'
        '  channel: "news"\n'
        "  seq: 1\n"
        "  time: 1000\n"
        '  event: "headline"\n'
        '  json: "{\\"a\\":1.50}"\n'
        "  headers {\n"
        '    key: "lang"\n'
        '    value: "en"\n'
        "  }\n"
        "  deliveries: 2\n"
        "}\n"
    )


def test_binary_data_is_bytes() -> None:
    data = bytes(range(256))
    got = read(PROTOBUF.message(message(binary_data(data), binary=True))).message
    assert (got.binary, got.HasField("json")) == (data, False)
    assert read(PROTOBUF.message(message(rb'"\/\/8="', binary=True))).message.binary == b"\xff\xff"


def test_a_gap_record() -> None:
    gap = read(PROTOBUF.message(Message(EPOCH, FIRST_ID, "news", 0, 1, b"", gap="reset"))).gap
    assert (gap.id, gap.channel, gap.reason) == (CURSOR, "news", "reset")


def test_an_envelope_is_made_once() -> None:
    one = message()
    assert PROTOBUF.message(one) is PROTOBUF.message(one)


def test_raw_is_a_message_that_has_its_data_alone() -> None:
    one = read(PROTOBUF.raw(message(b'"text"'), batch=False))
    two = read(PROTOBUF.raw(message(b'"AP8="', binary=True), batch=True))
    assert one == schema.Envelope(message={"json": b'"text"'})
    assert two == schema.Envelope(message={"binary": b"\x00\xff"})


@pytest.mark.parametrize(
    ("envelope", "text"),
    [
        (
            Ready("e-1", "s1", False, ("a", "b"), 25_000),
            'ready { id: "e-1" session: "s1" channels: "a" channels: "b" heartbeat: 25000 }',
        ),
        (
            GapNotice(CURSOR, "news", "slow", 3),
            f'gap {{ id: "{CURSOR}" channel: "news" reason: "slow" skipped: 3 }}',
        ),
        (Close(1012, "x", 0), 'close { code: 1012 reason: "x" retry: 0 }'),
        (Close(4409, "x"), 'close { code: 4409 reason: "x" }'),
        (Ok(), "ok { }"),
        (
            Ok("r", "e-1", "a", 5, more=False, number=1, offset=0),
            'ok { ref: "r" id: "e-1" channel: "a" seq: 5 more: false number: 1 offset: 0 }',
        ),
        (
            Ok(results=[{"channel": "a", "id": "e-1", "seq": 1}]),
            'ok { results { channel: "a" id: "e-1" seq: 1 } }',
        ),
        (
            Ok(gaps=[{"type": "gap", "id": "e-1", "channel": "a", "reason": "reset"}]),
            'ok { gaps { id: "e-1" channel: "a" reason: "reset" } }',
        ),
        (Error("c", "m", "r"), 'error { ref: "r" code: "c" message: "m" }'),
        (Progress("u", 7), 'progress { upload: "u" offset: 7 }'),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_control_envelopes_as_protoc_reads_them(envelope: Control, text: str) -> None:
    decoded = protoc("--decode=tidewire.v1.Envelope", PROTOBUF.control(envelope)).decode()
    assert " ".join(decoded.split()) == text


@pytest.mark.parametrize("size", [1, 100, 200, 70_000])
def test_a_batch(size: int) -> None:
    items = [PROTOBUF.message(message(b'"%b"' % (b"x" * size), id=FIRST_ID + n)) for n in range(3)]
    batch = envelopes_of(PROTOBUF.batch(items))
    assert [one.message.id for one in batch] == [f"{EPOCH}-{FIRST_ID + n}" for n in range(3)]


def envelopes_of(batch: bytes) -> list[Any]:
    """The envelopes of a batch."""
    description = schema.Envelope.DESCRIPTOR.file.message_types_by_name["Batch"]
    read: Any = GetMessageClass(description).FromString(batch)
    return list(read.envelopes)


# In


def test_a_publish_that_protoc_wrote() -> None:
    text = (
        'ref: "r" publish { channel: "a" json: "{\\"n\\": 1.50}" event: "e" key: "k" ttl: 1.5'
        ' version: 7 headers { key: "lang" value: "en" } }'
    )
    command = PROTOBUF.command(protoc("--encode=tidewire.v1.Command", text.encode()), 16)
    assert isinstance(command, Publish)
    assert bytes(command.data) == b'{"n": 1.50}'
    assert (command.ref, command.channel, command.event, command.key) == ("r", "a", "e", "k")
    assert (command.ttl, command.version, command.headers) == (1.5, 7, {"lang": "en"})
    assert command.encoding is None


def test_bytes_are_binary_data() -> None:
    for data in (b"", b"\xff" * 1000):
        command = published(channel="a", binary=data)
        assert (command.encoding, bytes(command.data)) == ("base64", binary_data(data))


def test_a_batch_of_publications() -> None:
    command = published(
        messages=[{"channel": "a", "json": b" [1]"}, {"channel": "b", "binary": b"x"}]
    )
    assert command.messages is not None
    assert [(one.channel, one.encoding, bytes(one.data)) for one in command.messages] == [
        ("a", None, b"[1]"),
        ("b", "base64", b'"eA=="'),
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "command"),
    [
        ("subscribe", {"channels": ["a", "b"]}, commands.Subscribe(channels=["a", "b"])),
        (
            "subscribe",
            {"channels": ["a"], "since": "-5"},
            commands.Subscribe(channels=["a"], since="-5"),
        ),
        (
            "subscribe",
            {"starts": {"a": "e-1", "b": "now"}},
            commands.Subscribe(channels={"a": "e-1", "b": "now"}),
        ),
        ("unsubscribe", {"channels": ["a"]}, commands.Unsubscribe(channels=["a"])),
        ("history", {"channel": "a"}, commands.History(channel="a")),
        ("history", {"channel": "a", "limit": 0}, commands.History(channel="a", limit=0)),
        ("ping", {}, commands.Ping()),
        ("ack", {"ids": ["e-1"], "single": True}, commands.Ack(ids=["e-1"], single=True)),
        ("nack", {"id": "e-1", "delay": 1.5}, commands.Nack(id="e-1", delay=1.5)),
        ("upload", {"upload": "u", "size": 5}, commands.Upload(upload="u", size=5)),
        ("chunk", {"upload": 1, "data": b"\xff"}, commands.Chunk(upload=1, data=b"\xff")),
    ],
)
def test_the_other_commands(kind: str, fields: dict[str, Any], command: Command) -> None:
    command.ref = "r"
    assert PROTOBUF.command(written(ref="r", **{kind: fields}), 16) == command


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("data", "ref", "code"),
    [
        (b"", None, "malformed"),
        (b"\xff", None, "malformed"),
        (b"\x22\xff\xff\xff\xff\x0f", None, "malformed"),
        (b"\x0a\x01r", "r", "malformed"),
        (b"\x0a\x01r\xfa\x01\x00", "r", "malformed"),
        (written(ref="r", publish={"json": b"nonsense"}), "r", "malformed"),
        (written(ref="r", publish={"json": b""}), "r", "malformed"),
        (written(ref="r", publish={"json": b'"\xff"'}), "r", "malformed"),
        (written(ref="r", publish={"json": deep(17)}), "r", "too_deep"),
        (written(ref="r", publish={"messages": [{"channel": "a"}]}), "r", "malformed"),
        (written(ref="r", subscribe={"channels": ["a"], "starts": {"b": "now"}}), "r", "malformed"),
    ],
)
def test_what_is_no_command(data: bytes, ref: str | None, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        PROTOBUF.command(data, 16)
    assert caught.value.code == code
    assert PROTOBUF.ref_of(data) == ref


# On a connection


class Speaker(Client):
    """A client of this subprotocol, which reads "news"."""

    def __init__(self, world: World, *, batch: bool = False) -> None:
        super().__init__(world, Subscription(("news",)), codec=PROTOBUF, batch=batch)

    def say(self, **command: Any) -> list[Any]:
        """Send a command, and return what comes for it."""
        self.wire.take()
        self.feed(client_frame(BINARY, written(**command)))
        self.world.turn()
        return list(self.got())

    def got(self) -> Iterable[Any]:
        """What came since the last call."""
        for frame in self.frames():
            assert frame.opcode == BINARY
            yield read(frame.payload)


def test_publish_and_receive(world: World) -> None:
    client = Speaker(world)
    answers = client.say(ref="r", publish={"channel": "news", "binary": b"\xff"})
    found = {answer.WhichOneof("envelope"): answer for answer in answers}
    assert (found["ok"].ok.ref, found["ok"].ok.id, found["ok"].ok.seq) == ("r", CURSOR, 1)
    assert (found["message"].message.id, found["message"].message.binary) == (CURSOR, b"\xff")


def test_a_batch_connection(world: World) -> None:
    client = Speaker(world, batch=True)
    (frame,) = client.frames()
    (ready,) = envelopes_of(frame.payload)
    assert ready.ready.channels == ["news"]


def test_history(world: World) -> None:
    world.publish("other", b'{"a":1.50}')
    (answer,) = Speaker(world).say(ref="h", history={"channel": "other"})
    assert [item.message.json for item in answer.ok.messages] == [b'{"a":1.50}']
    assert (answer.ok.ref, answer.ok.HasField("more"), answer.ok.more) == ("h", True, False)


def test_an_error(world: World) -> None:
    (answer,) = Speaker(world).say(ref="r", publish={"channel": "no such name!", "json": b"1"})
    assert (answer.error.ref, answer.error.code) == ("r", "invalid_channel")


def test_protobuf_is_imported_when_it_is_first_used() -> None:
    code = (
        "import sys, tidewire.server.app; "
        "assert not [name for name in sys.modules if name.startswith('google.protobuf')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def test_the_same_message_in_every_codec() -> None:
    one = message(b'{"a":[1,"\xc3\xa4"]}', event="e", headers=b'{"h":"v"}')
    got, text = read(PROTOBUF.message(one)).message, json.loads(one.envelope)
    assert (got.id, got.channel, got.seq, got.time) == tuple(
        text[name] for name in ("id", "channel", "seq", "time")
    )
    assert (got.event, dict(got.headers)) == (text["event"], text["headers"])
    assert json.loads(got.json) == text["data"]
