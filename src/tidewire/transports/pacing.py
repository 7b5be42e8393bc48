"""How fast a WebSocket's client may send, and what becomes of what is too much.

A command that is too much is refused, a file's chunk is not: while a connection has an upload, it
is read no faster than its pace. Who goes on in spite of refusals is sent away.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tidewire.access.paces import UNPACED, Meter, Paces
from tidewire.access.rates import Bucket, Rate
from tidewire.model import TooManyRequests
from tidewire.transports.framing import PONG, frame
from tidewire.transports.wire import PACED

if TYPE_CHECKING:
    from tidewire.transports.dialogue import Dialogue

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

    __slots__ = ("_dialogue", "_meter", "_slowed")

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._meter = Meter()
        self._slowed = False

    def refusal(self, size: int) -> TooManyRequests | None:
        """Count in a command of *size* bytes, or say why it is too much."""
        paces = self._paces()
        if paces is UNPACED:
            return None
        dialogue = self._dialogue
        now = dialogue.rules.pacing.clock()
        if dialogue.uploading is not None:
            self._charge(paces, now, 1, size)
            return None
        return self._meter.take(paces, now, size)

    def give_up(self, why: TooManyRequests) -> None:
        """Send a client away that goes on, whatever it is told."""
        dialogue = self._dialogue
        if not dialogue.ended and self._meter.is_given_up(dialogue.rules.pacing.clock()):
            dialogue.wire.end(4429, why.detail, again=True)

    def charge(self, messages: int, size: int = 0) -> None:
        """Count in what is taken in any case; if it was too much, nothing is read for a while."""
        paces = self._paces()
        if paces is not UNPACED:
            self._charge(paces, self._dialogue.rules.pacing.clock(), messages, size)

    def _paces(self) -> Paces:
        dialogue = self._dialogue
        return dialogue.rules.pacing.paces.of(dialogue.gate.caller)

    def _charge(self, paces: Paces, now: float, messages: int, size: int) -> None:
        self._meter.charge(paces, now, messages, size)
        if not self._slowed and self._meter.debt(paces, now):
            self._slowed = True
            self._dialogue.wire.stop_reading(PACED)
            self._dialogue.hub.spawn(self._read_on_later())

    async def _read_on_later(self) -> None:
        dialogue = self._dialogue
        while not dialogue.ended:
            debt = self._meter.debt(self._paces(), dialogue.rules.pacing.clock())
            if not debt:
                break
            await asyncio.sleep(min(debt, _LONGEST_SLEEP))
        self._slowed = False
        dialogue.wire.read_on(PACED)


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
