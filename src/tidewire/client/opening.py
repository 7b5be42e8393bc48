"""Opening WebSockets, showing who asks, and what their end means."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

import tidewire
from tidewire.client.answers import failure
from tidewire.client.credentials import NOBODY
from tidewire.client.errors import (
    REPLACED,
    ClientError,
    Interrupted,
    Refused,
    Replaced,
    Unauthorized,
    broken,
    refused,
)
from tidewire.client.http import elsewhere, tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from tidewire.client.address import Query, ServerAddress
    from tidewire.client.credentials import Credentials, Token

RECONNECT_AFTER = frozenset({1001, 1006, 1011, 1012, 1013, 4408, 4429})
"""The close codes after which another connection may succeed."""
OPEN_TIMEOUT = 10.0

# The library tells there of all headers and frames, with whatever secret is in them.
_log = logging.getLogger("tidewire.client.websockets")
_log.addFilter(lambda record: record.levelno > logging.DEBUG)


class Opened(NamedTuple):
    """A connection, and the token that was shown for it, if one was."""

    connection: ClientConnection
    token: Token | None


async def open_websocket(
    address: ServerAddress,
    query: Query,
    *,
    codec: str = "json",
    credentials: Credentials = NOBODY,
    open_timeout: float = OPEN_TIMEOUT,
) -> Opened:
    """A connection to the server.

    Raises:
        Interrupted: if there is none now.
        Refused: if the server wants none.
    """
    url = address.websocket("/ws", query)
    trusted = tls_context() if address.is_secure else None
    while True:
        token = await credentials.token()
        headers = credentials.headers(token)
        if address.proxy is not None:
            headers.setdefault("Authorization", address.proxy)
        try:
            connection = await _open(url, codec, headers, trusted, open_timeout)
            return Opened(connection, token)
        except Unauthorized as error:
            outcome = credentials.after(error, token)
            if not isinstance(outcome, Interrupted):
                raise outcome from None


async def _open(
    url: str,
    codec: str,
    headers: Mapping[str, str],
    trusted: ssl.SSLContext | None,
    open_timeout: float,
) -> ClientConnection:
    try:
        return await _Connect(
            url,
            subprotocols=[Subprotocol(f"tidewire.v1.{codec}")],
            additional_headers=headers,
            user_agent_header=f"tidewire/{tidewire.__version__}",
            logger=_log,
            open_timeout=open_timeout,
            close_timeout=1.0,
            # The server's own limit is a setting; what it has accepted, it may deliver.
            max_size=None,
            ssl=trusted,
        )
    except InvalidStatus as error:
        answer = error.response
        raise failure(answer.status_code, answer.headers, bytes(answer.body or b"")) from error
    except InvalidURI as error:
        raise Refused(str(error)) from error
    except (InvalidHandshake, OSError, TimeoutError, EOFError) as error:
        raise broken(error) from error


class _Connect(connect):
    """Shows credentials to the server alone, and to no other that it redirects to."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """See the base, which takes away ``Authorization`` and does not know of keys."""
        before = urlsplit(self.uri)
        outcome = super().process_redirect(exc)
        if isinstance(outcome, str):
            after = urlsplit(outcome)
            if after.scheme != before.scheme:
                return elsewhere(outcome)
            if after.netloc != before.netloc:
                self.additional_headers = {}
        return outcome


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
    return Interrupted(reason) if code in RECONNECT_AFTER else refused(reason, code)
