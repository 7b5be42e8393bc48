"""Independent clients of the four transports behind one shape: a stream of envelopes.

Whatever the transport, a stream yields a ``ready`` envelope first, then messages and gaps. Two
types exist only here: ``position`` tells the cursor that came with the end of a poll's answer,
``closed`` the code of the WebSocket close frame that the server sent. ``parameters`` are those of
the query beside channels, cursor and since.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
)

from tests.acceptance.checker import Envelope, Message, from_answer, from_envelope
from tests.acceptance.eventsource import EventStream

_TLS = ssl.create_default_context()
"""Shared by all clients, because making one takes longer than a test's request."""


class CutError(Exception):
    """The connection broke before the server ended it in good order."""


class RefusedError(Exception):
    """The server answered a subscription with an error; ``problem`` is the body if it was JSON."""

    def __init__(self, status: int, headers: httpx.Headers, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.headers = headers
        self.problem: dict[str, Any] = json.loads(body) if body[:1] == b"{" else {}


def http_client(url: str, **options: Any) -> httpx.AsyncClient:
    """An HTTP client without the environment's proxies that waits at most 40 s for an answer."""
    return httpx.AsyncClient(base_url=url, trust_env=False, verify=_TLS, timeout=40, **options)


def query(channels: Sequence[str], **parameters: object) -> str:
    """The query string of a subscription; parameters that are ``None`` are left out."""
    pairs: dict[str, object] = {"channels": ",".join(channels)}
    pairs |= {name: value for name, value in parameters.items() if value is not None}
    return urlencode(pairs)


async def websocket(
    url: str,
    channels: Sequence[str],
    *,
    cursor: str | None = None,
    since: str | None = None,
    parameters: Mapping[str, object] = {},
    opened: Callable[[ClientConnection], None] | None = None,
    **options: Any,
) -> AsyncGenerator[Envelope]:
    """Subscribe with the ``websockets`` library; ``options`` go to its ``connect``.

    ``opened`` is called with the connection, for who has commands to send.
    """
    wanted = query(channels, cursor=cursor, since=since, **parameters)
    target = f"{url.replace('http', 'ws', 1)}/ws?{wanted}"
    # Without a limit on its queue, or a client that leaves would not see the server's close frame.
    defaults = {"max_queue": None, "max_size": None, "ping_interval": None, "proxy": None}
    try:
        async with connect(target, **defaults | options) as connection:
            if opened is not None:
                opened(connection)
            try:
                while True:
                    envelope = json.loads(await connection.recv())
                    yield envelope
            except ConnectionClosed as error:
                if error.rcvd is None:
                    raise CutError from error
                yield {"type": "closed", "code": error.rcvd.code}
    except InvalidStatus as error:
        answer = error.response
        headers = httpx.Headers(list(answer.headers.raw_items()))
        raise RefusedError(answer.status_code, headers, bytes(answer.body or b"")) from error
    except (InvalidHandshake, InvalidMessage, OSError, EOFError) as error:
        raise CutError from error


async def server_sent_events(
    url: str,
    channels: Sequence[str],
    *,
    cursor: str | None = None,
    since: str | None = None,
    parameters: Mapping[str, object] = {},
    headers: dict[str, str] | None = None,
) -> AsyncGenerator[Envelope]:
    """Subscribe as ``EventSource`` does, with the cursor in ``Last-Event-ID``."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"} | (headers or {})
    if cursor is not None:
        headers["Last-Event-ID"] = cursor
    target = f"/sse?{query(channels, since=since, **parameters)}"
    try:
        async with (
            http_client(url) as client,
            client.stream("GET", target, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise RefusedError(answer.status_code, answer.headers, await answer.aread())
            parser = EventStream()
            async for chunk in answer.aiter_bytes():
                for event in parser.feed(chunk):
                    envelope = json.loads(event.data)
                    control = envelope["type"] != "message"
                    named = f"tidewire.{envelope['type']}" if control else envelope.get("event")
                    assert event.type == (named or "message"), (event, envelope)
                    assert event.last_event_id == envelope.get("id", event.last_event_id)
                    yield envelope
    except httpx.TransportError as error:
        raise CutError from error


def _of_answer(answer: httpx.Response, first: bool) -> list[Envelope]:
    """Turn the answer to a poll into envelopes."""
    if answer.status_code in (204, 304):
        cursor = answer.headers.get("Tidewire-Cursor")
        body: dict[str, Any] = {"cursor": cursor, "messages": [], "gaps": []}
    elif answer.status_code == 200:
        body = answer.json()
    else:
        raise RefusedError(answer.status_code, answer.headers, answer.content)
    ready = {"type": "ready", "id": body["cursor"], "recovered": body.get("recovered")}
    position = {"type": "position", "id": body["cursor"], "status": answer.status_code}
    return [*([ready] if first else []), *body["gaps"], *body["messages"], position]


async def long_poll(
    url: str,
    channels: Sequence[str],
    *,
    cursor: str | None = None,
    since: str | None = None,
    parameters: Mapping[str, object] = {},
    wait: int = 20,
) -> AsyncGenerator[Envelope]:
    """Subscribe by requests that the server holds for up to ``wait`` seconds."""
    first = True
    try:
        async with http_client(url) as client:
            while True:
                start = None if cursor else since
                wanted = query(channels, cursor=cursor, since=start, wait=wait, **parameters)
                answer = await client.get(f"/longpoll?{wanted}")
                for envelope in _of_answer(answer, first):
                    yield envelope
                    cursor = envelope["id"] or cursor
                first = False
    except httpx.TransportError as error:
        raise CutError from error


async def short_poll(
    url: str,
    channels: Sequence[str],
    *,
    cursor: str | None = None,
    since: str | None = None,
    parameters: Mapping[str, object] = {},
    interval: float = 0.02,
) -> AsyncGenerator[Envelope]:
    """Subscribe by asking again and again, ``interval`` seconds after nothing new came."""
    tag: str | None = None
    first = True
    try:
        async with http_client(url) as client:
            while True:
                start = None if cursor else since
                headers = {} if tag is None else {"If-None-Match": tag}
                wanted = query(channels, cursor=cursor, since=start, **parameters)
                answer = await client.get(f"/poll?{wanted}", headers=headers)
                for envelope in _of_answer(answer, first):
                    yield envelope
                    cursor = envelope["id"] or cursor
                first = False
                tag = answer.headers.get("ETag")
                if answer.status_code == 304 or not answer.json()["hasNew"]:
                    await asyncio.sleep(interval)
    except httpx.TransportError as error:
        raise CutError from error


Transport = Callable[..., AsyncGenerator[Envelope]]
TRANSPORTS: dict[str, Transport] = {
    "ws": websocket,
    "sse": server_sent_events,
    "longpoll": long_poll,
    "poll": short_poll,
}


class Subscriber:
    """A client that keeps a cursor, and so can be cut and go on, on any transport."""

    def __init__(self, channels: Sequence[str], *, since: str | None = None) -> None:
        self.channels = channels
        self.since = since
        self.cursor: str | None = None
        self.messages: list[Message] = []
        self.readies: list[Envelope] = []
        self.gaps: list[Envelope] = []

    def has(self, count: int) -> Callable[[], bool]:
        """The condition that ``count`` messages have come."""
        return lambda: len(self.messages) >= count

    def take(self, envelope: Envelope) -> None:
        """Note one envelope of any type."""
        if envelope["type"] == "message":
            self.messages.append(from_envelope(envelope))
        elif envelope["type"] == "ready":
            self.readies.append(envelope)
        elif envelope["type"] == "gap":
            self.gaps.append(envelope)
        if envelope["type"] != "close":
            self.cursor = envelope.get("id") or self.cursor

    async def listen(
        self, url: str, transport: str, *, until: Callable[[], bool] = bool, **options: Any
    ) -> None:
        """Receive over one transport until ``until()`` holds, or the stream ends."""
        start = {"cursor": self.cursor} if self.cursor else {"since": self.since}
        stream = TRANSPORTS[transport](url, self.channels, **start, **options)
        async with aclosing(stream):
            async for envelope in stream:
                self.take(envelope)
                if until():
                    return


async def collect(
    url: str,
    transport: str,
    channels: Sequence[str],
    *,
    until: Callable[[Envelope], bool],
    **options: Any,
) -> list[Envelope]:
    """Receive over one transport until an envelope satisfies ``until``; fail after 20 s."""
    envelopes: list[Envelope] = []
    async with asyncio.timeout(20):
        stream = TRANSPORTS[transport](url, channels, **options)
        async with aclosing(stream):
            async for envelope in stream:
                envelopes.append(envelope)
                if until(envelope):
                    return envelopes
    raise AssertionError(f"{transport} ended early: {envelopes[-3:]}")


async def publish(client: httpx.AsyncClient, command: dict[str, Any]) -> Message:
    """Publish one message and return where it came to stand."""
    answer = await client.post("/publish", json=command)
    if answer.status_code != 200:
        raise RefusedError(answer.status_code, answer.headers, answer.content)
    return from_answer(command, answer.json())


async def publish_batch(client: httpx.AsyncClient, commands: list[dict[str, Any]]) -> list[Message]:
    """Publish several messages in one request and return where each came to stand."""
    answer = await client.post("/publish", json={"messages": commands})
    if answer.status_code != 200:
        raise RefusedError(answer.status_code, answer.headers, answer.content)
    results = answer.json()["results"]
    return [from_answer(*pair) for pair in zip(commands, results, strict=True)]


def numbered(
    count: int, channels: Sequence[str], *, first: int = 0, text: str = ""
) -> list[dict[str, Any]]:
    """Commands for ``count`` messages dealt out over ``channels``, each with data of its own."""
    return [
        {"channel": channels[n % len(channels)], "data": {"n": n, "text": text}}
        for n in range(first, first + count)
    ]
