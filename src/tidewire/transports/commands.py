"""The commands that a client sends over a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import msgspec

from tidewire.access.caller import Right
from tidewire.model import BadRequest
from tidewire.model.address import ME, resolved
from tidewire.transports.publish import MISSING, Content, Publication, plain_channel, recipients_of

Ref = int | str | None
Own = Callable[[], tuple[str, ...]]


class _Command(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    """``ref`` comes back in the answer."""

    ref: Ref = None

    #: What a caller needs in the channels that ``names`` has; ``None``: nothing in any channel.
    needs: ClassVar[Right | None] = None

    #: Whether ``@me`` may stand in it for channels: then ``resolve`` it before ``names``.
    addresses: ClassVar[bool] = False

    def names(self) -> Iterable[str]:
        """The channels that the command is about, as it has them: nothing was checked yet."""
        return ()

    def resolve(self, own: Own) -> None:
        """Put the caller's *own* channels in the place of ``@me``."""


class Subscribe(_Command, tag="subscribe"):
    """``channels`` as a list, or as an object of channel → cursor or since."""

    channels: list[str] | dict[str, str | int] = []
    since: str | int | None = None
    cursor: str | None = None
    needs = "subscribe"
    addresses = True

    def names(self) -> Iterable[str]:
        return self.channels

    def resolve(self, own: Own) -> None:
        if ME not in self.channels:
            return
        if isinstance(self.channels, list):
            self.channels = list(resolved(self.channels, own()))
        else:
            start = self.channels.pop(ME)
            self.channels = dict.fromkeys(own(), start) | self.channels


class Unsubscribe(_Command, tag="unsubscribe"):
    channels: list[str] = []
    addresses = True

    def resolve(self, own: Own) -> None:
        if ME in self.channels:
            self.channels = list(resolved(self.channels, own()))


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
    channels: list[str] | None = None
    user: str | None = None
    device: str | None = None
    users: list[str] | None = None
    all: bool = False
    needs = "publish"

    def names(self) -> Iterable[str]:
        if self.messages is not None:
            return dict.fromkeys(name for one in self.messages for name in _recipients(one))
        return _recipients(self)


def _recipients(publication: Content) -> Iterable[str]:
    """Where it goes; nowhere when it does not say that as it should: it is refused for that."""
    if (channel := plain_channel(publication)) is not None:
        return (channel,)
    try:
        return recipients_of(publication)
    except BadRequest:
        return ()


class _OfOneChannel(_Command):
    channel: str = ""
    addresses = True

    def names(self) -> Iterable[str]:
        return (self.channel,)

    def resolve(self, own: Own) -> None:
        if self.channel == ME:
            self.channel = own()[0]


class History(_OfOneChannel, tag="history"):
    cursor: str | None = None
    since: str | int | None = None
    limit: int = 100
    needs = "history"


class Presence(_OfOneChannel, tag="presence"):
    members: bool = False
    after: str = ""
    limit: int = 100
    needs = "presence"


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


Command = (
    Subscribe
    | Unsubscribe
    | Publish
    | History
    | Presence
    | Ping
    | Ack
    | Nack
    | Upload
    | Chunk
    | Refresh
)

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
