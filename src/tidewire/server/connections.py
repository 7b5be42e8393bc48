"""The connections of this server as operators see them: streams and held polls, found and ended.

Nothing is kept for it: what a connection is stands in the stream, its session and its terms, and
in the request of a held poll. So a connection costs nothing for being listed, and the list is
never wrong. A walk over all of them is made in pieces, with the loop's other work in between.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

import msgspec

from tidewire.hub import Session
from tidewire.model import Forbidden, Unavailable
from tidewire.server.doors import peer_of
from tidewire.transports.long_poll import LongPoll
from tidewire.transports.sse import EventStream
from tidewire.transports.websocket import WebSocket

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

TRANSPORTS = {WebSocket: "websocket", EventStream: "sse", LongPoll: "longpoll"}

LOOKED_AT_ONCE = 1_000
ENDED_AT_ONCE = 100
MOST_BYTES = 400 << 10
"""Of a page, which has to fit into one answer to another server."""

DISCONNECTED = 4403


class ConnectionInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stream or held poll. ``id`` is its session's, where it has one.

    ``since`` is when its connection was made, Unix ms. ``subscriptions`` counts the channels,
    which are named only where one connection is asked for.
    """

    id: str
    node: str
    transport: str
    since: int
    address: str
    subscriptions: int
    user: str | None = None
    device: str | None = None
    channels: list[str] | None = None


class Which(msgspec.Struct, frozen=True, omit_defaults=True):
    """The connections to which all that is given applies."""

    id: str | None = None
    user: str | None = None
    session: str | None = None
    device: str | None = None
    channel: str | None = None
    transport: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Connections by id, and how many there are in all; ``more``: there are some behind them."""

    total: int
    connections: list[ConnectionInfo]
    more: bool


class _Found:
    """What is known of one connection without a look into its terms."""

    __slots__ = ("connection", "id", "kind", "session")

    def __init__(self, connection: Connection, kind: str, session: Session, id: str) -> None:
        self.connection = connection
        self.kind = kind
        self.session = session
        self.id = id


class Connections:
    """Those of one server's *app*."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def page(self, which: Which, after: str, limit: int) -> Page:
        """Up to *limit* connections whose ids are above *after*, and how many there are in all."""
        total = 0
        behind: list[tuple[str, _Found]] = []
        async for found in self._matching(which, LOOKED_AT_ONCE):
            total += 1
            if found.id > after:
                behind.append((found.id, found))
        first = heapq.nsmallest(limit, behind, key=_id)
        connections: list[ConnectionInfo] = []
        size = 0
        for _, found in first:
            info = self.info(found)
            size += 300 + 2 * len(info.device or "") + 2 * len(info.user or "")
            if size > MOST_BYTES and connections:
                break
            connections.append(info)
        return Page(total, connections, len(connections) < len(behind))

    async def one(self, id: str) -> ConnectionInfo | None:
        """The connection *id* with its channels, if it is here."""
        async for found in self._matching(Which(id=id), LOOKED_AT_ONCE):
            return self.info(found, channels=True)
        return None

    async def disconnect(self, which: Which, retry: int | None) -> int:
        """End those connections; return how many. In *retry* ms their clients may come back."""
        count = 0
        async for found in self._matching(which, ENDED_AT_ONCE):
            count += 1
            if retry is None:
                gone = Forbidden("this connection was ended by an operator", code="disconnected")
                found.connection.turn_out(gone, DISCONNECTED)
            else:
                again = Unavailable("this connection was ended by an operator: come back later")
                again.retry_after = retry / 1000
                found.connection.turn_out(again, 1013, retry)
        return count

    def info(self, found: _Found, *, channels: bool = False) -> ConnectionInfo:
        """What there is to say of a connection."""
        connection, session = found.connection, found.session
        user, device = self._owner(connection)
        return ConnectionInfo(
            found.id,
            self._app.fleet.id,
            found.kind,
            connection.since,
            self._address(connection),
            len(session.channels),
            user,
            device,
            sorted(session.channels) if channels else None,
        )

    async def _matching(self, which: Which, at_once: int) -> AsyncIterator[_Found]:
        for number, connection in enumerate(list(self._app.connections), 1):
            if number % at_once == 0:
                await asyncio.sleep(0)
            found = self._found(connection)
            if found is not None and self._is_meant(found, which):
                yield found

    def _found(self, connection: Connection) -> _Found | None:
        """What *connection* is, if it is a stream or a held poll that goes on."""
        one = connection.stream or connection.pending
        kind = TRANSPORTS.get(type(one))
        if kind is None or connection.transport.is_closing():
            return None
        session: Session = one.session  # type: ignore[union-attr]
        id = session.id or f"{self._app.fleet.id}-{connection.number}"
        return _Found(connection, kind, session, id)

    def _is_meant(self, found: _Found, which: Which) -> bool:
        if which.transport is not None and found.kind != which.transport:
            return False
        if which.id is not None and found.id != which.id:
            return False
        if which.session is not None and self._session(found) != which.session:
            return False
        if which.channel is not None and which.channel not in found.session.channels:
            return False
        if which.user is None and which.device is None:
            return True
        user, device = self._owner(found.connection)
        return which.user in (None, user) and which.device in (None, device)

    def _session(self, found: _Found) -> str | None:
        """The id of the session; a poll names that which it goes on with."""
        request = found.connection.current
        if request is None:
            return found.id
        return self._app.subscribers.query(request, self._app.settings.max_channels).session

    def _owner(self, connection: Connection) -> tuple[str | None, str | None]:
        """User and device."""
        stream, request = connection.stream, connection.current
        if isinstance(stream, WebSocket | EventStream):
            terms = stream.holding.terms
            return terms.user, terms.device
        if request is None:
            return None, None
        query = self._app.subscribers.query(request, self._app.settings.max_channels)
        return request.caller.user, query.device or request.caller.device

    def _address(self, connection: Connection) -> str:
        request = connection.current
        if request is not None:
            behind = self._app.doors.client_behind(request, connection)
        else:
            behind = connection.client
        return behind or peer_of(connection)


def merged(pages: Iterable[Page], limit: int) -> Page:
    """One page of up to *limit* connections out of those of all servers."""
    pages = list(pages)
    # Behind the last of a page that has more, that server's others could come in between.
    ends = [page.connections[-1].id for page in pages if page.more and page.connections]
    upto = min(ends, default=None)
    found = sorted(
        (info for page in pages for info in page.connections if upto is None or info.id <= upto),
        key=_info_id,
    )
    more = upto is not None or len(found) > limit
    return Page(sum(page.total for page in pages), found[:limit], more)


def _id(item: tuple[str, object]) -> str:
    return item[0]


def _info_id(info: ConnectionInfo) -> str:
    return info.id
