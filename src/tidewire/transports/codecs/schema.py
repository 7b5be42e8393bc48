"""The messages of ``protocol/tidewire.proto`` as classes of protobuf.

Importing this imports protobuf: only who speaks that subprotocol needs it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

__all__ = ["Command", "DecodeError", "Envelope"]


def _load(*names: str) -> list[Any]:
    """The classes of that name, made from what scripts/compile_protocol.py wrote."""
    file = FileDescriptorProto()
    text_format.Parse(files(__package__).joinpath("tidewire.txtpb").read_text("utf-8"), file)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return [GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names]


Command, Envelope = _load("Command", "Envelope")
