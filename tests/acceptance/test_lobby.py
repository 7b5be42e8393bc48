"""A lobby with zones, held by the workers of one server: everybody gets what is theirs, once."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import Message, check_log, check_received
from tests.acceptance.crowd import crowd, everyone_has
from tests.acceptance.subscribers import (
    TRANSPORTS,
    Subscriber,
    http_client,
    numbered,
    publish_batch,
)
from tests.acceptance.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

ZONES = 4
PLAYERS = 300
"""In each zone."""
TO_ALL = 30
TO_A_ZONE = 10
ROUNDS = 40


@pytest.fixture(params=[0.0, 0.1], ids=["at once", "coalesced"])
def server(request: pytest.FixtureRequest, start: StartServer, tmp_path: Path) -> ServerProcess:
    """Three workers; the lobby's messages may wait for each other, those of a zone may not."""
    namespaces = json.dumps({"lobby": {"coalesce": request.param}})
    return start(engine=f"sqlite:///{tmp_path}/log.db", workers=3, namespaces=namespaces)


async def test_a_lobby_and_its_zones(server: ServerProcess) -> None:
    async with AsyncExitStack() as stack:
        zones = [
            await stack.enter_async_context(crowd(server, PLAYERS, f"lobby:all,zone:{number}"))
            for number in range(ZONES)
        ]
        http = await stack.enter_async_context(http_client(server.url))
        for step in range(10):
            batch = numbered(TO_ALL // 10, ["lobby:all"], first=step * 100)
            batch += numbered(TO_A_ZONE // 10, ["zone:2"], first=step * 100 + 50)
            await publish_batch(http, batch)
        for number, members in enumerate(zones):
            count = TO_ALL + (TO_A_ZONE if number == 2 else 0)
            await until(partial(everyone_has, members, count))


async def test_the_order_of_the_log_is_kept_where_one_channel_waits(
    server: ServerProcess,
) -> None:
    channels = ["lobby:all", "zone:1"]
    players = [(transport, Subscriber(channels, since="start")) for transport in TRANSPORTS]
    published: list[Message] = []
    async with asyncio.timeout(60), http_client(server.url) as http, asyncio.TaskGroup() as group:
        for transport, player in players:
            until = player.has(ROUNDS * 3)
            group.create_task(player.listen(server.url, transport, until=until))
        for step in range(ROUNDS):
            published += await publish_batch(http, numbered(3, channels, first=step * 10))
            await asyncio.sleep(0.01)
    check_log(published)
    for _, player in players:
        check_received(published, player.messages)
