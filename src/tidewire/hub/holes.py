"""Holes in the feed: messages that the log has, and that it never handed to this process.

An engine whose feed was cut for longer than its storage waits can miss some. ``seq`` counts
1, 2, 3 … in each channel, so the next message of the channel gives it away. An engine that knows
that its feed is broken says so itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tidewire.model import Message


class Hole(NamedTuple):
    """Messages of *channel* are missing somewhere between the ids *after* and *before*."""

    channel: str
    after: int
    before: int


class Break(NamedTuple):
    """The whole feed lacks what is between the ids *after* and *upto*, or the log has lost it.

    ``reached`` is what the feed had come to: who stands above it knows more than this process did.
    With ``anew`` another log begins here, and no position in the one before means anything.
    """

    after: int
    upto: int
    reached: int
    anew: bool


class Sequences:
    """The newest ``seq`` and id fed of at most *most* channels; of others no hole is noticed."""

    __slots__ = ("_most", "_newest")

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._newest: dict[str, tuple[int, int]] = {}

    def holes(self, messages: Iterable[Message]) -> list[Hole]:
        """Take in the feed's next *messages*; return the holes in front of them."""
        newest = self._newest
        found: list[Hole] = []
        for message in messages:
            channel = message.channel
            if message.gap is not None:
                # Whatever was missed before it is gone: the record says so itself.
                newest.pop(channel, None)
                continue
            if not message.data:  # a trace may stand for several
                newest[channel] = (message.seq, message.id)
                continue
            known = newest.get(channel)
            if known is not None and message.seq != known[0] + 1:
                found.append(Hole(channel, known[1], message.id))
            newest[channel] = (message.seq, message.id)
        while len(newest) > self._most:
            del newest[next(iter(newest))]
        return found
