"""Durable consumers on a bad network: clients that acknowledge, and the model that judges them.

A consumer never gives a cursor: the server knows where it is. So it sees again what it has not
acknowledged, each time with a higher count of deliveries, and what is acknowledged never again.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import httpx
from websockets.exceptions import ConnectionClosed

from tests.acceptance.checker import Message, from_envelope, position
from tests.acceptance.subscribers import CutError, RefusedError, http_client
from tests.faults.clients import (
    AWAY,
    RECONNECT,
    Stream,
    Urls,
    one_after_the_other,
    only_a_restart,
)
from tests.faults.model import Published, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection

    from websockets.asyncio.client import ClientConnection

    from tests.acceptance.checker import Envelope


class Opened(NamedTuple):
    """The consumer asks for another connection."""


class Sighting(NamedTuple):
    """A message came, as the so-manieth delivery that the server counts."""

    message: Message
    deliveries: int


class Acknowledged(NamedTuple):
    """An acknowledgement was answered: of these positions, or with one of all up to it."""

    positions: frozenset[int]
    single: bool


Event = Opened | Sighting | Acknowledged


class Done(NamedTuple):
    """What is acknowledged at one moment."""

    upto: int = 0
    single: frozenset[int] = frozenset()

    def has(self, place: int) -> bool:
        """Whether the message at this position is."""
        return place <= self.upto or place in self.single

    def after(self, event: Acknowledged) -> Done:
        """What is acknowledged then."""
        if event.single:
            return self._replace(single=self.single | event.positions)
        return self._replace(upto=max(self.upto, *event.positions))


def judge_consumer(
    published: Published, events: list[Event], *, counts: bool, in_order: bool
) -> Verdict:
    """Compare what a consumer saw with what was published, and with what it acknowledged.

    ``counts``: a message that comes again must have a higher count; so it is unless the server was
    killed. ``in_order``: answers to acknowledgements came on the stream itself, so nothing behind
    one may be acknowledged by it; else only what a later connection brings is looked at.
    """
    verdict = Verdict(len(published.attempts))
    done, done_when_opened = Done(), Done()
    seen: dict[int, int] = {}
    newest = 0
    for event in events:
        match event:
            case Opened():
                done_when_opened, newest = done, 0
            case Acknowledged():
                done = done.after(event)
            case Sighting(message, deliveries):
                verdict.received += 1
                place = message.position
                if (done if in_order else done_when_opened).has(place):
                    verdict.duplicated += 1
                    verdict.add("b", f"came again though it was acknowledged: {message}")
                elif counts and place in seen and deliveries <= seen[place]:
                    verdict.duplicated += 1
                    text = f"delivery {deliveries} after delivery {seen[place]}"
                    verdict.add("b", f"came again as {text}: {message}")
                elif place in seen:
                    verdict.told += 1
                if deliveries == 1 and place < newest:
                    verdict.add("b", f"comes for the first time behind a later one: {message}")
                newest = max(newest, place)
                seen[place] = deliveries
    for message in published.acknowledged.values():
        if message.position not in seen:
            verdict.lost += 1
            verdict.add("a", f"lost {message}")
    return verdict


class Consumer:
    """Reads as a durable consumer over one transport, and acknowledges what it has seen.

    Mostly it does so with all up to the newest, sometimes with a few single ones. Over WebSocket
    it uses the command, over short polls the next poll's cursor, else ``POST /ack``.
    """

    def __init__(
        self, name: str, transport: str, channels: Collection[str], *, patience: float
    ) -> None:
        self.name = name
        self.transport = transport
        self.channels = channels
        self.events: list[Event] = []
        self._patience = patience
        self._choice = random.Random(name)
        self._unacknowledged: list[str] = []  # ids seen on this connection, in their order
        self._refs: dict[int, Acknowledged] = {}
        self._numbers = itertools.count(1)
        self._socket: ClientConnection | None = None
        self._polled: str | None = None

    def done(self) -> Done:
        """What it has acknowledged, by the answers that came."""
        answers = (event for event in self.events if isinstance(event, Acknowledged))
        return functools.reduce(Done.after, answers, Done())

    async def create(self, url: str, cursor: str) -> None:
        """Begin at a cursor."""
        query = {"channels": ",".join(self.channels), "consumer": self.name, "cursor": cursor}
        async with http_client(url) as client:
            answer = await client.get(f"/poll?{urlencode(query)}")
            assert answer.status_code == 200, answer.text

    async def listen(self, urls: Urls) -> None:
        """Receive and acknowledge for ever. Over HTTP it acknowledges at the first server."""
        places = one_after_the_other(urls)
        parameters = {"consumer": self.name}
        options: dict[str, Any] = {"parameters": parameters}
        if self.transport == "poll":
            parameters["ack"] = "cursor"
        if self.transport == "ws":
            options["opened"] = self._opened
        url = urls if isinstance(urls, str) else urls[0]
        async with AsyncExitStack() as open_streams, http_client(url) as client:
            client.timeout = httpx.Timeout(self._patience)
            while True:
                self.events.append(Opened())
                self._unacknowledged.clear()
                self._refs.clear()
                self._polled = None
                stream = Stream(next(places), self.transport, self.channels, **options)
                silent = open_streams.pop_all()
                open_streams.push_async_callback(stream.close)
                left = self._choice.randint(20, 150)
                try:
                    while left:
                        envelope = await stream.next(self._patience)
                        if envelope is not None:
                            await silent.aclose()
                            await self._take(envelope, client)
                        elif self._unacknowledged and not self._refs:
                            await self._acknowledge(client, single=False)
                        else:
                            break
                        # A poll's answer is taken whole: it is the next one that acknowledges.
                        whole = envelope is None or envelope["type"] == "position"
                        left -= whole or self.transport != "poll"
                except (CutError, RefusedError, StopAsyncIteration) as error:
                    if not isinstance(error, RefusedError) or error.status != 409:  # replaced
                        only_a_restart(error)
                    await asyncio.sleep(RECONNECT)
                finally:
                    await silent.aclose()

    def _opened(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def _take(self, envelope: Envelope, client: httpx.AsyncClient) -> None:
        match envelope["type"]:
            case "message":
                deliveries = envelope.get("deliveries", 1)
                self.events.append(Sighting(from_envelope(envelope), deliveries))
                self._unacknowledged.append(envelope["id"])
                if self._choice.random() < 0.2:
                    await self._acknowledge(client, single=self._choice.random() < 0.3)
            case "error" if envelope["code"] in AWAY:  # as 503: a later one says it too
                self._refs.pop(envelope["ref"])
            case "error":
                raise AssertionError(envelope)
            case "ok":
                self.events.append(self._refs.pop(envelope["ref"]))
            case "position" if self.transport == "poll":
                if self._polled is not None:  # this answers a poll that came with a cursor
                    self.events.append(acknowledged([self._polled], single=False))
                self._polled = envelope["id"] or self._polled

    async def _acknowledge(self, client: httpx.AsyncClient, *, single: bool) -> None:
        if not self._unacknowledged or self.transport == "poll":
            return
        ids = self._choice.sample(self._unacknowledged, 1) if single else self._unacknowledged[-1:]
        event = acknowledged(ids, single=single)
        if not single:
            self._unacknowledged.clear()
        if self.transport == "ws":
            await self._command(ids[0], event)
        else:
            await self._post(client, ids[0], event)

    async def _command(self, id: str, event: Acknowledged) -> None:
        assert self._socket is not None
        ref = next(self._numbers)
        self._refs[ref] = event
        command = {"type": "ack", "ref": ref, "id": id, "single": event.single}
        try:
            await self._socket.send(json.dumps(command))
        except ConnectionClosed as error:
            raise CutError from error

    async def _post(self, client: httpx.AsyncClient, id: str, event: Acknowledged) -> None:
        query = {"eventId": id, "consumer": self.name, "single": str(event.single).lower()}
        try:
            answer = await client.post(f"/ack?{urlencode(query)}")
        except httpx.TransportError:
            return  # a later one says it too
        if answer.status_code != 503:
            assert answer.status_code == 204, answer.text
            self.events.append(event)


def acknowledged(ids: list[str], *, single: bool) -> Acknowledged:
    """The acknowledgement of messages by their ids."""
    return Acknowledged(frozenset(position(id)[1] for id in ids), single)
