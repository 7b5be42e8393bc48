"""MessagePack, in binary frames: maps with the keys of the JSON envelopes, binary data as it is.

The log keeps JSON, so what JSON cannot say is no value here either. On the way in, bytes inside
a value become their Base64, a timestamp its RFC 3339 text, not-a-number and the infinities null,
and keys that are numbers their digits. On the way out an integer beyond 64 bits, for which
MessagePack has no form, becomes the nearest float.
"""

from __future__ import annotations

import json

import msgspec

from tidewire.model import BadRequest, Message
from tidewire.model.envelope import Control, GapNotice
from tidewire.model.payload import binary_data, bytes_of, check_depth
from tidewire.transports.commands import Command, Publish, Ref
from tidewire.transports.framing import BINARY
from tidewire.transports.publish import Content

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_command = msgspec.msgpack.Decoder(Command).decode
_to_json = msgspec.json.Encoder().encode
_of_json = msgspec.json.Decoder().decode

_BIN = (0xC4, 0xC5, 0xC6)


class _Envelope(msgspec.Struct, tag="message", tag_field="type", omit_defaults=True):
    """The fields of ``Message.envelope``, with the data as a value."""

    id: str
    channel: str
    seq: int
    time: int
    data: msgspec.Raw
    deliveries: int = 1
    event: str | None = None
    headers: dict[str, str] | None = None


class _Head(msgspec.Struct):
    ref: Ref = None


_decode_head = msgspec.msgpack.Decoder(_Head).decode


class MsgpackCodec:
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
        cursor = message.cursor.decode()
        if message.gap is not None:
            return _encode(GapNotice(cursor, message.channel, message.gap))
        envelope = _Envelope(
            cursor,
            message.channel,
            message.seq,
            message.time,
            msgspec.Raw(_pack_data(message)),
            message.deliveries,
            message.event,
            None if message.headers is None else _of_json(message.headers),
        )
        return _encode(envelope)

    def raw(self, message: Message, *, batch: bool) -> bytes:
        """The data as a value of MessagePack, in a batch or not."""
        return _pack_data(message)

    def control(self, envelope: Control) -> bytes:
        return _encode(envelope)

    def batch(self, items: list[bytes]) -> bytes:
        count = len(items)
        if count < 16:
            head = bytes((0x90 | count,))
        elif count < 65536:
            head = b"\xdc" + count.to_bytes(2)
        else:
            head = b"\xdd" + count.to_bytes(4)
        return head + b"".join(items)

    def command(self, data: bytes, depth: int) -> Command:
        try:
            command: Command = _decode_command(data)
            if isinstance(command, Publish):
                for publication in (command, *(command.messages or ())):
                    _take_data(publication, depth)
        except BadRequest:
            raise
        except (msgspec.MsgspecError, RecursionError, TypeError, ValueError) as error:
            raise BadRequest(f"this is no command: {error}") from None
        return command

    def ref_of(self, data: bytes) -> Ref:
        try:
            return _decode_head(data).ref
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None


def _take_data(publication: Content, depth: int) -> None:
    """Put the data of *publication* into JSON; bytes alone are binary data."""
    packed = publication.data
    if not packed:
        return
    value = _decode(packed)
    if memoryview(packed)[0] in _BIN:
        publication.data = msgspec.Raw(binary_data(value))
        publication.encoding = "base64"
    else:
        text = _to_json(value)
        check_depth(text, depth)
        publication.data = msgspec.Raw(text)


def _pack_data(message: Message) -> bytes:
    """The data as a value of MessagePack."""
    if message.binary:
        return _encode(bytes_of(message.data))
    try:
        return _encode(_of_json(message.data))
    except (msgspec.MsgspecError, OverflowError):  # a number beyond 64 bits
        return _encode(json.loads(message.data, parse_int=_integer))


def _integer(digits: str) -> int | float:
    value = int(digits)
    return value if -(1 << 63) <= value < 1 << 64 else float(digits)


MSGPACK = MsgpackCodec()
