"""Channel names: 1 to 255 bytes of ``A-Z a-z 0-9 _ - . : / @ #``."""

from __future__ import annotations

import re

from tidewire.model.errors import BadRequest, InvalidChannel

MAX_NAME = 255

# Names that were found good: the same few come with every publish.
_MOST_KNOWN = 10_000
_known: set[str] = set()

_NAME = re.compile(r"[A-Za-z0-9_\-.:/@#]{1,255}", re.ASCII)


def check_channel(name: str) -> str:
    """Return *name* if it is a channel name.

    Raises:
        InvalidChannel: if it is empty, over 255 bytes, or has another character.
    """
    if name in _known:
        return name
    if _NAME.fullmatch(name) is None:
        shown = name if len(name) <= 40 else name[:40] + "…"
        raise InvalidChannel(
            f"{shown!r} is not a channel name: use 1 to 255 of A-Z a-z 0-9 _ - . : / @ #"
        )
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known.add(name)
    return name


def channel_names(text: str, most: int) -> tuple[str, ...]:
    """Split a comma-separated list into distinct channel names, in their first order.

    Raises:
        InvalidChannel: if a name is not one.
        BadRequest: if there are none, or more than *most*.
    """
    if not text.strip(","):
        raise BadRequest("name at least one channel, as in ?channels=news", code="no_channels")
    names = tuple(dict.fromkeys(check_channel(part) for part in text.split(",")))
    if len(names) > most:
        raise BadRequest(
            f"{len(names)} channels are more than the {most} that one subscription may hold",
            code="too_many_channels",
        )
    return names


def namespace_of(channel: str) -> str:
    """The part before the first colon, or ``""`` when there is none."""
    head, colon, _ = channel.partition(":")
    return head if colon else ""
