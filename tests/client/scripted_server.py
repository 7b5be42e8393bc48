"""A real TCP server that answers each request with prepared bytes, and cuts where it is told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import struct
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from tests.listening import HOST, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


CLOSE = 8
"""The opcode of a close frame."""


class Then(Enum):
    """What happens to the connection when the bytes are sent."""

    KEEP = auto()
    """It waits for the next request."""
    CLOSE = auto()
    """It ends in order (FIN)."""
    RESET = auto()
    """It breaks (RST)."""
    HOLD = auto()
    """It stays open, and silent, until the client says something or goes."""


class Step(NamedTuple):
    """The answer to one request. ``{accept}`` in the bytes is what a WebSocket handshake needs.

    ``talk`` is what follows on a WebSocket: it is given each data frame, and returns frames.
    """

    data: bytes
    then: Then = Then.KEEP
    talk: Callable[[bytes], bytes] | None = None


class Request(NamedTuple):
    """One request as it was received; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]  # the last of each name
    pairs: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes


def answer(
    status: str = "200 OK",
    body: bytes | dict[str, Any] = b"",
    then: Then = Then.KEEP,
    **headers: str,
) -> Step:
    """A whole HTTP answer; ``Content_Type="…"`` gives that header."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if not status.startswith(("204", "304")):
        lines.append(f"Content-Length: {len(body)}")
    return Step("\r\n".join([*lines, "", ""]).encode() + body, then)


def event_stream(*blocks: str, then: Then = Then.RESET) -> Step:
    """The start of an event stream, without an end that HTTP could tell from a cut."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return Step((head + "".join(blocks)).encode(), then)


def web_socket(
    *frames: bytes,
    then: Then = Then.RESET,
    talk: Callable[[bytes], bytes] | None = None,
    codec: str = "json",
) -> Step:
    """A WebSocket handshake and what follows it."""
    head = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: {accept}\r\n"
        f"Sec-WebSocket-Protocol: tidewire.v1.{codec}\r\n\r\n"
    )
    return Step(head.encode() + b"".join(frames), then, talk)


def text_frame(envelope: dict[str, Any]) -> bytes:
    """An unmasked text frame."""
    return _unmasked(0x81, json.dumps(envelope).encode())


def binary_frame(payload: bytes) -> bytes:
    """An unmasked binary frame."""
    return _unmasked(0x82, payload)


def _unmasked(first: int, payload: bytes) -> bytes:
    size = len(payload)
    head = bytes((first, size)) if size < 126 else struct.pack("!BBH", first, 126, size)
    return head + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """An unmasked close frame."""
    payload = struct.pack("!H", code) + reason.encode()
    return b"\x88" + bytes((len(payload),)) + payload


class ScriptedServer:
    """Answers the n-th request, on whichever connection it comes, with the n-th step.

    When the script is over, connections are closed without an answer.
    """

    def __init__(self, script: list[Step]) -> None:
        self.requests: list[Request] = []
        self._script = list(script)
        self._news = asyncio.Event()
        self._listener = Listener(self._accepted)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{HOST}:{self._listener.port}"

    async def until(self, enough: Callable[[], bool]) -> None:
        """Return when *enough* is true of what has been received."""
        async with asyncio.timeout(30):
            while not enough():
                self._news.clear()
                await self._news.wait()

    async def start(self) -> None:
        """Listen on a free port."""
        await self._listener.open()

    async def stop(self) -> None:
        """End all connections."""
        await self._listener.close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while await self._answer(reader, writer):
                pass

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read(reader)
        self.requests.append(request)
        self._news.set()
        if not self._script:
            return False
        data, then, talk = self._script.pop(0)
        if key := request.headers.get("sec-websocket-key"):
            digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            data = data.replace(b"{accept}", base64.b64encode(digest))
        writer.write(data)
        await writer.drain()
        while talk is not None:
            opcode, payload = await _frame(reader)
            if opcode == CLOSE:
                writer.write(close_frame(1000))
                then = Then.CLOSE
                break
            writer.write(talk(payload))
            self._news.set()
        if then is Then.HOLD:
            await reader.read(1)
        elif then is Then.CLOSE:
            # All of it is received before the connection is torn down.
            writer.write_eof()
            await reader.read()
        elif then is Then.RESET:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return then is Then.KEEP


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    pairs = parse_qsl(parts.query)
    return Request(method, parts.path, dict(pairs), pairs, headers, body)


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The opcode and the payload of the client's next frame; it sends no fragments."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        [size] = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        [size] = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@asynccontextmanager
async def scripted(*script: Step) -> AsyncGenerator[ScriptedServer]:
    """A running server with that script."""
    server = ScriptedServer(list(script))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
