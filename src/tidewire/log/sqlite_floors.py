"""What each channel of a SQLite log has discarded, deleted or not yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from tidewire.model import Namespaces

#: Of ``channels``, in the order of ``Channel``.
CHANNEL_COLUMNS = "number, name, seq, discarded_seq, discarded_id, forgotten_id"


class Channel(NamedTuple):
    """A channel's row, as far as discarding goes.

    All up to ``discarded_id`` is discarded, deleted or not yet, and ``discarded_seq`` is the last
    ``seq`` of that; up to ``forgotten_id`` it belongs to an earlier life of the channel.
    """

    number: int
    name: str
    seq: int
    discarded_seq: int
    discarded_id: int
    forgotten_id: int


class Floors:
    """Computes the bounds that readers see, so that they are exact whenever rows are deleted."""

    def __init__(
        self, connection: sqlite3.Connection, namespaces: Namespaces, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._namespaces = namespaces
        self._clock = clock

    def of(self, channel: Channel) -> int:
        """The newest id of the channel that is discarded, by size or by age."""
        run = self._connection.execute
        size, ttl_us = self._namespaces.retention(channel.name)
        floor = channel.discarded_id
        excess = channel.seq - channel.discarded_seq - size
        if excess > 0:
            row = run(
                "SELECT id FROM messages WHERE channel = ? AND id > ? ORDER BY id LIMIT 1 OFFSET ?",
                (channel.number, floor, excess - 1),
            ).fetchone()
            if row is not None:
                floor = max(floor, row[0])
        # An id is the time of its acceptance, in µs.
        row = run(
            "SELECT id FROM messages WHERE channel = ? AND id < ? ORDER BY id DESC LIMIT 1",
            (channel.number, int(self._clock() * 1_000_000) - ttl_us),
        ).fetchone()
        return floor if row is None else max(floor, row[0])
