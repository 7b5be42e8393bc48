"""Who hears the servers' own channels: what one node tells the others, in the order of the log."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from tidewire.log.engine import Engine
from tidewire.model import EngineUnavailable, Gap, Message

logger = logging.getLogger("tidewire.hub")

RETRY_SECONDS = 0.5
PAGE_MESSAGES = 256
PAGE_BYTES = 256 << 10

Heard = Callable[[Message], None]
#: To be awaited when messages are gone that were never heard; tried again while the engine is away.
Missed = Callable[[], Awaitable[None]]

T = TypeVar("T")


class Listeners(dict[str, list[Heard]]):
    """Callbacks by channel. What the feed did not bring is read before what follows is heard."""

    def __init__(self, engine: Engine, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        super().__init__()
        self._engine = engine
        self._spawn = spawn
        self._missed: dict[str, list[Missed]] = {}
        self._breaks: deque[tuple[int, int]] = deque()  # still to be read, from one id to another
        self._held: deque[Message] = deque()  # behind those

    def add(self, channel: str, heard: Heard, missed: Missed | None) -> None:
        """Call *heard* with each message of *channel*; *missed* if some are gone for good."""
        self.setdefault(channel, []).append(heard)
        if missed is not None:
            self._missed.setdefault(channel, []).append(missed)

    def hear(self, message: Message) -> None:
        """Pass on a message of the feed."""
        if self._breaks:
            self._held.append(message)
        else:
            self._tell(message)

    def _tell(self, message: Message) -> None:
        for callback in self.get(message.channel, ()):
            try:
                callback(message)
            except Exception:  # the round must go on
                logger.exception("a message of %s was not understood", message.channel)

    def read(self, after: int, upto: int) -> None:
        """The feed did not bring what is between these ids: read it, and go on behind it."""
        self._breaks.append((after, upto))
        if len(self._breaks) == 1:
            self._spawn(self._read_all())

    async def _read_all(self) -> None:
        while self._breaks:
            after, upto = self._breaks[0]
            positions = dict.fromkeys(self, after)
            more = bool(positions)
            while more:
                read = partial(self._engine.read, positions, upto, PAGE_MESSAGES, PAGE_BYTES)
                page = await _done(read)
                for gap in page.gaps:
                    positions[gap.channel] = max(positions[gap.channel], gap.id)
                    await self._tell_gap(gap)
                for message in page.messages:
                    self._tell(message)
                for channel, position in positions.items():
                    positions[channel] = max(position, page.position)
                more = page.more
            self._breaks.popleft()
            while self._held and (not self._breaks or self._held[0].id <= self._breaks[0][0]):
                self._tell(self._held.popleft())

    async def _tell_gap(self, gap: Gap) -> None:
        logger.warning("messages of %s were lost before they were heard", gap.channel)
        for missed in self._missed.get(gap.channel, ()):
            await _done(missed)


async def _done(work: Callable[[], Awaitable[T]]) -> T:
    """What *work* gives, once the engine lets it."""
    while True:
        try:
            return await work()
        except EngineUnavailable as error:
            logger.warning("what was not heard waits for the engine: %s", error.detail)
            await asyncio.sleep(RETRY_SECONDS)
