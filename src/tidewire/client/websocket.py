"""Subscribing over a WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

import tidewire
from tidewire.client.answers import failure
from tidewire.client.envelope import Close, end_of_stream, parse_envelope
from tidewire.client.errors import ClientError, Interrupted, Refused, reason_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tidewire.client.address import ServerAddress
    from tidewire.client.envelope import Event
    from tidewire.client.position import Position

SUBPROTOCOL = Subprotocol("tidewire.v1.json")
RECONNECT_AFTER = frozenset({1001, 1006, 1011, 1012, 1013, 4408, 4429})
"""The close codes after which another connection may succeed."""


class WebSocketTransport:
    """Envelopes as text frames, one each."""

    def __init__(self, address: ServerAddress, *, open_timeout: float = 10.0) -> None:
        """``open_timeout`` is the longest time for a handshake, in seconds."""
        self._address = address
        self._open_timeout = open_timeout

    async def attempt(self, position: Position) -> AsyncGenerator[Event, None]:
        """See :class:`tidewire.client.transport.Transport`."""
        connection = await self._open(position)
        try:
            while True:
                frame = await connection.recv(decode=False)
                received = parse_envelope(frame)
                yield received
                if isinstance(received.envelope, Close):
                    raise end_of_stream(received.envelope)
        except ConnectionClosed as error:
            raise _closed(error) from error
        finally:
            await _leave(connection)

    async def _open(self, position: Position) -> ClientConnection:
        try:
            return await connect(
                self._address.websocket("/ws", position.query()),
                subprotocols=[SUBPROTOCOL],
                user_agent_header=f"tidewire/{tidewire.__version__}",
                open_timeout=self._open_timeout,
                close_timeout=1.0,
                # The server's own limit is a setting; what it has accepted, it may deliver.
                max_size=None,
            )
        except InvalidStatus as error:
            answer = error.response
            raise failure(answer.status_code, answer.headers, bytes(answer.body or b"")) from error
        except InvalidURI as error:
            raise Refused(str(error)) from error
        except (InvalidHandshake, OSError, TimeoutError, EOFError) as error:
            raise Interrupted(reason_of(error)) from error


async def _leave(connection: ClientConnection) -> None:
    """Close the connection with the closing handshake, for which there is a second at most.

    What is still under way is taken in and dropped, because the server's answer comes after it.
    """
    closing = asyncio.create_task(connection.close())
    try:
        while True:
            await connection.recv(decode=False)
    except ConnectionClosed:
        await closing


def _closed(error: ConnectionClosed) -> ClientError:
    if error.rcvd is None:
        # Cut, or given up by our side because pings were not answered: 1006 to RFC 6455.
        return Interrupted("the connection broke")
    code, said = error.rcvd.code, error.rcvd.reason
    reason = f"the server closed the connection: {code} {said}".rstrip()
    return Interrupted(reason) if code in RECONNECT_AFTER else Refused(reason, code)
