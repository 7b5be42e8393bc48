"""Subscribing over a WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

import tidewire
from tidewire.client.answers import failure
from tidewire.client.commands import Commands
from tidewire.client.envelope import Close, end_of_stream, parse_envelope, parse_packed
from tidewire.client.errors import (
    REPLACED,
    ClientError,
    Interrupted,
    Refused,
    Replaced,
    broken,
)
from tidewire.client.http import tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tidewire.client.address import Query, ServerAddress
    from tidewire.client.envelope import Event
    from tidewire.client.position import Position

Codec = Literal["json", "msgpack"]

RECONNECT_AFTER = frozenset({1001, 1006, 1011, 1012, 1013, 4408, 4429})
"""The close codes after which another connection may succeed."""
OPEN_TIMEOUT = 10.0
ANSWER_WITHIN = 10.0
"""Seconds after which a command is taken for unanswered."""


class WebSocketTransport:
    """One envelope in each frame: JSON text, or MessagePack when asked for."""

    def __init__(
        self,
        address: ServerAddress,
        *,
        codec: Codec = "json",
        open_timeout: float = OPEN_TIMEOUT,
    ) -> None:
        """``open_timeout`` is the longest time for a handshake, in seconds."""
        self._address = address
        self._codec: Codec = codec
        self._open_timeout = open_timeout
        self._connection: ClientConnection | None = None
        self._commands = Commands()

    async def attempt(self, position: Position) -> AsyncGenerator[Event, None]:
        """See :class:`tidewire.client.transport.Transport`."""
        parse = parse_packed if self._codec == "msgpack" else parse_envelope
        connection = await open_websocket(
            self._address, position.query(), codec=self._codec, open_timeout=self._open_timeout
        )
        self._commands = commands = Commands()
        self._connection = connection
        try:
            while True:
                received = parse(await connection.recv(decode=False))
                if commands.take(received):
                    continue
                yield received
                if isinstance(received.envelope, Close):
                    raise end_of_stream(received.envelope)
        except ConnectionClosed as error:
            raise closed(error) from error
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
        connection = self._connection
        if connection is None:
            raise Interrupted("there is no connection")
        ref, answer = self._commands.begin()
        packed = self._codec == "msgpack"
        encode = msgspec.msgpack.encode if packed else msgspec.json.encode
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await connection.send(encode(command | {"ref": ref}), text=not packed)
                return await answer
        except TimeoutError as error:
            raise Interrupted("no answer in time") from error
        except ConnectionClosed as error:
            raise Interrupted("the connection broke") from error
        finally:
            answer.cancel()


async def open_websocket(
    address: ServerAddress,
    query: Query,
    *,
    codec: Codec = "json",
    open_timeout: float = OPEN_TIMEOUT,
) -> ClientConnection:
    """A connection to the server.

    Raises:
        Interrupted: if there is none now.
        Refused: if the server wants none.
    """
    try:
        return await connect(
            address.websocket("/ws", query),
            subprotocols=[Subprotocol(f"tidewire.v1.{codec}")],
            user_agent_header=f"tidewire/{tidewire.__version__}",
            open_timeout=open_timeout,
            close_timeout=1.0,
            # The server's own limit is a setting; what it has accepted, it may deliver.
            max_size=None,
            ssl=tls_context() if address.is_secure else None,
        )
    except InvalidStatus as error:
        answer = error.response
        raise failure(answer.status_code, answer.headers, bytes(answer.body or b"")) from error
    except InvalidURI as error:
        raise Refused(str(error)) from error
    except (InvalidHandshake, OSError, TimeoutError, EOFError) as error:
        raise broken(error) from error


async def leave(connection: ClientConnection) -> None:
    """Close the connection with the closing handshake, for which there is a second at most.

    What is still under way is taken in and dropped, because the server's answer comes after it.
    """
    closing = asyncio.create_task(connection.close())
    try:
        while True:
            await connection.recv(decode=False)
    except ConnectionClosed:
        await closing


def closed(error: ConnectionClosed) -> ClientError:
    """What the end of a connection stands for."""
    if error.rcvd is None:
        # Cut, or given up by our side because pings were not answered: 1006 to RFC 6455.
        return Interrupted("the connection broke")
    code, said = error.rcvd.code, error.rcvd.reason
    if code == REPLACED:
        return Replaced(code)
    reason = f"the server closed the connection: {code} {said}".rstrip()
    return Interrupted(reason) if code in RECONNECT_AFTER else Refused(reason, code)
