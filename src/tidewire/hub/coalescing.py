"""Coalescing: what comes for a large room within a short time is written to it in one piece.

A write to each of 100,000 sockets costs the same for one message as for ten. Where a namespace
says how long its messages may wait, an audience's share of a round is held until the first of them
has waited so long. A message of a channel that does not wait takes along what is held, so that the
order stays; and who leaves the audience meanwhile reads what is held from the log.
"""

from __future__ import annotations

import heapq
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

from tidewire.hub.audience import Audience
from tidewire.model import Message, Namespaces

MOST_BYTES = 256 << 10
"""Held for one audience; more is written at once."""


class Coalescing:
    """Holds shares of audiences, and calls *due* with an audience whose share has waited enough."""

    __slots__ = ("_due", "_heap", "_loop", "_namespaces", "_number", "_timer")

    def __init__(
        self, namespaces: Namespaces, loop: AbstractEventLoop, due: Callable[[Audience], None]
    ) -> None:
        self._namespaces = namespaces
        self._loop = loop
        self._due = due
        # A number besides the time: audiences themselves cannot be compared.
        self._heap: list[tuple[float, int, Audience]] = []
        self._number = 0
        self._timer: TimerHandle | None = None

    def share(self, audience: Audience, messages: list[Message], base: int) -> list[Message]:
        """What *audience* is to be given now of what is held and *messages*: all, or nothing.

        *base* is the hub's position before what is held, or else before *messages*.
        """
        held = audience.held
        flow = self._namespaces.flow
        wait = min(flow(message.channel).coalesce for message in messages)
        if wait <= 0:
            return self.take(audience) + messages if held else messages
        if not held:
            audience.held_base = base
            self._number += 1
            heapq.heappush(self._heap, (self._loop.time() + wait, self._number, audience))
            if self._timer is None or self._timer.when() > self._heap[0][0]:
                self._set_timer()
        held += messages
        if sum(message.size for message in held) > MOST_BYTES:
            return self.take(audience)
        return []

    def take(self, audience: Audience) -> list[Message]:
        """What is held for *audience*, to be given to it now."""
        held, audience.held = audience.held, []
        return held

    def stop(self) -> None:
        """Call nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._run) if self._heap else None

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time()
        heap = self._heap
        while heap and heap[0][0] <= now:
            audience = heapq.heappop(heap)[2]
            # It may have been taken before its time, and what is held now be younger: then that
            # is written a little early.
            if audience.held:
                self._due(audience)
        self._set_timer()
