"""Which channels a process has a use for, so that the engine need not bring it the others whole.

A channel is of use while somebody follows it, and for one or two minutes after somebody has asked
for it: who comes round again finds it in memory. Of the others the feed may have traces, which say
that there is a message and where; who asks then reads the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

KEPT_SECONDS = 60.0
MOST = 100_000
"""Channels that were asked for, in one such time."""


class Interest:
    """*followed* are the channels that have a follower now: live views, looked at when asked."""

    __slots__ = ("_before", "_clock", "_followed", "_noted", "_since")

    def __init__(
        self,
        *followed: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._followed = followed
        self._clock = clock
        self._noted: set[str] = set()
        self._before: set[str] = set()
        self._since = clock()

    def note(self, channels: Iterable[str]) -> None:
        """Somebody asks for *channels*."""
        now = self._clock()
        if now - self._since > KEPT_SECONDS or len(self._noted) > MOST:
            self._before = self._noted
            self._noted = set()
            self._since = now
        self._noted.update(channels)

    def __contains__(self, channel: object) -> bool:
        if channel in self._noted or channel in self._before:
            return True
        return any(channel in followed for followed in self._followed)
