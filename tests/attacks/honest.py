"""100 honest clients and a publisher, in a process of their own: what an attack must not touch.

40 follow their channels over WebSocket, 30 over event streams, 20 by long polls and 10 by short
ones. They are 44 users, each with a token and an address of its own. It is told what to do by lines
of JSON on standard input, and answers each with a line:

    {"do": "open", "url": …, "authority": …, "origin": …, "key": …, "tokens": [44 of them]}
    {"do": "begin"}      from now on the publisher publishes, and times are taken
    {"do": "end"}        it stops; the answer comes when everybody has everything
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop
from benchmarks.loadgen import kernel_clock, latency, stamp, wire
from benchmarks.loadgen.publishers import HttpPublisher
from benchmarks.loadgen.subscribers import Stream

from tests.attacks.bookkeeping import CHANNELS, Followed, channel_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.loadgen.subscribers import Transport
    from hdrh.histogram import HdrHistogram

RATE = 50
"""Messages a second."""
SIZE = 100
POLL_SECONDS = 1.2
"""Between short polls: a little more than the server allows at the least."""
OPEN_SECONDS = 30
PATIENCE = 15.0
"""Seconds until a message that has not come after the last publish counts as lost."""


class Users(NamedTuple):
    """So many users of one transport, each with so many connections."""

    transport: Transport
    users: int
    connections: int


CROWD = (
    Users("ws", 8, 5),
    Users("sse", 6, 5),
    Users("longpoll", 20, 1),
    Users("poll", 10, 1),
)
USERS = sum(group.users for group in CROWD)
CLIENTS = sum(group.users * group.connections for group in CROWD)

_COUNTED = ("expected", "received", "missing", "duplicates", "out_of_order", "gaps", "closed")


class _Publisher(HttpPublisher):
    """Publishes each message in the channel whose turn it is; a back end's key says that it may."""

    def __init__(self, stream: Stream, headers: str) -> None:
        super().__init__(stream, SIZE)
        self._headers = headers

    def request(self, numbers: range, now: int) -> bytes:
        self._stream.unanswered += len(numbers)
        return b"".join(
            wire.post(
                self._stream.authority,
                "/publish",
                json.dumps(
                    {"channel": channel_of(number), "data": stamp.text(number, now, SIZE)}
                ).encode(),
                headers=self._headers,
            )
            for number in numbers
        )


class Crowd:
    """The clients, by user, and the publisher."""

    def __init__(self) -> None:
        self._streams: list[Stream] = []
        self._published = 0
        self._publishing: asyncio.Task[None] | None = None
        self._latest = 0.0

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command: ``do`` names the method, the other members are its arguments."""
        arguments = dict(command)
        answer: dict[str, Any] = await getattr(self, arguments.pop("do"))(**arguments)
        return answer

    async def open(
        self, url: str, authority: str, origin: str, key: str, tokens: Sequence[str]
    ) -> dict[str, Any]:
        """Connect everybody; the answer comes when all are subscribed."""
        names = iter(tokens)
        opening = []
        for group in CROWD:
            for _ in range(group.users):
                stream = self._stream(group.transport, url, authority, origin, next(names))
                source = f"127.0.1.{len(self._streams)}"
                opening += [_connect(stream, source) for _ in range(group.connections)]
        self._source = Stream("poll", url, CHANNELS[0])
        self._source.authority = authority
        self._key = key
        await asyncio.gather(*opening)
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection over all connections would show up as latency
        return {"opened": len(opening)}

    def _stream(
        self, transport: Transport, url: str, authority: str, origin: str, token: str
    ) -> Stream:
        """One user; all but one of the channels are followed, by turns."""
        left_out = CHANNELS[len(self._streams) % len(CHANNELS)]
        followed = [channel for channel in CHANNELS if channel != left_out]
        headers = f"Authorization: Bearer {token}\r\nOrigin: {origin}\r\n"
        stream = Stream(transport, url, ",".join(followed), POLL_SECONDS, headers=headers)
        stream.authority = authority
        stream.ledger = Followed(followed)
        self._streams.append(stream)
        return stream

    async def begin(self) -> dict[str, Any]:
        """Publish steadily from now on, and forget all times taken before."""
        self._before = {name: self._sum(name) for name in _COUNTED}
        for stream in self._streams:
            stream.latencies.clear()
        self._began = monotonic()
        self._first = self._published
        self._latest = 0.0
        self._publisher = _Publisher(self._source, f"X-API-Key: {self._key}\r\n")
        source = ("127.0.1.200", 0)
        await asyncio.get_running_loop().create_connection(
            lambda: self._publisher, self._source.host, self._source.port, local_addr=source
        )
        self._publishing = asyncio.create_task(self._publish())
        return {}

    async def _publish(self) -> None:
        while True:
            due = self._began + (self._published - self._first) / RATE
            await asyncio.sleep(max(due - monotonic(), 0))
            self._latest = max(self._latest, monotonic() - due)
            self._published += 1
            for stream in self._streams:
                assert isinstance(stream.ledger, Followed)
                stream.ledger.announce(self._published)
            self._publisher.publish(self._published, 1)

    async def end(self) -> dict[str, Any]:
        """Publish no more; say what came once everybody has everything, or patience is over."""
        assert self._publishing is not None
        self._publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._publishing
        streams = [*self._streams, self._source]
        for stream in streams:
            stream.expect(stream.ledger.missing)
            stream.check()
        with contextlib.suppress(TimeoutError):  # what is missing is told by the ledgers
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(stream.arrived.wait() for stream in streams))
        self._publisher.close()
        counts = {name: self._sum(name) - self._before[name] for name in _COUNTED}
        faults = [fault for stream in self._streams for fault in stream.ledger.faults]
        return counts | {
            "published": self._published - self._first,
            "unanswered": self._source.unanswered,
            "faults": [*faults, *self._source.ledger.faults][:10],
            "latest": self._latest,
            "latency": latency.summary(self._histogram()),
        }

    def _sum(self, name: str) -> int:
        return sum(getattr(stream.ledger, name) for stream in self._streams)

    def _histogram(self) -> HdrHistogram:
        """Publish to receive, of all but the short polls: those wait for their time, not for us."""
        total = latency.Latencies().histogram()
        for stream in self._streams:
            if stream.transport != "poll":
                total.add(stream.latencies.histogram())
        return total


async def _connect(stream: Stream, source: str) -> None:
    subscriber = stream.subscriber()
    await kernel_clock.connect(subscriber, stream.host, stream.port, source)
    if subscriber.ready is not None:
        await asyncio.wait_for(subscriber.ready, OPEN_SECONDS)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = Crowd()
    while line := await reader.readline():
        try:
            answer = await crowd.do(json.loads(line))
        except Exception as error:  # the one who asked decides what a failure means
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
