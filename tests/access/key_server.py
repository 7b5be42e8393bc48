"""The address at which an issuer shows its keys: an HTTP server that does what a test says."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.listening import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class KeyServer:
    """Answers each request with ``body``, ``status`` and ``headers`` as they are then.

    While ``held`` is set, requests are counted and wait until it is not any more.
    """

    def __init__(self) -> None:
        self.body = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests: list[str] = []
        self.url = ""
        self._may_answer = asyncio.Event()
        self._may_answer.set()
        self._came = asyncio.Condition()

    def hold(self) -> None:
        """Answer nothing until ``release``."""
        self._may_answer.clear()

    def release(self) -> None:
        """Answer again."""
        self._may_answer.set()

    async def asked(self, times: int) -> None:
        """Wait until there were so many requests in all."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.requests) >= times)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            async with self._came:
                self.requests.append(head)
                self._came.notify_all()
            await self._may_answer.wait()
            lines = {"Content-Length": str(len(self.body)), "Connection": "close"} | self.headers
            writer.write(f"HTTP/1.1 {self.status} X\r\n".encode())
            writer.writelines(f"{name}: {value}\r\n".encode() for name, value in lines.items())
            writer.write(b"\r\n" + self.body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # who asked has gone
        finally:
            writer.close()


@asynccontextmanager
async def key_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[KeyServer]:
    """A server on a free port of the loopback interface."""
    server = KeyServer()
    async with Listener(server.answer, tls=tls) as listener:
        server.url = f"{'https' if tls else 'http'}://localhost:{listener.port}/keys"
        yield server
