"""Namespaces: the settings that channels share by the part of their name before the colon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tidewire.model.address import PRESENCE
from tidewire.model.channel import MAX_NAME, namespace_of


class Retention(NamedTuple):
    """How much of a channel is kept: at most *size* messages, none older than *ttl_us* µs."""

    size: int
    ttl_us: int


# What nodes tell each other: to be heard at once, kept for one that was held up for a while.
_INTERNAL = Retention(10_000, 60_000_000)
# Who comes and goes: whoever missed it for longer reads who is there.
_COMINGS_AND_GOINGS = Retention(10_000, 300_000_000)


class Flow(NamedTuple):
    """How a channel's messages flow to its subscribers; what one gets that has fallen behind.

    ``catch_up``: all that history holds; ``latest``: the newest message, or with *conflate_by* the
    newest of each value of that header; ``disconnect``: the end of its connection.

    Who has not fallen behind gets all, but may wait *coalesce* seconds for it: what comes meanwhile
    is written with it.
    """

    policy: str = "catch_up"
    conflate_by: str | None = None
    coalesce: float = 0.0


_CATCH_UP = Flow()


class Namespaces:
    """Looks up what a channel's namespace sets, or the default."""

    __slots__ = ("_by_name", "_default", "_flow", "_flows", "_presence", "_presences")

    def __init__(
        self,
        default: Retention,
        by_name: Mapping[str, Retention] | None = None,
        flow: Flow = _CATCH_UP,
        flows: Mapping[str, Flow] | None = None,
        *,
        presence: bool = False,
        presences: Mapping[str, bool] | None = None,
    ) -> None:
        self._default = default
        self._by_name = dict(by_name or {})
        self._presence = presence
        self._presences = dict(presences or {})
        if self.any_has_presence:
            self._by_name.setdefault(namespace_of(PRESENCE), _COMINGS_AND_GOINGS)
        self._flow = flow
        self._flows = dict(flows or {})

    def retention(self, channel: str) -> Retention:
        """The retention of *channel*."""
        if channel[0] == "!":
            return _INTERNAL
        if not self._by_name:
            return self._default
        return self._by_name.get(namespace_of(channel), self._default)

    @property
    def any_has_presence(self) -> bool:
        """Whether any channel has presence."""
        return self._presence or any(self._presences.values())

    def has_presence(self, channel: str) -> bool:
        """Whether it is kept, and told, who is on *channel*.

        The channels in which that is told have none, nor has one whose name is too long for that.
        """
        if channel[0] == "!" or channel.startswith(PRESENCE):
            return False
        wanted = self._presences.get(namespace_of(channel), self._presence)
        return wanted and len(channel) + len(PRESENCE) <= MAX_NAME

    @property
    def coalesces(self) -> bool:
        """Whether messages of any channel may wait for others."""
        return any(flow.coalesce for flow in (self._flow, *self._flows.values()))

    def flow(self, channel: str) -> Flow:
        """How messages of *channel* flow."""
        return self._flows.get(namespace_of(channel), self._flow)
