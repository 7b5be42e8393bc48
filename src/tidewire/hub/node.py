"""A node: one server process among those that share a log, as the others see it."""

from __future__ import annotations

import secrets
import string

import msgspec

ID_LENGTH = 8

_ALPHABET = string.ascii_letters + string.digits


class NodeInfo(msgspec.Struct, frozen=True):
    """What a node says of itself, a few seconds ago at the most.

    ``started`` is in Unix ms by the clock of its machine, which may differ from ours: for people
    only. ``address`` is where it listens. ``capacity`` is how many connections it takes, of which
    it has ``connections``, by ``transports``: ``websocket``, ``sse``, ``longpoll``, and ``http``
    for the rest. ``messages`` are those that came from the log each second, ``cpu`` is the share of
    one core, ``memory`` in bytes. A node that is ``draining`` takes nobody any more.
    """

    id: str
    host: str = ""
    pid: int = 0
    version: str = ""
    started: int = 0
    address: str = ""
    draining: bool = False
    connections: int = 0
    capacity: int = 0
    transports: dict[str, int] = {}
    messages: float = 0.0
    cpu: float = 0.0
    memory: int = 0


def new_node_id() -> str:
    """A name that no other node has, nor will have."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_LENGTH))
