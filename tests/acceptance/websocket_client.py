"""A WebSocket client for tests of commands: it keeps every envelope in the order it came."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect

from tests.acceptance.checker import Envelope, Message, from_envelope
from tests.acceptance.subscribers import http_client, numbered, publish_batch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.server_process import ServerProcess


class Client:
    """A connection of the ``websockets`` library that keeps all envelopes in their order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.envelopes: list[Envelope] = []
        self._refs = itertools.count(1)

    @property
    def messages(self) -> list[Message]:
        """The messages received so far."""
        return [from_envelope(e) for e in self.envelopes if e["type"] == "message"]

    async def receive(self) -> Envelope:
        """The next envelope."""
        async with asyncio.timeout(10):
            envelope: Envelope = json.loads(await self.socket.recv())
        self.envelopes.append(envelope)
        return envelope

    async def receive_messages(self, count: int) -> None:
        """Receive until ``count`` messages have come in all."""
        while len(self.messages) < count:
            await self.receive()

    async def send(self, command: str, **fields: object) -> int:
        """Send a command and return its ``ref``."""
        ref = next(self._refs)
        await self.socket.send(json.dumps({"type": command, "ref": ref, **fields}))
        return ref

    async def command(self, command: str, **fields: object) -> Envelope:
        """Send a command and return its answer; what comes before it is kept as well."""
        ref = await self.send(command, **fields)
        while True:
            envelope = await self.receive()
            if envelope.get("ref") == ref:
                assert envelope["type"] in ("ok", "error")
                return envelope

    async def ok(self, command: str, **fields: object) -> Envelope:
        """Send a command that must succeed."""
        answer = await self.command(command, **fields)
        assert answer["type"] == "ok", answer
        return answer

    async def flush(self) -> None:
        """Have everything that the server had sent before it answered."""
        await self.ok("ping")


@asynccontextmanager
async def client(server: ServerProcess, query: str = "", **options: Any) -> AsyncGenerator[Client]:
    """A connection that has received ``ready``."""
    url = f"{server.url.replace('http', 'ws')}/ws{query}"
    async with connect(url, proxy=None, **options) as socket:
        client = Client(socket)
        assert (await client.receive())["type"] == "ready"
        yield client


async def fill(server: ServerProcess, channel: str, count: int) -> list[Message]:
    """Publish messages over HTTP."""
    async with http_client(server.url) as http:
        return await publish_batch(http, numbered(count, [channel], text=channel))


def cursor_of(message: Message) -> str:
    """The cursor after a message."""
    return f"{message.epoch}-{message.position}"
