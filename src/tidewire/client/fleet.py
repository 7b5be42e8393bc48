"""What a server says of the connections and servers of its log."""

from __future__ import annotations

import msgspec


class ConnectionOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stream or held poll. ``since`` is Unix ms; ``subscriptions`` counts its channels.

    ``channels`` names them where one connection was asked for.
    """

    id: str
    node: str
    transport: str
    since: int
    address: str
    subscriptions: int
    user: str | None = None
    device: str | None = None
    channels: list[str] | None = None


class Connections(msgspec.Struct, frozen=True):
    """A page of connections; ``total`` counts those on all pages.

    ``missing`` are servers that did not answer: theirs are not among them.
    """

    connections: list[ConnectionOf]
    total: int
    next: str | None = None
    missing: list[str] = []


class Disconnected(msgspec.Struct, frozen=True):
    """How many connections were ended, and which servers did not say so."""

    disconnected: int
    missing: list[str] = []


class Node(msgspec.Struct, frozen=True):
    """One server. ``started`` is Unix ms, ``memory`` bytes, ``cpu`` the share of one core.

    ``messages`` come from the log each second. It takes ``capacity`` connections.
    """

    id: str
    host: str
    pid: int
    version: str
    started: int
    address: str
    draining: bool
    connections: int
    capacity: int
    transports: dict[str, int]
    messages: float
    cpu: float
    memory: int


class Nodes(msgspec.Struct, frozen=True):
    """All servers of a log; ``node`` is the one that answered."""

    node: str
    nodes: list[Node]
