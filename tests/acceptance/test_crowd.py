"""A fan-out to many takes several turns of the server; who comes or moves then loses nothing."""

from __future__ import annotations

import asyncio
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
from tests.acceptance.websocket_client import client

if TYPE_CHECKING:
    from tests.server_process import ServerProcess

CROWD = 2_500
BATCHES = 40


async def publish_in_turns(server: ServerProcess, channel: str, published: list[Message]) -> None:
    """Publish small batches one after the other, each a fan-out of its own."""
    async with http_client(server.url) as http:
        for _ in range(BATCHES):
            batch = numbered(3, [channel], first=len(published))
            published += await publish_batch(http, batch)


async def test_subscribing_again_during_a_fan_out_makes_no_hole(server: ServerProcess) -> None:
    published: list[Message] = []
    async with (
        crowd(server, CROWD, "again") as members,
        client(server, "?channels=again") as one,
        client(server, "?channels=again") as two,
    ):
        publishing = asyncio.create_task(publish_in_turns(server, "again", published))
        number = 0
        while not publishing.done():
            number += 1
            await one.ok("subscribe", channels=[f"other-{number % 50}"])
            await two.ok("subscribe", channels=["other"])
            await two.ok("unsubscribe", channels=["other"])
        await publishing
        check_log(published)
        for who in (one, two):
            await who.receive_messages(len(published))
            check_received(published, who.messages)
        await until(partial(everyone_has, members, len(published)))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_coming_and_going_during_a_fan_out_makes_no_hole(
    server: ServerProcess, transport: str
) -> None:
    channel = f"coming-{transport}"
    published: list[Message] = []
    subscriber = Subscriber([channel], since="start")
    async with asyncio.timeout(60), crowd(server, CROWD, channel) as members:
        publishing = asyncio.create_task(publish_in_turns(server, channel, published))
        while len(subscriber.messages) < BATCHES * 3:
            more = subscriber.has(len(subscriber.messages) + 1)
            await subscriber.listen(server.url, transport, until=more)
        await publishing
        check_received(published, subscriber.messages)
        assert all(ready["recovered"] for ready in subscriber.readies[1:])
        await until(partial(everyone_has, members, len(published)))
