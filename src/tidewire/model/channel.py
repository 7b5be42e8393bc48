"""Channel names: 1 to 255 bytes of ``A-Z a-z 0-9 _ - . : / @ #``."""

from __future__ import annotations

import re

from tidewire.model.address import ALL, ME, PRESENCE
from tidewire.model.errors import BadRequest, Forbidden, InvalidChannel

MAX_NAME = 255

# Names that were found good: the same few come with every publish.
_MOST_KNOWN = 10_000
_known: set[str] = set()
_targets: set[str] = set()

_NAME = re.compile(r"[A-Za-z0-9_\-.:/@#]{1,255}", re.ASCII)


def check_channel(name: str) -> str:
    """Return *name* if it is a channel name.

    Raises:
        InvalidChannel: if it is empty, over 255 bytes, or has another character; if it is
            ``@me``, which is not the name of one.
    """
    if name in _known:
        return name
    if _NAME.fullmatch(name) is None:
        shown = name if len(name) <= 40 else name[:40] + "…"
        raise InvalidChannel(
            f"{shown!r} is not a channel name: use 1 to 255 of A-Z a-z 0-9 _ - . : / @ #"
        )
    if name == ME:
        raise InvalidChannel(
            f'{ME} stands for your own channels where you read; to send, name a "user"'
        )
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known.add(name)
    return name


def check_target(name: str) -> str:
    """Return *name* if it is the name of a channel that a client may send to, if it has the right.

    Raises:
        InvalidChannel: if it is none.
        Forbidden: if only the server speaks there.
    """
    if name in _targets:
        return name
    check_channel(name)
    if name.startswith(PRESENCE):
        raise Forbidden(f"only the server publishes to {PRESENCE}…: it tells who joins and leaves")
    if len(_targets) >= _MOST_KNOWN:
        _targets.clear()
    _targets.add(name)
    return name


def channel_names(text: str, most: int) -> tuple[str, ...]:
    """Split a comma-separated list into distinct names, in their first order: of channels, or @me.

    Raises:
        InvalidChannel: if a name is not one.
        BadRequest: if there are none, or more than *most*.
    """
    if not text.strip(","):
        raise BadRequest("name at least one channel, as in ?channels=news", code="no_channels")
    parts = text.split(",")
    names = tuple(dict.fromkeys(part if part == ME else check_channel(part) for part in parts))
    if len(names) > most:
        raise BadRequest(
            f"{len(names)} channels are more than the {most} that one subscription may hold",
            code="too_many_channels",
        )
    return names


def namespace_of(channel: str) -> str:
    """The part before the first colon, or ``""`` when there is none; ``@all`` is one of its own."""
    head, colon, _ = channel.partition(":")
    return head if colon or head == ALL else ""
