"""A client that reads as a durable consumer, on any transport."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.acceptance.subscribers import TRANSPORTS, http_client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.acceptance.checker import Envelope

CHANNEL = "orders"


class Reading:
    """One connection, or one series of polls; ``seen`` has all envelopes in their order."""

    def __init__(self, stream: AsyncGenerator[Envelope]) -> None:
        self._stream = stream
        self.seen: list[Envelope] = []

    async def receive(self) -> Envelope:
        """The next envelope."""
        async with asyncio.timeout(15):
            envelope = await anext(self._stream)
        self.seen.append(envelope)
        return envelope

    async def messages(self, count: int) -> list[Envelope]:
        """The next messages."""
        found: list[Envelope] = []
        while len(found) < count:
            if (envelope := await self.receive())["type"] == "message":
                found.append(envelope)
        return found

    async def rest(self) -> list[Envelope]:
        """Everything until the server ends the stream."""
        async with asyncio.timeout(15):
            return [envelope async for envelope in self._stream]


@asynccontextmanager
async def reading(
    url: str,
    transport: str = "ws",
    *,
    consumer: str = "bob",
    channels: tuple[str, ...] = (CHANNEL,),
    cursor: str | None = None,
    since: str | None = None,
    **parameters: object,
) -> AsyncGenerator[Reading]:
    """Read as a consumer; its first envelope, ``ready``, has come."""
    stream = TRANSPORTS[transport](
        url,
        channels,
        cursor=cursor,
        since=since,
        parameters={"consumer": consumer} | parameters,
    )
    async with aclosing(stream):
        reader = Reading(stream)
        if transport in ("ws", "sse"):
            assert (await reader.receive())["type"] == "ready"
        yield reader


async def make(url: str, consumer: str = "bob", **parameters: Any) -> None:
    """Have a consumer that begins here and now."""
    async with http_client(url) as http:
        wanted = {"channels": CHANNEL, "consumer": consumer} | parameters
        assert (await http.get("/poll", params=wanted)).status_code == 200


async def publish(url: str, *values: object, channel: str = CHANNEL) -> list[str]:
    """Publish one message for each value; return their ids."""
    async with http_client(url) as http:
        batch = {"messages": [{"channel": channel, "data": value} for value in values]}
        results = (await http.post("/publish", json=batch)).json()["results"]
        return [result["id"] for result in results]


async def ask(url: str, method: str, path: str, **parameters: Any) -> tuple[int, Any]:
    """The status of an answer, and its body if it has one."""
    async with http_client(url) as http:
        answer = await http.request(method, path, params=parameters)
        return answer.status_code, answer.json() if answer.content else None


async def acknowledge(url: str, *ids: str, consumer: str = "bob", **parameters: Any) -> None:
    """Acknowledge over HTTP."""
    answer = await ask(url, "POST", "/ack", eventId=ids, consumer=consumer, **parameters)
    assert answer == (204, None)


async def refuse(url: str, *ids: str, consumer: str = "bob", **parameters: Any) -> None:
    """Ask for messages again over HTTP, or reject them."""
    answer = await ask(url, "POST", "/nack", eventId=ids, consumer=consumer, **parameters)
    assert answer == (204, None)


def counted(envelopes: list[Envelope]) -> list[tuple[Any, int]]:
    """What messages carry, and which delivery each of them is."""
    assert all(envelope.get("deliveries") != 1 for envelope in envelopes)
    return [(envelope["data"], envelope.get("deliveries", 1)) for envelope in envelopes]
