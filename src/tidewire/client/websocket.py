"""Subscribing over a WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from websockets.exceptions import ConnectionClosed

from tidewire.client.commands import Commands, refresh
from tidewire.client.credentials import NOBODY
from tidewire.client.envelope import Close, end_of_stream, parse_envelope, parse_packed
from tidewire.client.errors import Interrupted
from tidewire.client.opening import OPEN_TIMEOUT, closed, leave, open_websocket
from tidewire.client.staying import staying

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from websockets.asyncio.client import ClientConnection

    from tidewire.client.address import ServerAddress
    from tidewire.client.credentials import Credentials, Token
    from tidewire.client.envelope import Event
    from tidewire.client.position import Position

Codec = Literal["json", "msgpack"]

ANSWER_WITHIN = 10.0
"""Seconds after which a command is taken for unanswered."""


class WebSocketTransport:
    """One envelope in each frame: JSON text, or MessagePack when asked for."""

    def __init__(
        self,
        address: ServerAddress,
        *,
        codec: Codec = "json",
        credentials: Credentials = NOBODY,
        open_timeout: float = OPEN_TIMEOUT,
    ) -> None:
        """``open_timeout`` is the longest time for a handshake, in seconds."""
        self._address = address
        self._credentials = credentials
        self._codec: Codec = codec
        self._open_timeout = open_timeout
        self._connection: ClientConnection | None = None
        self._commands = Commands()

    async def attempt(self, position: Position) -> AsyncGenerator[Event, None]:
        """See :class:`tidewire.client.transport.Transport`."""
        parse = parse_packed if self._codec == "msgpack" else parse_envelope
        credentials = self._credentials
        connection, token = await open_websocket(
            self._address,
            position.query(),
            codec=self._codec,
            credentials=credentials,
            open_timeout=self._open_timeout,
        )
        self._commands = commands = Commands()
        self._connection = connection
        try:
            async with staying(credentials, token, self._refresh):
                while True:
                    received = parse(await connection.recv(decode=False))
                    if commands.take(received):
                        continue
                    if isinstance(received.envelope, Close):
                        yield received
                        raise credentials.after(end_of_stream(received.envelope), token)
                    credentials.accepted(token)
                    yield received
        except ConnectionClosed as error:
            raise credentials.after(closed(error), token) from error
        finally:
            self._connection = None
            commands.end("the connection ended")
            await leave(connection)

    async def ack(self, ids: Sequence[str], *, single: bool) -> None:
        """Acknowledge on the connection; see :class:`tidewire.client.acknowledging.Teller`."""
        await self.command({"type": "ack", "ids": list(ids), "single": True} if single else
                           {"type": "ack", "id": ids[0]})  # fmt: skip

    async def command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send a command and return its answer, which comes while messages are taken.

        Raises:
            Interrupted: if there is no connection, or no answer in time.
            Refused: if the server answers so.
        """
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self._command(command)
        except TimeoutError as error:
            raise Interrupted("no answer in time") from error

    async def _refresh(self, token: Token) -> None:
        await self._command(refresh(token.text))

    async def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        connection = self._connection
        if connection is None:
            raise Interrupted("there is no connection")
        ref, answer = self._commands.begin()
        packed = self._codec == "msgpack"
        encode = msgspec.msgpack.encode if packed else msgspec.json.encode
        try:
            await connection.send(encode(command | {"ref": ref}), text=not packed)
            return await answer
        except ConnectionClosed as error:
            raise Interrupted("the connection broke") from error
        finally:
            answer.cancel()
