"""A server that delivers exactly what its script says, right or wrong, to each subscriber."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from benchmarks.loadgen import wire
from tests.listening import HOST, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

CLOSE = 0
"""In a script: the connection is closed here."""
GAP = -1
"""In a script: a `gap` envelope stands here."""
PIECE = 7
"""Bytes per write, so that nothing arrives whole by luck."""


class ScriptedServer:
    """Waits until `messages` were published; then subscriber *n* gets the numbers that
    ``scripts[n]`` lists.
    """

    def __init__(self, messages: int, scripts: Sequence[Sequence[int]]) -> None:
        self._scripts = scripts
        self._messages = messages
        self._payloads: list[str] = []
        self._complete = asyncio.Event()
        self._subscribers = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                target = urlsplit(head.split(" ")[1])
                if target.path == "/publish":
                    await self._publish(head, reader, writer)
                elif target.path in ("/ws", "/sse"):
                    await self._stream(target.path, writer)
                    await reader.read()
                    return
                else:
                    await self._poll(parse_qs(target.query), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            writer.close()

    async def _publish(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        self._payloads += [message["data"] for message in body.get("messages", [body])]
        await self._answer(writer, "{}")
        if len(self._payloads) == self._messages:
            self._complete.set()

    async def _stream(self, path: str, writer: asyncio.StreamWriter) -> None:
        script = self._next_script()
        if path == "/ws":
            await self._send(writer, b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        else:
            await self._send(writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await self._send(writer, _framed(path, '{"type":"ready"}'))
        await self._complete.wait()
        for number in script:
            if number == CLOSE:
                writer.close()
                return
            await self._send(writer, _framed(path, self._envelope(number)))

    async def _poll(self, query: dict[str, list[str]], writer: asyncio.StreamWriter) -> None:
        """One message an answer, so that the cursor (`SUBSCRIBER.MESSAGES`) is put to use."""
        if "cursor" not in query:
            self._next_script()
            await self._answer(writer, _page([], f"{self._subscribers - 1}.0"))
            return
        subscriber, done = map(int, query["cursor"][0].split("."))
        script = self._scripts[subscriber]
        if done == len(script):
            await asyncio.Event().wait()  # nothing more will come
        await self._complete.wait()
        page = _page([self._envelope(script[done])], f"{subscriber}.{done + 1}")
        await self._answer(writer, page)

    def _next_script(self) -> Sequence[int]:
        script = self._scripts[self._subscribers]
        self._subscribers += 1
        return script

    def _envelope(self, number: int) -> str:
        if number == GAP:
            return '{"type":"gap","reason":"expired"}'
        return json.dumps(
            {"type": "message", "data": self._payloads[number - 1]}, separators=(",", ":")
        )

    async def _answer(self, writer: asyncio.StreamWriter, body: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._send(writer, (head + body).encode())

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            writer.write(data[start : start + PIECE])
            await writer.drain()
            await asyncio.sleep(0)  # a turn of the loop, so that the piece goes out alone


def _framed(path: str, envelope: str) -> bytes:
    if path == "/ws":
        return wire.server_frame(envelope.encode())
    return wire.event_chunk(f"id: a-1\ndata: {envelope}\n\n".encode())


def _page(messages: list[str], cursor: str) -> str:
    return f'{{"messages":[{",".join(messages)}],"cursor":"{cursor}","gaps":[]}}'


@asynccontextmanager
async def scripted(
    messages: int, scripts: Sequence[Sequence[int]]
) -> AsyncIterator[ScriptedServer]:
    """A running `ScriptedServer`."""
    server = ScriptedServer(messages, scripts)
    async with Listener(server.handle) as listener:
        server.url = f"http://{HOST}:{listener.port}"
        yield server
