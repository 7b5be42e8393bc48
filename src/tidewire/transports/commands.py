"""The commands that a client sends over a WebSocket."""

from __future__ import annotations

from typing import Literal

import msgspec

from tidewire.transports.publish import MISSING, Publication

Ref = int | str | None


class _Command(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    """``ref`` comes back in the answer."""

    ref: Ref = None


class Subscribe(_Command, tag="subscribe"):
    """``channels`` as a list, or as an object of channel → cursor or since."""

    channels: list[str] | dict[str, str | int] = []
    since: str | int | None = None
    cursor: str | None = None


class Unsubscribe(_Command, tag="unsubscribe"):
    channels: list[str] = []


class Publish(_Command, tag="publish"):
    channel: str | None = None
    data: msgspec.Raw = MISSING
    event: str | None = None
    headers: dict[str, str] | None = None
    key: str | None = None
    encoding: Literal["base64"] | None = None
    ttl: float | None = None
    version: int | None = None
    messages: list[Publication] | None = None


class History(_Command, tag="history"):
    channel: str = ""
    cursor: str | None = None
    since: str | int | None = None
    limit: int = 100


class Ping(_Command, tag="ping"):
    pass


class Ack(_Command, tag="ack"):
    """``id`` or ``ids``; without ``single`` all up to the newest of them."""

    id: str | None = None
    ids: list[str] = []
    single: bool = False


class Nack(_Command, tag="nack"):
    """``id`` or ``ids``; ``delay`` is in ms."""

    id: str | None = None
    ids: list[str] = []
    delay: float = 0
    reject: bool = False


class Upload(_Command, tag="upload"):
    upload: str = ""
    channel: str = ""
    name: str = ""
    size: int = -1
    sha256: str = ""
    content_type: str = "application/octet-stream"


class Chunk(_Command, tag="chunk"):
    """``upload`` is the number that the answer to the ``upload`` command gave."""

    upload: int = 0
    offset: int = 0
    data: bytes = b""


Command = Subscribe | Unsubscribe | Publish | History | Ping | Ack | Nack | Upload | Chunk

decode_command = msgspec.json.Decoder(Command).decode


class _Head(msgspec.Struct):
    ref: Ref = None


_decode_head = msgspec.json.Decoder(_Head).decode


def ref_of(data: bytes) -> Ref:
    """The ``ref`` of what is no command, as far as it can be made out."""
    try:
        return _decode_head(data).ref
    except (msgspec.MsgspecError, RecursionError):
        return None
