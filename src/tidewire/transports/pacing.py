"""How fast a WebSocket's client may send, and what becomes of what is too much.

A command that is too much is refused, a file's chunk is not: while a connection has an upload, it
is read no faster than its pace. Who goes on in spite of refusals is sent away.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tidewire.access.paces import UNPACED, Meter, Paces
from tidewire.access.rates import Bucket, Rate
from tidewire.hub import Hub
from tidewire.model import TooManyRequests
from tidewire.transports.framing import PONG, frame
from tidewire.transports.gate import Gate
from tidewire.transports.wire import PACED, Wire

PIECE = 16 << 10
"""Bytes that are taken in at a time: who sends too much is stopped before all of it is parsed."""

MOST_PONGS = 16
"""Pings of one run that are answered."""

TOO_MANY_CONTROLS = "too many control frames"

_LONGEST_SLEEP = 1.0  # seconds after which it is seen that the connection has ended


class Pacing(NamedTuple):
    """What every client may send: control frames and messages, by *clock*.

    Refusals are counted in *refusals*, by their reasons.
    """

    refusals: Counter[str]
    controls: Rate | None = None
    paces: Paces = UNPACED
    clock: Callable[[], float] = time.monotonic


class Pacer:
    """Holds one connection's commands to the pace of its caller."""

    __slots__ = ("_gate", "_hub", "_meter", "_pacing", "_slowed", "_wire", "ended")

    def __init__(self, wire: Wire, hub: Hub, gate: Gate, pacing: Pacing) -> None:
        self._wire = wire
        self._hub = hub
        self._gate = gate
        self._pacing = pacing
        self._meter = Meter()
        self._slowed = False
        self.ended = False  # the connection is gone, or will be in a moment

    def refusal(self, size: int, *, uploads: bool) -> TooManyRequests | None:
        """Count in a command of *size* bytes, or say why it is too much.

        One on a connection that *uploads* is taken in any case.
        """
        paces = self._pacing.paces.of(self._gate.caller)
        if paces is UNPACED:
            return None
        now = self._pacing.clock()
        if uploads:
            self._charge(paces, now, 1, size)
            return None
        return self._meter.take(paces, now, size)

    def give_up(self, why: TooManyRequests) -> None:
        """Send a client away that goes on, whatever it is told."""
        if not self.ended and self._meter.is_given_up(self._pacing.clock()):
            self._wire.end(4429, why.detail, again=True)

    def charge(self, messages: int, size: int = 0) -> None:
        """Count in what is taken in any case; if it was too much, nothing is read for a while."""
        paces = self._paces()
        if paces is not UNPACED:
            self._charge(paces, self._pacing.clock(), messages, size)

    def _paces(self) -> Paces:
        return self._pacing.paces.of(self._gate.caller)

    def _charge(self, paces: Paces, now: float, messages: int, size: int) -> None:
        self._meter.charge(paces, now, messages, size)
        if not self._slowed and self._meter.debt(paces, now):
            self._slowed = True
            self._wire.stop_reading(PACED)
            self._hub.spawn(self._read_on_later())

    async def _read_on_later(self) -> None:
        while not self.ended:
            debt = self._meter.debt(self._paces(), self._pacing.clock())
            if not debt:
                break
            await asyncio.sleep(min(debt, _LONGEST_SLEEP))
        self._slowed = False
        self._wire.read_on(PACED)


def floods(controls: Bucket, pacing: Pacing) -> bool:
    """Count in a ping or a pong; whether it is one too many, for which to close with 4429."""
    if pacing.controls is None or not controls.take(pacing.controls, pacing.clock()):
        return False
    pacing.refusals["control_rate"] += 1
    return True


def pongs(pings: list[bytes]) -> bytes:
    """The answers to a run of pings: to the newest ones, of which only the last must have one
    (RFC 6455 section 5.5.3).
    """
    return b"".join([frame(PONG, payload) for payload in pings[-MOST_PONGS:]])
