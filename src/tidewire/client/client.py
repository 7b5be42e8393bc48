"""One server, and all that can be done with it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Self

import msgspec

from tidewire.client.acknowledging import Acknowledger
from tidewire.client.address import DEFAULT_URL, ServerAddress
from tidewire.client.consuming import Acks, Subscription
from tidewire.client.credentials import NOBODY, Credentials
from tidewire.client.http import open_http
from tidewire.client.long_poll import LongPollTransport
from tidewire.client.operations import Attendance, Operations
from tidewire.client.position import Position
from tidewire.client.publisher import Publication, Publisher, Receipt
from tidewire.client.short_poll import ShortPollTransport
from tidewire.client.sse import SseTransport
from tidewire.client.uploading import File, upload
from tidewire.client.websocket import Codec, WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import httpx

    from tidewire.client.credentials import GetToken
    from tidewire.client.subscriber import Watcher
    from tidewire.client.transport import Transport


class Client:
    """Publishes to a server and subscribes to its channels.

    ::

        async with Client() as client:
            async for message in client.subscribe(["jobs"], consumer="worker"):
                await work(message.data)
                await message.ack()

    Use it as a context manager: its end closes all subscriptions.

    Where the server asks who its clients are, a back end has an ``api_key`` and a user a ``token``,
    or ``get_token``, which is called for each next token in good time before the last one expires,
    so that streams stay open, and when the server has refused one. It is a function, which is run
    in a thread, or a coroutine function. What it raises is tried again as a broken connection is;
    :class:`tidewire.client.Refused` ends it.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        get_token: GetToken | None = None,
        api_key: str | None = None,
    ) -> None:
        """``url`` is the server's address, path prefix included.

        Raises:
            ValueError: if it is none, or more than one of the others is given, or one is no text
                that can be sent.
        """
        self.address = ServerAddress.parse(url)
        self._credentials = Credentials(token=token, get_token=get_token, api_key=api_key)
        self.http = open_http(self.address, self._credentials)
        self.operations = Operations(self.http, self.address)
        self._publisher = Publisher(self.http, self.address)
        self._subscriptions: list[Subscription] = []

    def subscribe(
        self,
        channels: Sequence[str] = (),
        *,
        transport: str = "ws",
        since: str | None = None,
        cursor: str | None = None,
        consumer: str | None = None,
        ack: Acks = "manual",
        policy: str | None = None,
        session: str | None = None,
        codec: Codec = "json",
        watcher: Watcher | None = None,
    ) -> Subscription:
        """What comes to *channels*, from now on or from *since* or *cursor*.

        *transport* is ``ws``, ``sse``, ``longpoll`` or ``poll``. A *consumer* starts after what it
        has acknowledged, and gets again what it has not acknowledged in time; with ``ack="auto"``
        asking for the next message acknowledges the one before. *policy* is what the server does
        if this program is too slow: ``catch_up``, ``latest`` or ``disconnect``. *session* takes up
        an earlier connection, whose channels need not be named. With ``codec="msgpack"`` a
        WebSocket carries MessagePack. *watcher* is told of the connection, and of messages that
        are gone; without one they are logged.
        """
        position = Position(
            channels, since=since, cursor=cursor, consumer=consumer, policy=policy, session=session
        )
        made = make_transport(
            transport, self.http, self.address, codec=codec, credentials=self._credentials
        )
        acks = None
        if consumer is not None:
            teller = made if isinstance(made, WebSocketTransport) else None
            acks = Acknowledger(self.operations, consumer, teller=teller)
        subscription = Subscription(
            made, position, acks=acks, automatic=ack == "auto", watcher=watcher
        )
        self._subscriptions = [one for one in self._subscriptions if not one.closed]
        self._subscriptions.append(subscription)
        return subscription

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        event: str | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        ttl: float | None = None,
        version: int | None = None,
    ) -> Receipt:
        """Publish *data*, which is ``bytes`` or anything that JSON can say.

        The log holds it when this returns. A *key* is taken once within the server's window. After
        *ttl* seconds readers get a gap in its place. A *version* not above the newest of the
        channel publishes nothing; the answer is then the receipt of the newest.

        Raises:
            Refused: if the server does not take it.
            Unanswered: if there was no answer in 30 s, so that it was published or not.
        """
        form = _publication(data, event, headers, key, ttl)
        one = msgspec.structs.replace(form, channel=channel, version=version)
        [receipt] = await self._publisher.publish([one])
        return receipt

    async def send(
        self,
        data: Any,
        *,
        user: str | None = None,
        device: str | None = None,
        users: Sequence[str] | None = None,
        channels: Sequence[str] | None = None,
        all: bool = False,  # noqa: A002  # as it is called in the protocol
        event: str | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        ttl: float | None = None,
    ) -> list[Receipt]:
        """Publish *data* to one *user* (or one *device* of it), some *users* or *channels*, or all.

        In one step: all of them get it, or none. Returns a receipt for each channel that it went
        to. For the rest see :meth:`publish`.

        Raises:
            Refused: if the server does not take it, or no or more than one of them is given.
            Unanswered: if there was no answer in 30 s, so that it was published or not.
        """
        form = _publication(data, event, headers, key, ttl)
        one = msgspec.structs.replace(
            form, channels=channels, user=user, device=device, users=users, all=all
        )
        return await self._publisher.publish([one])

    async def presence(self, channel: str) -> Attendance:
        """How many are on *channel*, and the cursor from which to follow who comes and goes.

        The pages of ``operations.members`` say who they are.

        Raises:
            Refused: if the server does not say so, or keeps nobody's presence there.
            Interrupted: if it does not answer.
        """
        return await self.operations.presence(channel)

    async def upload(
        self,
        channel: str,
        path: Path,
        *,
        name: str | None = None,
        content_type: str | None = None,
        on_progress: Callable[[int], None] = lambda kept: None,
    ) -> Receipt:
        """Upload a file, over as many connections as it takes; *channel* is told when it is whole.

        The same call again, in this program or a later one, goes on where this one was cut.
        ``on_progress`` is told how many bytes the server has kept.

        Raises:
            OSError: if the file cannot be read.
            Refused: if the server does not take it, or it changes meanwhile.
            Unanswered: after a minute without progress.
        """
        file = await File.of(path, channel, name=name, content_type=content_type)
        return await upload(
            self.address, file, credentials=self._credentials, on_progress=on_progress
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all subscriptions, and the connections."""
        try:
            for subscription in self._subscriptions:
                await subscription.close()
        finally:
            await self.http.aclose()


def _publication(
    data: Any,
    event: str | None,
    headers: Mapping[str, str] | None,
    key: str | None,
    ttl: float | None,
) -> Publication:
    """A message that does not say yet where it goes."""
    binary = isinstance(data, bytes)
    value = base64.b64encode(data).decode() if binary else data
    return Publication(
        None,
        msgspec.Raw(msgspec.json.encode(value)),
        event,
        dict(headers) if headers else None,
        key,
        "base64" if binary else None,
        ttl,
    )


def make_transport(
    name: str,
    http: httpx.AsyncClient,
    address: ServerAddress,
    *,
    codec: Codec = "json",
    credentials: Credentials = NOBODY,
) -> Transport:
    """The transport called *name*: ``ws``, ``sse``, ``longpoll`` or ``poll``.

    *credentials* are those that *http* shows.

    Raises:
        ValueError: if there is none of that name.
    """
    match name:
        case "ws":
            return WebSocketTransport(address, codec=codec, credentials=credentials)
        case "sse":
            return SseTransport(http, address, credentials=credentials)
        case "longpoll":
            return LongPollTransport(http, address)
        case "poll":
            return ShortPollTransport(http, address)
    raise ValueError(f"{name!r} is no transport: use ws, sse, longpoll or poll")
