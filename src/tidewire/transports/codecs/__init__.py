"""Codecs: how the envelopes and commands of a WebSocket are written, one for each subprotocol."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tidewire.model import Message
from tidewire.model.envelope import Control
from tidewire.transports.codecs.json import JSON
from tidewire.transports.codecs.msgpack import MSGPACK
from tidewire.transports.codecs.protobuf import PROTOBUF
from tidewire.transports.commands import Command, Ref


class Codec(Protocol):
    """One way to write envelopes and to read commands. One object of each, compared by identity."""

    opcode: int
    """Of the frames that carry it, both ways: text or binary."""

    def message(self, message: Message) -> bytes:
        """The envelope of a message or a gap record."""
        ...

    def raw(self, message: Message, *, batch: bool) -> bytes:
        """A message as its data alone, on its own or as an item of a batch."""
        ...

    def control(self, envelope: Control) -> bytes:
        """A control envelope."""
        ...

    def batch(self, items: list[bytes]) -> bytes:
        """Several envelopes as one."""
        ...

    def command(self, data: bytes, depth: int) -> Command:
        """Read a command whose JSON, if it has any, nests at most *depth* levels.

        What is published is JSON text afterwards, as if it had come so.

        Raises:
            BadRequest: if it is none.
        """
        ...

    def ref_of(self, data: bytes) -> Ref:
        """The ``ref`` of what is no command, as far as it can be made out."""
        ...


class Subprotocol(NamedTuple):
    """What a subprotocol's name stands for. *batch*: a frame carries several envelopes."""

    codec: Codec
    batch: bool


SUBPROTOCOLS = {
    "tidewire.v1.json": Subprotocol(JSON, batch=False),
    "tidewire.v1.json.batch": Subprotocol(JSON, batch=True),
    "tidewire.v1.msgpack": Subprotocol(MSGPACK, batch=False),
    "tidewire.v1.msgpack.batch": Subprotocol(MSGPACK, batch=True),
    "tidewire.v1.protobuf": Subprotocol(PROTOBUF, batch=False),
    "tidewire.v1.protobuf.batch": Subprotocol(PROTOBUF, batch=True),
}

DEFAULT = SUBPROTOCOLS["tidewire.v1.json"]
"""For clients that ask for none."""

__all__ = ["DEFAULT", "JSON", "MSGPACK", "PROTOBUF", "SUBPROTOCOLS", "Codec", "Subprotocol"]
