"""The network between a server and its Redis, which can be cut, swallow all, or be slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tests.tcp_proxy import Peer, TcpProxy

if TYPE_CHECKING:
    from tests.tcp_proxy import Write


class Link(TcpProxy):
    """Hands everything on, until it is told otherwise."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self._open: set[Peer] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_cut = False
        self._delay = 0.0

    def engine(self, **options: object) -> str:
        """What ``--engine`` takes for a log behind this link; *options* as in the URL."""
        address = self.url.removeprefix("http://")
        return f"redis://{address}?{urlencode(options)}"

    def cut(self) -> None:
        """End all connections by RST, and each new one as soon as it is there."""
        self._is_cut = True
        for peer in self._open:
            peer.reset()

    def swallow(self) -> None:
        """Keep back all bytes from now on, of old connections and of new ones: a black hole."""
        self._flows.clear()

    def slow_down(self, seconds: float) -> None:
        """Hand on each piece that late, one after the other."""
        self._delay = seconds

    def mend(self) -> None:
        """As at first. What was kept back goes on now."""
        self._is_cut = False
        self._delay = 0.0
        self._flows.set()

    async def _pass_on(self, data: bytes, write: Write) -> None:
        await self._flows.wait()
        await asyncio.sleep(self._delay)
        await write(data)

    async def serve(self, client: Peer, server: Peer) -> None:
        """Hand on both directions until one side ends."""
        if self._is_cut:
            client.reset()
            return
        self._open |= {client, server}
        directions = [
            asyncio.create_task(client.pass_to(server, self._pass_on)),
            asyncio.create_task(server.pass_to(client, self._pass_on)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= {client, server}
            for task in directions:
                task.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
