"""One connection to a Redis server: commands in, answers and pushed messages out, in order.

The protocol is RESP3, so that what is published arrives on the connection that publishes, between
its answers. hiredis takes it apart. This is all of a client that the log needs, and costs the
node a seventh of the CPU for a command that redis-py costs it (7 µs instead of 48), which counts:
a node that is not under load makes one for each message.

A connection that has nothing to say is asked something every second. One that owes an answer and
has sent no byte for ``SILENCE_SECONDS`` is cut off: its server hangs, or is not there.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import Future
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import hiredis

from tidewire.model import EngineUnavailable

CONNECT_SECONDS: Final = 3.0
SILENCE_SECONDS: Final = 3.0
BEAT_SECONDS: Final = 1.0

#: What Redis answers: bytes, whole numbers, ``None``, lists of those, or a ``RedisError``.
Reply = Any
Argument = bytes | str | int


class RedisError(Exception):
    """Redis answered a command with an error; ``code`` is its first word."""

    def __init__(self, text: object) -> None:
        super().__init__(str(text))
        self.code = str(text).partition(" ")[0]


class Lost(Exception):
    """The connection ended before the answer came: the command may have been carried out."""


_MORE: Final = object()

# What hiredis says of its type is too narrow.
_pack: Callable[[tuple[Argument, ...]], bytes] = cast(Any, hiredis.pack_command)


class Connection(asyncio.Protocol):
    """Made by ``connect``. *pushed* gets the bytes of each message published where it listens.

    *lost* is called once, when the connection has ended for whatever reason, before those who
    wait for answers are told.
    """

    def __init__(
        self,
        name: str,
        pushed: Callable[[bytes], None] | None = None,
        lost: Callable[[str], None] | None = None,
        beat: tuple[Argument, ...] = ("PING",),
    ) -> None:
        self.name = name
        self._pushed = pushed
        self._lost = lost
        self._beat = beat
        self._reader = hiredis.Reader(replyError=RedisError, notEnoughData=_MORE)
        self._waiting: deque[Callable[[Reply], None] | None] = deque()
        self.loop = asyncio.get_running_loop()
        self._heard = self.loop.time()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._why = ""
        self._gone: Future[None] = self.loop.create_future()

    # Commands

    def call(self, *arguments: Argument) -> Future[Reply]:
        """Send a command; its answer is the future's result.

        The future fails with ``RedisError`` if that is an error, with ``Lost`` if the connection
        ends first.
        """
        future: Future[Reply] = self.loop.create_future()
        self.send(arguments, partial(settle, future))
        return future

    def send(
        self, arguments: tuple[Argument, ...], answered: Callable[[Reply], None] | None
    ) -> None:
        """Send a command; *answered* gets its answer, or a ``RedisError``, or ``Lost``."""
        transport = self._transport
        if transport is None:
            if answered is not None:
                answered(Lost(self._why))
            return
        if not self._waiting:
            self._heard = self.loop.time()  # until now it owed nothing
        self._waiting.append(answered)
        transport.write(_pack(arguments))

    async def calls(self, commands: list[tuple[Argument, ...]]) -> list[Reply]:
        """Send several commands in one piece and return all answers, errors among them.

        Raises:
            Lost: if the connection ends first.
        """
        if not commands:
            return []
        transport = self._transport
        if transport is None:
            raise Lost(self._why)
        replies: list[Reply] = []
        future: Future[Reply] = self.loop.create_future()
        if not self._waiting:
            self._heard = self.loop.time()
        self._waiting.extend([replies.append] * (len(commands) - 1))
        self._waiting.append(partial(settle, future, raising=False))
        transport.writelines([_pack(command) for command in commands])
        replies.append(await future)
        return replies

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None

    def close(self, why: str = "closed") -> None:
        """End the connection at once; *lost* is called, unless it has been."""
        if self._transport is not None:
            self._why = why
            self._transport.abort()
            self._end()

    async def closed(self) -> None:
        """Wait, after ``close``, until the socket is gone too."""
        await self._gone

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._timer = self.loop.call_later(BEAT_SECONDS, self._tick)

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        self._heard = self.loop.time()
        reader.feed(data)
        while self._transport is not None:
            try:
                reply = reader.gets()
            except hiredis.ProtocolError as error:
                self.close(f"it does not speak as Redis does: {error}")
                return
            if reply is _MORE:
                return
            if type(reply) is hiredis.PushNotification:
                self._push(reply)
            elif waiting:
                answered = waiting.popleft()
                if answered is not None:
                    answered(reply)

    def _push(self, push: list[Any]) -> None:
        if push[0] in (b"message", b"smessage"):
            if self._pushed is not None:
                self._pushed(push[2])
        elif push[0] in (b"subscribe", b"ssubscribe"):
            answered = self._waiting.popleft()  # this is the answer, in place of one
            if answered is not None:
                answered(push[2])
        elif push[0] == b"sunsubscribe":
            self.close("the slot has moved to another server")

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set_result(None)
        if self._transport is not None:
            self._why = str(exc) if exc else "the server has ended the connection"
            self._end()

    def _tick(self) -> None:
        if self._transport is None:
            return
        self._timer = self.loop.call_later(BEAT_SECONDS, self._tick)
        silence = self.loop.time() - self._heard
        if not self._waiting:
            self.send(self._beat, self._beaten)
        elif silence > SILENCE_SECONDS:
            self.close(f"no answer for {silence:.0f} seconds")

    def _beaten(self, reply: Reply) -> None:
        if isinstance(reply, RedisError):
            self.close(str(reply))

    def _end(self) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._lost is not None:
            self._lost(self._why)
        while self._waiting:
            answered = self._waiting.popleft()
            if answered is not None:
                answered(Lost(self._why))


def settle(future: Future[Reply], reply: Reply, *, raising: bool = True) -> None:
    """Make *reply* the result of *future*: errors are raised; with *raising* those of Redis too."""
    if future.done():
        return
    if isinstance(reply, Lost) or (raising and isinstance(reply, RedisError)):
        future.set_exception(reply)
    else:
        future.set_result(reply)


async def connect(
    connection: Connection,
    host: str,
    port: int,
    *,
    path: str = "",
    tls: ssl.SSLContext | None = None,
) -> None:
    """Connect to the server at *host* and *port*, or to the socket at *path*.

    Raises:
        EngineUnavailable: if that cannot be done; the detail says why.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if path:
                await loop.create_unix_connection(lambda: connection, path)
            else:
                await loop.create_connection(
                    lambda: connection, host, port, ssl=tls, server_hostname=host if tls else None
                )
    except TimeoutError as error:
        raise EngineUnavailable(f"Redis at {connection.name} does not answer") from error
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise EngineUnavailable(f"cannot connect to Redis at {connection.name}: {why}") from error


async def greet(
    connection: Connection, *, user: str, password: str, database: int, client: str
) -> None:
    """Agree on the protocol, show the credentials, and choose the database.

    Raises:
        EngineUnavailable: if the server refuses any of it.
    """
    hello: list[Argument] = ["HELLO", 3]
    if password:
        hello += ["AUTH", user or "default", password]
    commands: list[tuple[Argument, ...]] = [(*hello, "SETNAME", client)]
    if database:
        commands.append(("SELECT", database))
    try:
        replies = await connection.calls(commands)
    except Lost as lost:
        raise EngineUnavailable(f"Redis at {connection.name}: {lost}") from lost
    for reply in replies:
        if isinstance(reply, RedisError):
            connection.close(str(reply))
            raise EngineUnavailable(f"Redis at {connection.name} refuses: {reply}")
