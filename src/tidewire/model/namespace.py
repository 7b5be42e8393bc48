"""Namespaces: the settings that channels share by the part of their name before the colon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tidewire.model.channel import namespace_of


class Retention(NamedTuple):
    """How much of a channel is kept: at most *size* messages, none older than *ttl_us* µs."""

    size: int
    ttl_us: int


# What nodes tell each other: to be heard at once, kept for one that was held up for a while.
_INTERNAL = Retention(10_000, 60_000_000)


class Namespaces:
    """Looks up what a channel's namespace sets, or the default."""

    __slots__ = ("_by_name", "_default")

    def __init__(self, default: Retention, by_name: Mapping[str, Retention] | None = None) -> None:
        self._default = default
        self._by_name = dict(by_name or {})

    def retention(self, channel: str) -> Retention:
        """The retention of *channel*."""
        if channel[0] == "!":
            return _INTERNAL
        if not self._by_name:
            return self._default
        return self._by_name.get(namespace_of(channel), self._default)
