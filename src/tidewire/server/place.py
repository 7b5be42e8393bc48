"""A worker's place under its supervisor: which slot it serves, and the line between the two."""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio import Future
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from tidewire.model import EngineUnavailable, Unavailable
from tidewire.server.line import (
    Ask,
    Everything,
    Failed,
    Family,
    Incoming,
    Leave,
    Leaving,
    Message,
    Ping,
    Pong,
    Ready,
    Stop,
    Tell,
    Told,
    to_bytes,
)
from tidewire.server.listening import StartError

logger = logging.getLogger("tidewire.server")

ASK_SECONDS = 3.0
"""The supervisor answers within one, whatever the workers do."""

HANG_UP_SECONDS = 1.0
"""How long the last words may take."""


class Place:
    """The worker *number* accepts at *listener*, and talks to its supervisor over *line*."""

    def __init__(self, number: int, listener: socket.socket, line: socket.socket) -> None:
        self.number = number
        self.listener = listener
        self._line = line
        self._transport: asyncio.Transport | None = None
        self._families: Callable[[], list[Family]] = list
        self._end: Callable[[bool], None] | None = None
        self._hung_up: Future[None] | None = None
        self._questions = 0
        self._asked: dict[int, Future[Everything]] = {}
        self._asking: asyncio.Task[Everything] | None = None
        self._next: asyncio.Task[Everything] | None = None

    def fail(self, error: StartError) -> None:
        """Tell why this worker does not start, and that it is no use to try again."""
        of_log = isinstance(error.__cause__, EngineUnavailable)
        with suppress(OSError):
            self._line.setblocking(True)
            self._line.sendall(to_bytes(Failed(str(error), of_log)))

    async def take(self, families: Callable[[], list[Family]], end: Callable[[bool], None]) -> None:
        """Say that this worker serves. From now on the supervisor may want its metrics.

        *end* is called when it is to end, with whether others accept in its place.
        """
        self._families = families
        self._end = end
        self._loop = asyncio.get_running_loop()
        await self._loop.create_unix_connection(lambda: _Line(self), sock=self._line)
        self._send(Ready())

    def leave(self) -> None:
        """Somebody else has told this worker to end."""
        self._send(Leaving())
        if self._end is not None:
            self._end(True)

    async def give_up(self) -> None:
        """Tell the last of the metrics, and hang up."""
        self._send(Told(0, self._families()))
        if self._transport is not None:
            self._hung_up = self._loop.create_future()
            self._transport.close()
            await asyncio.wait([self._hung_up], timeout=HANG_UP_SECONDS)

    # Metrics

    async def everything(self) -> Everything:
        """The metrics of all workers, as they are after this call.

        Raises:
            Unavailable: if the supervisor does not answer.
        """
        # However many ask, one question is on its way, and one waits for that.
        if self._next is None:
            self._next = self._loop.create_task(self._ask_after(self._asking))
        return await asyncio.shield(self._next)

    async def _ask_after(self, other: asyncio.Task[Everything] | None) -> Everything:
        if other is not None:
            await asyncio.wait([other])
        self._asking, self._next = self._next, None
        self._questions += 1
        question = self._questions
        self._asked[question] = self._loop.create_future()
        self._send(Ask(question))
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._asked[question]
        except TimeoutError:
            raise Unavailable("the supervisor does not answer") from None
        finally:
            del self._asked[question]

    # The line

    def _send(self, message: Message) -> None:
        if self._transport is not None:
            self._transport.write(to_bytes(message))

    def connected(self, transport: asyncio.Transport) -> None:
        """The line stands."""
        self._transport = transport

    def heard(self, message: Message) -> None:
        """The supervisor has said something."""
        if isinstance(message, Ping):
            self._send(Pong())
        elif isinstance(message, Tell):
            self._send(Told(message.round, self._families()))
        elif isinstance(message, Everything):
            future = self._asked.get(message.question)
            if future is not None and not future.done():
                future.set_result(message)
        elif isinstance(message, Leave | Stop) and self._end is not None:
            self._end(isinstance(message, Leave))

    def lost(self) -> None:
        """The line is cut."""
        self._transport = None
        if self._hung_up is not None:
            self._hung_up.set_result(None)
        elif self._end is not None:
            logger.warning("the supervisor is gone")
            self._end(True)


class _Line(asyncio.Protocol):
    def __init__(self, place: Place) -> None:
        self._place = place
        self._incoming = Incoming()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._place.connected(cast("asyncio.Transport", transport))  # uvloop's is of its own kind

    def data_received(self, data: bytes) -> None:
        for message in self._incoming.feed(data):
            self._place.heard(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._place.lost()
