"""How often somebody may do something: token buckets, without timers.

A bucket is one number: the time at which it will be full again, had nothing more been taken. So one
that is not used costs nothing, and one that is full need not be kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice
from typing import NamedTuple

BURST_SECONDS = 2.0

ROUNDING = 1e-6
"""Seconds by which sums of fractions may be off. What it lets through is one of a million."""


class Rate(NamedTuple):
    """*per_second* on average; at once what comes together in so many *seconds* of rest."""

    per_second: float
    seconds: float = BURST_SECONDS


def rate_of(per_second: float | None) -> Rate | None:
    """The rate that a setting means, where 0 is none."""
    return Rate(per_second) if per_second else None


class Bucket:
    """What one client has left of a rate. It starts full."""

    __slots__ = ("_full_at",)

    def __init__(self) -> None:
        self._full_at = 0.0

    def take(self, rate: Rate, now: float, count: float = 1.0) -> float:
        """Take *count* tokens and return 0; or take none, and return the seconds until it may be.

        What is more than the bucket holds may be taken when it is full. Then it is in debt for the
        rest, so that the average is kept all the same.
        """
        wait, self._full_at = _take(self._full_at, rate, now, count)
        return wait

    def charge(self, rate: Rate, now: float, count: float) -> None:
        """Take *count* tokens, whether or not they are there."""
        self._full_at = max(self._full_at, now) + count / rate.per_second

    def debt(self, rate: Rate, now: float) -> float:
        """Seconds until what was taken without being there is paid back."""
        return max(self._full_at - now - rate.seconds, 0.0)


class Buckets:
    """Buckets by key. Of those that are not full the *most* used last are kept."""

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._full_at: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, rate: Rate, now: float, count: float = 1.0) -> float:
        """Take from the bucket of *key*, as ``Bucket.take`` does."""
        buckets = self._full_at
        wait, buckets[key] = _take(buckets.pop(key, 0.0), rate, now, count)
        self._bound(now)
        return wait

    def charge(self, key: Hashable, rate: Rate, now: float, count: float) -> None:
        """Take from the bucket of *key*, as ``Bucket.charge`` does."""
        buckets = self._full_at
        buckets[key] = max(buckets.pop(key, 0.0), now) + count / rate.per_second
        self._bound(now)

    def _bound(self, now: float) -> None:
        buckets = self._full_at
        # Two for the one that may be new: however many keys come, the full ones go.
        for oldest in tuple(islice(buckets, 2)):
            if buckets[oldest] > now and len(buckets) <= self._most:
                break
            del buckets[oldest]


def _take(full_at: float, rate: Rate, now: float, count: float) -> tuple[float, float]:
    """The seconds to wait, and when the bucket is full from then on."""
    per_second, seconds = rate
    if full_at < now:
        full_at = now
    cost = count / per_second
    wait = full_at - now - seconds + (cost if cost < seconds else seconds)
    if wait > ROUNDING:
        return wait, full_at
    return 0.0, full_at + cost
