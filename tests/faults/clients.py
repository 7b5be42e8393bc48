"""Clients that do what the protocol asks of them on a bad network: publish again, resume, hop."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.acceptance.checker import Envelope, Message, from_answer
from tests.acceptance.subscribers import (
    TRANSPORTS,
    CutError,
    RefusedError,
    http_client,
    publish,
    publish_batch,
)
from tests.faults.model import View

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.faults.model import Published

RECONNECT = 0.01
"""Seconds between two tries."""

Urls = str | Sequence[str]
"""A server, or several with one log: each next connection goes to the next of them."""

AWAY = ("engine_unavailable", "unavailable")
"""Codes that say: nothing was published now, try again."""

POLLS = ("longpoll", "poll")

BROKEN = (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, EOFError, TimeoutError)


class Publisher:
    """Publishes until told to stop, and goes on until everything is answered.

    ``published`` is the model's list. After ``patience`` seconds without an answer it tries again
    on another connection. Every message has a key, unless ``keys`` is false: then it is broken.
    """

    def __init__(
        self,
        name: str,
        published: Published,
        channels: Sequence[str],
        stop: asyncio.Event,
        *,
        patience: float,
        text: str = "",
        keys: bool = True,
    ) -> None:
        self.name = name
        self.published = published
        self.channels = channels
        self.stop = stop
        self._patience = patience
        self._text = text
        self._keys = keys
        self._numbers = itertools.count()

    def commands(self, count: int) -> list[dict[str, Any]]:
        """The next messages, each unlike all others."""
        commands = []
        for number in itertools.islice(self._numbers, count):
            command = {
                "channel": self.channels[number % len(self.channels)],
                "data": {"from": self.name, "number": number, "text": self._text},
            }
            self.published.attempt(self.name, number, command)
            if self._keys:
                command["key"] = f"{self.name} {number}"
            commands.append(command)
        return commands

    async def over_http(self, urls: Urls, *, count: int, pause: float) -> None:
        """Publish single messages or batches over kept-alive connections."""
        places = one_after_the_other(urls)
        todo: list[dict[str, Any]] = []
        while todo or not self.stop.is_set():
            try:
                async with http_client(next(places)) as client:
                    client.timeout = httpx.Timeout(self._patience)
                    while todo or not self.stop.is_set():
                        todo = todo or self.commands(count)
                        send = publish_one if count == 1 else publish_batch
                        self.published.acknowledge(await send(client, todo))
                        todo = []
                        await asyncio.sleep(pause)
            except (httpx.TransportError, RefusedError) as error:
                only_a_restart(error)
                await asyncio.sleep(RECONNECT)

    async def over_websocket(self, urls: Urls, *, pause: float, at_once: int = 4) -> None:
        """Publish over WebSocket, several commands under way at once; they go again in order.

        Where the log may be away for a moment ``at_once`` must be 1, or the order may be lost.
        """
        places = one_after_the_other(urls)
        waiting: dict[int, dict[str, Any]] = {}
        refs = itertools.count()
        options: dict[str, Any] = {"proxy": None, "ping_interval": None, "close_timeout": 0.1}
        options["open_timeout"] = self._patience
        while waiting or not self.stop.is_set():
            try:
                url = next(places).replace("http", "ws")
                async with connect(f"{url}/ws", **options) as socket:
                    for ref, command in waiting.items():
                        await socket.send(json.dumps({"type": "publish", "ref": ref, **command}))
                    while waiting or not self.stop.is_set():
                        while len(waiting) < at_once and not self.stop.is_set():
                            ref = next(refs)
                            (waiting[ref],) = self.commands(1)
                            command = {"type": "publish", "ref": ref, **waiting[ref]}
                            await socket.send(json.dumps(command))
                        async with asyncio.timeout(self._patience):
                            answer = json.loads(await socket.recv())
                        if answer["type"] == "error" and answer["code"] in AWAY:
                            await asyncio.sleep(RECONNECT)
                            break
                        if answer["type"] != "ready":
                            assert answer["type"] == "ok", answer
                            command = waiting.pop(answer["ref"])
                            self.published.acknowledge([from_answer(command, answer)])
                            await asyncio.sleep(pause)
            except BROKEN:
                await asyncio.sleep(RECONNECT)


async def publish_one(client: httpx.AsyncClient, commands: list[dict[str, Any]]) -> list[Message]:
    """Publish a single message in the form that is for single ones."""
    (command,) = commands
    return [await publish(client, command)]


class Stream:
    """One connection of a subscriber, over whatever transport."""

    def __init__(self, url: str, transport: str, channels: Collection[str], **start: Any) -> None:
        self._envelopes = TRANSPORTS[transport](url, channels, **start)
        self._reading: asyncio.Task[Envelope] | None = None

    async def next(self, patience: float) -> Envelope | None:
        """The next envelope; ``None`` if none comes in time: then the connection is still open.

        Raises:
            CutError, RefusedError, StopAsyncIteration: when the connection is at its end.
        """
        if self._reading is None:
            self._reading = asyncio.ensure_future(anext(self._envelopes))
        done, _ = await asyncio.wait({self._reading}, timeout=patience)
        if not done:
            return None
        (reading,) = done
        self._reading = None
        return reading.result()

    async def close(self) -> None:
        """Leave, in the middle of whatever it is."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._envelopes.aclose()


class Subscriber:
    """Follows channels from a cursor on, resumes with its newest, and notes all that it sees.

    It takes the next of ``transports`` whenever a connection ends, is silent for ``patience``
    seconds (then it opens another before it gives up this one), or has brought some dozens of
    messages. A real client would wait for heartbeats to fail to come; here traffic is steady.
    """

    def __init__(
        self, channels: Collection[str], transports: Iterator[str], *, patience: float, seed: str
    ) -> None:
        self.view = View(channels)
        self.cursor = ""
        self.polls = False
        self._transports = transports
        self._patience = patience
        self._choice = random.Random(seed)

    def start(self) -> dict[str, str]:
        """Where the next connection starts."""
        return {"cursor": self.cursor}

    def take(self, envelope: Envelope) -> None:
        """Note an envelope, and go on behind it the next time.

        A poll's answer has its gaps before all messages, so their ids are not for who leaves in
        the middle of it.
        """
        self.view.take(envelope)
        if envelope["type"] != "close" and not (self.polls and envelope["type"] == "gap"):
            self.cursor = envelope.get("id") or self.cursor

    async def listen(self, urls: Urls) -> None:
        """Receive for ever."""
        places = one_after_the_other(urls)
        async with AsyncExitStack() as open_streams:
            while True:
                transport = next(self._transports)
                self.polls = transport in POLLS
                stream = Stream(next(places), transport, self.view.channels, **self.start())
                silent = open_streams.pop_all()
                open_streams.push_async_callback(stream.close)
                left = self._choice.randint(10, 120)
                try:
                    while left and (envelope := await stream.next(self._patience)) is not None:
                        await silent.aclose()
                        self.take(envelope)
                        left -= 1
                    if not left:
                        await open_streams.aclose()
                except (CutError, RefusedError, StopAsyncIteration) as error:
                    only_a_restart(error)
                    await asyncio.sleep(RECONNECT)
                finally:
                    await silent.aclose()


def one_after_the_other(urls: Urls) -> Iterator[str]:
    """Where each next connection goes to."""
    return itertools.cycle([urls] if isinstance(urls, str) else urls)


def only_a_restart(error: Exception) -> None:
    """Let a broken connection pass, and 503 while the server restarts; raise anything else."""
    if isinstance(error, RefusedError) and error.status != 503:
        raise error
