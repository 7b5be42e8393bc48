"""A proxy that stops while it dials leaves no socket behind: else its warning fails the test."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest

from tests.tcp_proxy import Peer, TcpProxy


class Silent(TcpProxy):
    """Hands nothing on."""

    async def serve(self, client: Peer, server: Peer) -> None:
        await client.reader.read()


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
@pytest.mark.parametrize("turns", range(10))
async def test_closing_while_it_dials(turns: int, refused: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        proxy = Silent(target.getsockname())
        if refused:
            target.close()
        async with proxy:
            with socket.create_connection(("127.0.0.1", proxy.port)):
                for _ in range(turns):
                    await asyncio.sleep(0)
        await asyncio.sleep(0.01)
    gc.collect()
