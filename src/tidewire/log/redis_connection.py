"""One connection to a Redis server: commands in, answers and pushed messages out, in order.

redis-py connects, encrypts, shows the credentials and speaks the protocol (RESP3, with hiredis). Of
its parts this uses the connection alone, and not the client: one task writes what has come up in a
turn of the loop, another reads. So commands need not wait for the answers of those before, and what
is published arrives on the connection that publishes, between its answers.

A connection that has nothing to say is asked something every second. One that owes an answer and
has sent nothing for ``SILENCE_SECONDS`` is cut off: its server hangs, or is not there.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from asyncio import Future
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import RedisError as LibraryError

from tidewire.model import EngineUnavailable

logger = logging.getLogger("tidewire.log")

CONNECT_SECONDS: Final = 3.0
SILENCE_SECONDS: Final = 3.0
BEAT_SECONDS: Final = 1.0

#: What Redis answers: bytes, whole numbers, ``None``, lists of those, or a ``RedisError``.
Reply = Any
Argument = bytes | str | int

Answered = Callable[[Reply], None]


# So Redis before 7 begins an error that a command in a script has met.
_IN_SCRIPT = re.compile(
    r"ERR Error running script .*?@user_script: ?\d+: (?:@user_script: ?\d+: )?-?"
)


class RedisError(Exception):
    """Redis answered a command with an error; ``code`` is its first word."""

    def __init__(self, text: object) -> None:
        text = _IN_SCRIPT.sub("", str(text), count=1)
        super().__init__(text)
        self.code = text.partition(" ")[0]


def refused(what: str, error: RedisError) -> EngineUnavailable:
    """What is to be raised for an error of Redis: *what* failed, and the error's code.

    The rest of what Redis says is for the operator's log only.
    """
    return EngineUnavailable(f"{what}: the log says {error.code}", why=f"{what}: {error}")


class Lost(Exception):
    """The connection ended before the answer came: the command may have been carried out."""


_PUSHED: Final = object()

#: What a connection ends with. The last is uvloop's, where a socket is written to that has just
#: been closed by the other side.
BROKEN: Final = (LibraryError, OSError, RuntimeError)


class Connection:
    """To the server *name*, once it is ``open``.

    *pushed* gets the bytes of each message published where it listens. *lost* is called once,
    when the connection has ended for whatever reason, before those who wait for answers are told.
    """

    def __init__(
        self,
        name: str,
        pushed: Callable[[bytes], None] | None = None,
        lost: Callable[[str], None] | None = None,
        beat: tuple[Argument, ...] = ("PING",),
    ) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self._pushed = pushed
        self._lost = lost
        self._beat = beat
        self._line: AbstractConnection | None = None
        self._unsent: list[tuple[Argument, ...]] = []
        self._something_to_send = asyncio.Event()
        self._waiting: deque[Answered | None] = deque()
        self._heard = 0.0
        self._tick_due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._why = "not connected"

    async def open(self, line: AbstractConnection) -> None:
        """Connect by *line*, which knows where to and with what credentials.

        Raises:
            EngineUnavailable: if that cannot be done; the detail says why.
        """
        try:
            await line.connect()  # type: ignore[no-untyped-call]
        except InvalidResponse as error:
            raise EngineUnavailable(
                f"what answers at {self.name} does not speak as Redis does: {error}"
            ) from error
        except BROKEN as error:
            if getattr(error, "status_code", None):  # that of wrong credentials is of another kind
                raise EngineUnavailable(f"Redis at {self.name} refuses: {coded(error)}") from error
            raise EngineUnavailable(f"cannot connect to Redis at {self.name}: {error}") from error
        self._line = line
        self._heard = self.loop.time()
        self._tick_later()
        self._tasks = [
            self.loop.create_task(self._keep_writing(line)),
            self.loop.create_task(self._keep_reading(line)),
        ]

    # Commands

    def call(self, *arguments: Argument) -> Future[Reply]:
        """Send a command; its answer is the future's result.

        The future fails with ``RedisError`` if that is an error, with ``Lost`` if the connection
        ends first.
        """
        future: Future[Reply] = self.loop.create_future()
        self.send(arguments, partial(settle, future))
        return future

    def send(self, arguments: tuple[Argument, ...], answered: Answered | None) -> None:
        """Send a command; *answered* gets its answer, or a ``RedisError``, or ``Lost``."""
        if self._line is None:
            if answered is not None:
                answered(Lost(self._why))
            return
        if not self._waiting:
            self._heard = self.loop.time()  # until now it owed nothing
        self._waiting.append(answered)
        self._unsent.append(arguments)
        self._something_to_send.set()

    async def calls(self, commands: list[tuple[Argument, ...]]) -> list[Reply]:
        """Send several commands in one piece and return all answers, errors among them.

        Raises:
            Lost: if the connection ends first.
        """
        futures: list[Future[Reply]] = []
        for command in commands:
            future: Future[Reply] = self.loop.create_future()
            futures.append(future)
            self.send(command, partial(settle, future, raising=False))
        return list(await asyncio.gather(*futures))

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._line is not None

    def close(self, why: str = "closed") -> None:
        """End the connection at once; *lost* is called, unless it has been."""
        line, self._line = self._line, None
        if line is None:
            return
        self._why = why
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._tasks.append(self.loop.create_task(_disconnect(line)))
        if self._lost is not None:
            self._lost(why)
        while self._waiting:
            answered = self._waiting.popleft()
            if answered is not None:
                answered(Lost(why))

    async def closed(self) -> None:
        """Wait, after ``close``, until the socket is gone too."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # The two tasks

    async def _keep_writing(self, line: AbstractConnection) -> None:
        try:
            # To be cancelled is not enough: before Python 3.12 ``asyncio.wait_for``, with which
            # redis-py sends, forgets that if what it waits for is done in the same turn.
            while self._line is line:
                await self._something_to_send.wait()
                self._something_to_send.clear()
                commands, self._unsent = self._unsent, []
                packed = line.pack_commands(commands)
                await line.send_packed_command(packed, check_health=False)
        except BROKEN as error:
            self.close(str(error))

    async def _keep_reading(self, line: AbstractConnection) -> None:
        parser: Any = line._parser  # as redis-py's own PubSub does it
        parser.set_pubsub_push_handler(self._push)
        try:
            while True:
                try:
                    reply = await line.read_response(
                        disable_decoding=True,
                        timeout=math.inf,
                        disconnect_on_error=False,
                        push_request=True,
                    )
                except ResponseError as error:
                    reply = RedisError(coded(error))
                self._heard = self.loop.time()
                if reply is not _PUSHED and self._waiting:
                    answered = self._waiting.popleft()
                    if answered is not None:
                        answered(reply)
        except (LibraryError, OSError) as error:
            self.close(str(error))
        except Exception as error:
            logger.exception("what came from Redis was not understood")
            self.close(repr(error))

    async def _push(self, push: list[Any]) -> object:
        """Something that Redis sends unasked; in its turn, between the answers."""
        if self._line is None:
            return _PUSHED  # what was read with the one that ended the connection
        if push[0] in (b"message", b"smessage"):
            if self._pushed is not None:
                self._pushed(push[2])
        elif push[0] in (b"subscribe", b"ssubscribe"):
            return push[2]  # the answer, in place of one
        elif push[0] == b"sunsubscribe":
            self.close("the slot has moved to another server")
        return _PUSHED

    def _tick_later(self) -> None:
        self._tick_due = self.loop.time() + BEAT_SECONDS
        self._timer = self.loop.call_at(self._tick_due, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        # While this process stood still the server may well have answered: it is read soon.
        self._heard = min(now, self._heard + max(0.0, now - self._tick_due))
        self._tick_later()
        silence = now - self._heard
        if not self._waiting:
            self.send(self._beat, self._beaten)
        elif silence > SILENCE_SECONDS:
            self.close(f"no answer for {silence:.0f} seconds")

    def _beaten(self, reply: Reply) -> None:
        if isinstance(reply, RedisError):
            self.close(str(reply))


async def _disconnect(line: AbstractConnection) -> None:
    await line.disconnect(nowait=True)


def settle(future: Future[Reply], reply: Reply, *, raising: bool = True) -> None:
    """Make *reply* the result of *future*: errors are raised; with *raising* those of Redis too."""
    if future.done():
        return
    if isinstance(reply, Lost) or (raising and isinstance(reply, RedisError)):
        future.set_exception(reply)
    else:
        future.set_result(reply)


def coded(error: Exception) -> str:
    """What Redis said, with the code that it began with, which redis-py takes off."""
    code, text = getattr(error, "status_code", None) or "", str(error)
    return text if text.startswith(code) else f"{code} {text}"
