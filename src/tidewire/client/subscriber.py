"""Receiving across connections: attempts, one after the other, and the waits between them."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from tidewire.client.backoff import STABLE_AFTER, Backoff
from tidewire.client.envelope import Message, Received
from tidewire.client.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tidewire.client.envelope import Event, Gap
    from tidewire.client.position import Position
    from tidewire.client.transport import Transport


class Watcher:
    """Told what happens to the connection; does nothing by itself."""

    def connected(self) -> None:
        """The server has answered: from here on nothing is missed."""

    def waiting(self, delay: float, reason: str) -> None:
        """The connection failed or ended for ``reason``; the next attempt is in ``delay`` s."""

    def missed(self, gap: Gap) -> None:
        """Messages are gone. Told by :class:`tidewire.client.Subscription`."""


async def receive(
    transport: Transport,
    position: Position,
    *,
    backoff: Backoff | None = None,
    watcher: Watcher | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Event, None]:
    """Yield what comes from *position* on, over as many connections as it takes.

    The position is past each event that was yielded, so ``position.cursor`` is what to keep once an
    event has been dealt with. Nothing is left out, and nothing comes twice.

    Raises:
        Refused: when the server wants no other attempt.
    """
    backoff = backoff or Backoff()
    watcher = watcher or Watcher()
    while True:
        opened: float | None = None
        try:
            async with aclosing(transport.attempt(position)) as events:
                async for event in events:
                    if opened is None:
                        opened = clock()
                        watcher.connected()
                    if isinstance(event, Received) and isinstance(event.envelope, Message):
                        # It delivers: what fails later is another failure, not the same again.
                        backoff.reset()
                    position.advance(event)
                    yield event
            ended = Interrupted("the connection ended")
        except Interrupted as error:
            ended = error
        if opened is not None and clock() - opened >= STABLE_AFTER:
            backoff.reset()
        delay = backoff.delay(ended.retry_after)
        watcher.waiting(delay, ended.reason)
        await sleep(delay)
