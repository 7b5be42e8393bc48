"""JSON, in text frames: envelopes as the model writes them."""

from __future__ import annotations

import msgspec

from tidewire.model import BadRequest, Message
from tidewire.model.envelope import encode_control
from tidewire.model.payload import check_depth, text_of
from tidewire.transports.commands import Command, decode_command, ref_of
from tidewire.transports.framing import TEXT


class JsonCodec:
    """See ``Codec``."""

    opcode = TEXT
    control = staticmethod(encode_control)
    ref_of = staticmethod(ref_of)

    def message(self, message: Message) -> bytes:
        return message.envelope

    def raw(self, message: Message, *, batch: bool) -> bytes:
        """A string alone is its text; in a batch it stays JSON."""
        text = None if batch else text_of(message.data)
        return message.data if text is None else text.encode()

    def batch(self, items: list[bytes]) -> bytes:
        return b"[%b]" % b",".join(items)

    def command(self, data: bytes, depth: int) -> Command:
        check_depth(data, depth)
        try:
            command: Command = decode_command(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadRequest(f"this is no command: {error}") from None
        return command


JSON = JsonCodec()
