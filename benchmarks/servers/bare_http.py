"""The least a Python HTTP server can do: uvloop and httptools, and a constant for an answer.

    python -m benchmarks.servers.bare_http < answer

Every request, whatever it asks, is answered with the bytes of standard input once it is read to its
end.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import uvloop


class BareProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_answer", "_parser", "_transport")

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """A server must at least look at what is asked for."""

    def on_message_complete(self) -> None:
        """The request is whole: answers it."""
        assert self._transport is not None
        self._transport.write(self._answer)


async def _serve(answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BareProtocol(answer), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"bare listening on http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.stdin.buffer.read()))
