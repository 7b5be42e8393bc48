"""Publishers and subscribers that go on through restarts of the server, and what they have seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.acceptance.checker import (
    Message,
    body_of,
    check_agreement,
    check_log,
    check_received,
    from_answer,
)
from tests.acceptance.subscribers import (
    TRANSPORTS,
    CutError,
    RefusedError,
    Subscriber,
    http_client,
    publish,
    publish_batch,
)
from tests.acceptance.waiting import until

CHANNELS = ["a", "b", "c"]
RECONNECT = 0.02
"""Seconds a client waits before it tries again."""


class Traffic:
    """What all publishers have published; ``unanswered`` has the bodies that got no answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.stop = asyncio.Event()
        self.published: list[Message] = []
        self.unanswered: list[str] = []
        self.grown = asyncio.Condition()
        self.subscribers = {name: Subscriber(CHANNELS, since="start") for name in TRANSPORTS}

    async def answered(self, messages: list[Message]) -> None:
        """Note messages that the server has answered for."""
        async with self.grown:
            self.published += messages
            self.grown.notify_all()

    async def more_than(self, count: int) -> None:
        """Wait until more than ``count`` messages are published."""
        async with self.grown:
            await self.grown.wait_for(lambda: len(self.published) > count)


def commands(publisher: str, number: int, count: int, *, key: bool) -> list[dict[str, Any]]:
    """Commands with data that no other publish has."""
    return [
        {
            "channel": CHANNELS[(number + index) % len(CHANNELS)],
            "data": f"{publisher} {number} {index}",
            **({"key": f"{publisher} {number} {index}"} if key else {}),
        }
        for index in range(count)
    ]


def expect_a_restart(error: Exception) -> None:
    """Let pass what a kill explains: a broken connection, or 503 while the server starts."""
    if isinstance(error, RefusedError) and error.status != 503:
        raise error


async def publish_over_http(traffic: Traffic, name: str, *, count: int, key: bool) -> None:
    """Publish over one kept-alive connection; without keys never try the same message again."""
    number = 0
    todo: list[dict[str, Any]] = []
    async with http_client(traffic.url) as client:
        while not traffic.stop.is_set():
            if not todo:
                number += 1
                todo = commands(name, number, count, key=key)
            try:
                if count == 1:
                    messages = [await publish(client, todo[0])]
                else:
                    messages = await publish_batch(client, todo)
            except (httpx.TransportError, RefusedError) as error:
                expect_a_restart(error)
                if not key:
                    traffic.unanswered += map(body_of, todo)
                    todo = []
                await asyncio.sleep(RECONNECT)
            else:
                await traffic.answered(messages)
                todo = []


async def publish_over_websocket(traffic: Traffic, name: str) -> None:
    """Publish with keys over WebSocket, several commands under way at once."""
    number = 0
    waiting: dict[int, dict[str, Any]] = {}
    while not traffic.stop.is_set():
        try:
            async with connect(traffic.url.replace("http", "ws") + "/ws", proxy=None) as socket:
                for ref, command in waiting.items():  # the answers were lost: try again
                    await socket.send(json.dumps({"type": "publish", "ref": ref, **command}))
                while waiting or not traffic.stop.is_set():
                    while len(waiting) < 8:
                        number += 1
                        (command,) = commands(name, number, 1, key=True)
                        waiting[number] = command
                        text = json.dumps({"type": "publish", "ref": number, **command})
                        await socket.send(text)
                    answer = json.loads(await socket.recv())
                    if answer["type"] == "ok":
                        command = waiting.pop(answer["ref"])
                        await traffic.answered([from_answer(command, answer)])
                    else:
                        assert answer["type"] in ("ready", "close"), answer
                    if traffic.stop.is_set():
                        break
        except (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, EOFError):
            await asyncio.sleep(RECONNECT)
    traffic.unanswered += map(body_of, waiting.values())


async def keep_listening(traffic: Traffic, subscriber: Subscriber, transport: str) -> None:
    """Subscribe again with the last cursor whenever the connection breaks."""
    while True:
        try:
            await subscriber.listen(traffic.url, transport)
        except (CutError, RefusedError) as error:
            expect_a_restart(error)
        await asyncio.sleep(RECONNECT)


async def whole_log(url: str, traffic: Traffic) -> list[Message]:
    """All messages as a new subscriber sees them; a last publish marks the end."""
    async with http_client(url) as client:
        last = await publish(client, {"channel": CHANNELS[0], "data": "the end"})
    traffic.published.append(last)
    reader = Subscriber(CHANNELS, since="start")
    async with asyncio.timeout(20):
        await reader.listen(url, "ws", until=lambda: reader.messages[-1:] == [last])
    return reader.messages


@asynccontextmanager
async def under_traffic(url: str, *, within: float = 120) -> AsyncIterator[Traffic]:
    """Publishers of all kinds and a subscriber of each transport while the block runs.

    Then it is checked that each subscriber has had every message, none of them twice, and no gap.
    The block and what follows may take as many seconds as ``within``.
    """
    traffic = Traffic(url)
    listeners = [
        asyncio.create_task(keep_listening(traffic, subscriber, transport))
        for transport, subscriber in traffic.subscribers.items()
    ]
    async with asyncio.timeout(within), asyncio.TaskGroup() as group:
        for name, count, key in [
            ("one", 1, False),
            ("another", 1, False),
            ("retrying", 1, True),
            ("batch", 25, False),
            ("retrying batch", 25, True),
        ]:
            group.create_task(publish_over_http(traffic, name, count=count, key=key))
        group.create_task(publish_over_websocket(traffic, "socket"))
        yield traffic
        await traffic.more_than(len(traffic.published) + 100)
        traffic.stop.set()

    log = await whole_log(url, traffic)
    everyone = traffic.subscribers.values()
    await until(
        lambda: (
            any(task.done() for task in listeners)
            or all(len(subscriber.messages) >= len(log) for subscriber in everyone)
        )
    )
    for listener in listeners:
        listener.cancel()
    ends = await asyncio.gather(*listeners, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    check_log(log)
    check_received(traffic.published, log, unanswered=traffic.unanswered)
    bodies = [message.body for message in log]
    assert len(set(bodies)) == len(bodies), "a retried publish is there twice"
    streams = {name: subscriber.messages for name, subscriber in traffic.subscribers.items()}
    check_agreement({"log": log, **streams})
    for subscriber in everyone:
        assert subscriber.gaps == []
        assert all(ready["recovered"] for ready in subscriber.readies[1:])
