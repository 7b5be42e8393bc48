"""The commands that a client sends over a WebSocket."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec

from tidewire.access.caller import Right
from tidewire.transports.publish import MISSING, Publication

Ref = int | str | None


class _Command(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    """``ref`` comes back in the answer."""

    ref: Ref = None

    #: What a caller needs in the channels that ``names`` has; ``None``: nothing in any channel.
    needs: ClassVar[Right | None] = None

    def names(self) -> Iterable[str]:
        """The channels that the command is about, as it has them: nothing was checked yet."""
        return ()


class Subscribe(_Command, tag="subscribe"):
    """``channels`` as a list, or as an object of channel → cursor or since."""

    channels: list[str] | dict[str, str | int] = []
    since: str | int | None = None
    cursor: str | None = None
    needs = "subscribe"

    def names(self) -> Iterable[str]:
        return self.channels


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
    needs = "publish"

    def names(self) -> Iterable[str]:
        if self.messages is not None:
            return dict.fromkeys(one.channel for one in self.messages if one.channel is not None)
        return () if self.channel is None else (self.channel,)


class History(_Command, tag="history"):
    channel: str = ""
    cursor: str | None = None
    since: str | int | None = None
    limit: int = 100
    needs = "history"

    def names(self) -> Iterable[str]:
        return (self.channel,)


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
    needs = "publish"

    def names(self) -> Iterable[str]:
        return (self.channel,)


class Chunk(_Command, tag="chunk"):
    """``upload`` is the number that the answer to the ``upload`` command gave."""

    upload: int = 0
    offset: int = 0
    data: bytes = b""


class Refresh(_Command, tag="refresh"):
    """A new token, in good time before the last one expires."""

    token: str = ""


Command = Subscribe | Unsubscribe | Publish | History | Ping | Ack | Nack | Upload | Chunk | Refresh

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
