"""A TCP proxy that breaks connections at a chosen byte, as a bad network does."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.tcp_proxy import CHUNK, Peer, TcpProxy

if TYPE_CHECKING:
    from tests.tcp_proxy import Write


class CuttingProxy(TcpProxy):
    """Passes bytes on to ``target``, and cuts the connection after ``budget`` bytes of answers.

    The budget spans connections, so that a client which keeps opening new ones is cut as well. A
    cut resets both sides at once (RST): no one is told why.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self.budget = 0
        self.cuts = 0

    async def serve(self, client: Peer, server: Peer) -> None:
        """Pass requests on freely, answers until the budget is used up."""
        requests = asyncio.create_task(self._pass_requests(client, server))
        try:
            while chunk := await server.reader.read(CHUNK):
                allowed = chunk[: self.budget]
                self.budget -= len(allowed)
                await client.write(allowed)
                if len(allowed) < len(chunk):
                    self.cuts += 1
                    client.reset()
                    server.reset()
                    return
            client.writer.close()
            await client.writer.wait_closed()
        finally:
            requests.cancel()

    @staticmethod
    async def _pass_requests(client: Peer, server: Peer) -> None:
        with contextlib.suppress(OSError):
            await client.pass_to(server, _all)
        server.writer.transport.abort()


async def _all(data: bytes, write: Write) -> None:
    await write(data)
