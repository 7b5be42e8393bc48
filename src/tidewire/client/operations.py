"""What is asked of the server beside publishing and subscribing: one HTTP request each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from tidewire.client.answers import failure
from tidewire.client.errors import Refused, broken
from tidewire.client.fleet import ConnectionOf, Connections, Disconnected, Nodes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from tidewire.client.address import Query, ServerAddress

T = TypeVar("T")

Revocable = Literal["user", "session", "token"]

TIMEOUT = httpx.Timeout(10.0)


class ReceiptOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether one consumer has acknowledged a message, and how often it was sent to it.

    Of what is acknowledged the server need not know any more how often: then that is 0. A ``user``
    has consumers of its own, whatever others are called.
    """

    consumer: str
    acknowledged: bool
    deliveries: int = 0
    user: str | None = None


class Receipts(msgspec.Struct, frozen=True):
    """A page of receipts, and how many consumers in it have acknowledged the message, or not."""

    id: str
    channel: str
    consumers: list[ReceiptOf]
    acknowledged: int = 0
    pending: int = 0
    more: bool = False
    next: str | None = None


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who is on a channel. ``since`` is Unix ms; the ``node`` is shown to operators alone."""

    client: str
    transport: str
    since: int
    user: str | None = None
    device: str | None = None
    node: str | None = None


class Attendance(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many are on a channel, and where to follow joins and leaves from; perhaps a page."""

    channel: str
    count: int
    cursor: str
    members: list[Member] | None = None
    next: str | None = None


class Purged(msgspec.Struct, frozen=True):
    """All of ``channel`` up to the cursor ``id`` is discarded."""

    channel: str
    id: str


class Operations:
    """The requests. Each is one attempt.

    All raise :class:`Interrupted` if it was not answered, so that it was carried out or not, and
    :class:`Refused` if the server does not do it. Acknowledging may be tried again at will.
    """

    def __init__(self, http: httpx.AsyncClient, address: ServerAddress) -> None:
        self._http = http
        self._address = address

    async def ack(self, consumer: str, ids: Sequence[str], *, single: bool = False) -> None:
        """Acknowledge all up to one id, or with *single* each of *ids*; kept when it returns."""
        query = [("eventId", id) for id in ids] + [("consumer", consumer)]
        if single:
            query.append(("single", "true"))
        await self._request("POST", "/ack", query)

    async def nack(
        self, consumer: str, id: str, *, delay: float | None = None, reject: bool = False
    ) -> None:
        """Have a message sent again: at once, after *delay* seconds, or with *reject* never.

        A rejected message goes to the channel ``dead-letter:CONSUMER``.
        """
        query = [("eventId", id), ("consumer", consumer)]
        if delay is not None:
            query.append(("delay", f"{delay:g}"))
        if reject:
            query.append(("reject", "true"))
        await self._request("POST", "/nack", query)

    async def receipts(self, channel: str, id: str) -> AsyncGenerator[Receipts, None]:
        """Who has acknowledged a message, in pages."""
        query = [("channel", channel), ("eventId", id)]
        page = await self._get(query)
        yield page
        while page.more and page.next is not None:
            page = await self._get([*query, ("after", page.next)])
            yield page

    async def presence(self, channel: str) -> Attendance:
        """How many are on a channel."""
        query = [("channel", channel)]
        return _read(await self._request("GET", "/presence", query), Attendance)

    async def members(self, channel: str) -> AsyncGenerator[Attendance, None]:
        """Who is on a channel, in pages.

        Who then follows ``@presence:CHANNEL`` from the cursor of the first page knows who is there.
        """
        query = [("channel", channel), ("members", "true"), ("limit", "1000")]
        page = _read(await self._request("GET", "/presence", query), Attendance)
        yield page
        while page.next is not None:
            more = [*query, ("after", page.next)]
            page = _read(await self._request("GET", "/presence", more), Attendance)
            yield page

    async def purge(self, channel: str, *, forget: bool = False) -> Purged:
        """Discard all that a channel keeps; with *forget* also its count, keys and version."""
        path = "/channels" if forget else "/history"
        return _read(await self._request("DELETE", path, [("channel", channel)]), Purged)

    async def revoke(self, what: Revocable, name: str) -> None:
        """Let a user, a session or a token (by its ``jti``) in no more, and put it out.

        Of a user all tokens that were issued up to now are refused. Again does no harm.
        """
        body = msgspec.json.encode({what: name})
        await self._request("POST", "/revoke", (), body)

    async def connections(self, **which: str | None) -> AsyncGenerator[Connections, None]:
        """Streams and held polls of all servers, in pages.

        *which*: ``user``, ``session``, ``device``, ``channel``, ``transport``, ``node`` and
        ``limit`` (of a page), those that are given.
        """
        query = _given(which)
        after: str | None = ""
        while after is not None:
            asked = [*query, ("after", after)] if after else query
            page = _read(await self._request("GET", "/connections", asked), Connections)
            yield page
            after = page.next

    async def connection(self, id: str) -> ConnectionOf:
        """One connection, with its channels."""
        return _read(await self._request("GET", _connection(id), ()), ConnectionOf)

    async def disconnect(
        self, id: str | None = None, *, retry: int | None = None, **which: str | None
    ) -> Disconnected:
        """End the connection *id*, or all to which what is given of *which* applies.

        That is as for :meth:`connections`, without ``limit``; at least one of ``user``,
        ``session``, ``device`` and ``channel`` is needed. Clients are told not to come back, or
        with *retry* to do so in so many ms.
        """
        query = _given(which | {"retry": None if retry is None else str(retry)})
        path = "/connections" if id is None else _connection(id)
        return _read(await self._request("DELETE", path, query), Disconnected)

    async def nodes(self) -> Nodes:
        """All servers of the log, with their load."""
        return _read(await self._request("GET", "/nodes", ()), Nodes)

    async def _get(self, query: Query) -> Receipts:
        return _read(await self._request("GET", "/receipts", query), Receipts)

    async def _request(
        self, method: str, path: str, query: Query, body: bytes | None = None
    ) -> httpx.Response:
        url = self._address.http(path, query)
        headers = None if body is None else {"Content-Type": "application/json"}
        try:
            answer = await self._http.request(
                method, url, content=body, headers=headers, timeout=TIMEOUT
            )
        except httpx.HTTPError as error:
            raise broken(error) from error
        if answer.status_code not in (200, 204):
            raise failure(answer.status_code, answer.headers, answer.content)
        return answer


def _given(values: Mapping[str, str | None]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in values.items() if value is not None]


def _connection(id: str) -> str:
    return f"/connections/{quote(id, safe='')}"


def _read(answer: httpx.Response, form: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=form)
    except msgspec.DecodeError as error:
        raise Refused(f"this is not a Tidewire answer: {error}") from None
