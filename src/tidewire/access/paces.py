"""How fast one client may send: messages and their bytes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from tidewire.access.caller import Caller
from tidewire.access.rates import BURST_SECONDS, ROUNDING, Bucket, Buckets, Rate, rate_of
from tidewire.model import TooManyRequests

PATIENCE = 5.0
"""Seconds' worth of messages too many, beyond what comes again at the rate, that are refused one by
one before the client is given up."""


class Paces(NamedTuple):
    """What one client may send a second; ``None``: as much as it likes."""

    messages: Rate | None = None
    bytes: Rate | None = None

    def of(self, caller: Caller) -> Paces:
        """What holds for *caller*: these, but for what its token says; nothing for back ends."""
        if caller.kind == "key":
            return UNPACED
        limits = caller.limits
        if limits.messages is None and limits.bytes is None:
            return self
        return Paces(
            self.messages if limits.messages is None else rate_of(limits.messages),
            self.bytes if limits.bytes is None else rate_of(limits.bytes),
        )


UNPACED = Paces()


def paces_of(messages: float, size: float) -> Paces:
    """The paces that settings mean, where 0 is none."""
    return Paces(rate_of(messages), rate_of(size)) if messages or size else UNPACED


class Meter:
    """What one connection has sent of its paces, and how much more it has tried to."""

    __slots__ = ("_bytes", "_messages", "_refused")

    def __init__(self) -> None:
        self._messages = Bucket()
        self._bytes = Bucket()
        self._refused = Bucket()

    def take(self, paces: Paces, now: float, size: int) -> TooManyRequests | None:
        """Count in a message of *size* bytes, or say why it is too many."""
        if paces.messages is not None:
            wait = self._messages.take(paces.messages, now)
            if wait:
                self._refuse(now, 1 / paces.messages.per_second)
                return _too_many("messages", paces.messages, wait, "message_rate")
        if paces.bytes is not None:
            wait = self._bytes.take(paces.bytes, now, size)
            if wait:
                self._refuse(now, size / paces.bytes.per_second)
                return _too_many("bytes", paces.bytes, wait, "byte_rate")
        return None

    def charge(self, paces: Paces, now: float, messages: int, size: int) -> None:
        """Count in so many *messages* of *size* bytes together that are taken in any case."""
        if paces.messages is not None:
            self._messages.charge(paces.messages, now, messages)
        if paces.bytes is not None:
            self._bytes.charge(paces.bytes, now, size)

    def debt(self, paces: Paces, now: float) -> float:
        """Seconds until what was taken beyond the paces is made up for."""
        debt = 0.0
        if paces.messages is not None:
            debt = self._messages.debt(paces.messages, now)
        if paces.bytes is not None:
            debt = max(debt, self._bytes.debt(paces.bytes, now))
        return debt

    def _refuse(self, now: float, seconds: float) -> None:
        # However large a message is, it is one mistake.
        self._refused.charge(_SECONDS, now, min(seconds, BURST_SECONDS))

    def is_given_up(self, now: float) -> bool:
        """Whether the client goes on sending, whatever it is told."""
        return self._refused.debt(_SECONDS, now) > PATIENCE + ROUNDING


# What is refused, in seconds' worth: as much as the pace lets through is forgiven.
_SECONDS = Rate(1.0, 0.0)


class Meters:
    """What callers have sent of their paces, by whatever key tells them apart."""

    def __init__(self, most: int = 100_000) -> None:
        self._messages = Buckets(most)
        self._bytes = Buckets(most)

    def check(self, key: Hashable, paces: Paces, now: float, size: int) -> None:
        """Count in a message of *size* bytes.

        Raises:
            TooManyRequests: if it is too many, saying when it may be.
        """
        if paces.messages is not None:
            wait = self._messages.take(key, paces.messages, now)
            if wait:
                raise _too_many("messages", paces.messages, wait, "publish_rate")
        if paces.bytes is not None:
            wait = self._bytes.take(key, paces.bytes, now, size)
            if wait:
                raise _too_many("bytes", paces.bytes, wait, "publish_rate")

    def charge(self, key: Hashable, paces: Paces, now: float, messages: int) -> None:
        """Count in *messages* more that came inside of the last one."""
        if paces.messages is not None:
            self._messages.charge(key, paces.messages, now, messages)


def _too_many(what: str, rate: Rate, wait: float, refusal: str) -> TooManyRequests:
    return TooManyRequests(
        f"send at most {rate.per_second:g} {what} a second, "
        f"{rate.per_second * rate.seconds:g} at once: wait {max(wait, 0.1):.1f} s",
        retry_after=wait,
        refusal=refusal,
    )
