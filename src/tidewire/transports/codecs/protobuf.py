"""Protocol Buffers, in binary frames: the messages of ``protocol/tidewire.proto``.

Envelopes and commands have the same names and fields there as in JSON, so both are carried over
by name. Data alone differs: it is JSON text in one field, or bytes in another.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

import msgspec

from tidewire.model import BadRequest, Message
from tidewire.model.envelope import Control
from tidewire.model.payload import binary_data, bytes_of, check_depth
from tidewire.transports.commands import Command, Publish, Ref
from tidewire.transports.framing import BINARY
from tidewire.transports.publish import MISSING, Publication

_headers = msgspec.json.Decoder(dict[str, str]).decode

_ITEM = b"\x0a"  # the tag of Batch.envelopes


@cache
def _schema() -> ModuleType:
    from tidewire.transports.codecs import schema  # when it is first used

    return schema


class ProtobufCodec:
    """See ``Codec``."""

    opcode = BINARY

    def message(self, message: Message) -> bytes:
        forms = message.forms
        if forms is None:
            forms = message.forms = {}
        envelope = forms.get(self)
        if envelope is None:
            envelope = forms[self] = self._envelope(message)
        return envelope

    def _envelope(self, message: Message) -> bytes:
        envelope = _schema().Envelope()
        if message.gap is not None:
            gap = envelope.gap
            gap.id = message.cursor.decode()
            gap.channel = message.channel
            gap.reason = message.gap
        else:
            to = envelope.message
            to.id = message.cursor.decode()
            to.channel = message.channel
            to.seq = message.seq
            to.time = message.time
            if message.event is not None:
                to.event = message.event
            if message.headers is not None:
                to.headers.update(_headers(message.headers))
            if message.deliveries > 1:
                to.deliveries = message.deliveries
            _put_data(to, message)
        return _bytes(envelope)

    def raw(self, message: Message, *, batch: bool) -> bytes:
        """An envelope of a message that has its data alone, in a batch or not."""
        envelope = _schema().Envelope()
        _put_data(envelope.message, message)
        return _bytes(envelope)

    def control(self, envelope: Control) -> bytes:
        target = _schema().Envelope()
        part = getattr(target, str(type(envelope).__struct_config__.tag))
        part.SetInParent()  # also if all of its fields are empty
        _fill(part, msgspec.structs.asdict(envelope))
        return _bytes(target)

    def batch(self, items: list[bytes]) -> bytes:
        return b"".join([part for item in items for part in (_ITEM, _varint(len(item)), item)])

    def command(self, data: bytes, depth: int) -> Command:
        schema = _schema()
        try:
            command = schema.Command.FromString(data)
            kind = command.WhichOneof("command")
            if kind is None:
                raise BadRequest("this is no command: it is of no known kind")
            fields = _fields(getattr(command, kind))
            fields |= {"type": kind, "ref": command.ref if command.HasField("ref") else None}
            if kind == "subscribe" and (starts := fields.pop("starts", None)):
                if "channels" in fields:
                    raise BadRequest("give channels or starts, not both")
                fields["channels"] = starts
            if kind == "publish":
                return _publish(fields, depth)
            wanted: Command = msgspec.convert(fields, Command)
        except BadRequest:
            raise
        except (schema.DecodeError, msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise BadRequest(f"this is no command: {error}") from None
        return wanted

    def ref_of(self, data: bytes) -> Ref:
        schema = _schema()
        try:
            command = schema.Command.FromString(data)
        except schema.DecodeError:
            return None
        return str(command.ref) if command.HasField("ref") else None


def _put_data(to: Any, message: Message) -> None:
    if message.binary:
        to.binary = bytes_of(message.data)
    else:
        to.json = message.data


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _fill(to: Any, fields: Mapping[str, Any]) -> None:
    """Set the fields of a message; ``None`` is one that is not there."""
    for name, value in fields.items():
        if value is None or name == "type":
            continue
        if not isinstance(value, list | tuple):
            setattr(to, name, value)
        elif value and isinstance(value[0], Mapping):
            for item in value:
                _fill(getattr(to, name).add(), item)
        elif value and isinstance(value[0], msgspec.Raw):  # made by this codec
            for item in value:
                getattr(to, name).add().MergeFromString(bytes(item))
        else:
            getattr(to, name).extend(value)


def _fields(message: Any) -> dict[str, Any]:
    """The fields that are there, by name."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if isinstance(value, str | bytes | int | float):
            found[field.name] = value
        elif isinstance(value, Mapping):
            found[field.name] = dict(value)
        else:
            found[field.name] = [_fields(x) if field.message_type else x for x in value]
    return found


def _publish(fields: dict[str, Any], depth: int) -> Publish:
    del fields["type"]
    many = fields.pop("messages", None)
    if many is not None:
        many = [Publication(**_with_data(one, depth)) for one in many]
        if any(one.data is MISSING for one in many):
            raise BadRequest("a message of the batch has neither json nor binary data")
    return Publish(**_with_data(fields, depth), messages=many)


def _with_data(fields: dict[str, Any], depth: int) -> dict[str, Any]:
    """*fields* with the data as JSON, as it comes in the other codecs."""
    text = fields.pop("json", None)
    binary = fields.pop("binary", None)
    data = MISSING
    if text is not None:
        check_depth(text, depth)
        str(text, "utf-8")
        data = msgspec.json.decode(text, type=msgspec.Raw)
    elif binary is not None:
        data = msgspec.Raw(binary_data(binary))
        fields["encoding"] = "base64"
    return {**fields, "data": data}


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


PROTOBUF = ProtobufCodec()
