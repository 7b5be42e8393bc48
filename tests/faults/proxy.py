"""A TCP proxy that does to connections what bad networks and impatient middle boxes do.

What happens to a connection is a function of the proxy's seed, of how many came before it, and of
its bytes: never of the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING

from tests.faults.requests import Requests, answer_of
from tests.tcp_proxy import Peer, TcpProxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from tests.tcp_proxy import Write

LINGER = 0.05
"""Seconds in which requests still reach the server when its answers no longer come back."""

LONGEST_HOLD = 0.6
"""Seconds for which bytes are held back at most."""


class CutError(Exception):
    """The connection is to be ended now, on both sides."""


class Fault:
    """What happens to one connection: here nothing.

    ``requests`` and ``answers`` get the bytes of each direction and a function that hands them on.
    """

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        self.proxy = proxy
        self.number = number
        self.choice = choice
        #: Bytes until it happens; some connections last, or large answers would never get through.
        self.left = choice.randrange(proxy.most_bytes) * choice.choice([1, 1, 1, 20])

    async def requests(self, data: bytes, write: Write) -> None:
        """Hand on bytes from the client to the server."""
        await write(data)

    async def answers(self, data: bytes, write: Write) -> None:
        """Hand on bytes from the server to the client."""
        await write(data)

    def end(self, client: Peer, server: Peer) -> None:
        """End both sides after a ``CutError``."""
        client.reset()
        server.reset()

    def happens(self, what: str) -> bool:
        """Note that the fault happens, unless the network has healed: then it does not."""
        if self.proxy.healed.is_set():
            return False
        self.proxy.injected[what] += 1
        return True

    async def before(self, data: bytes, write: Write) -> bool:
        """Hand on what is due before the fault; tell whether there is more."""
        allowed = data[: self.left]
        self.left -= len(allowed)
        if allowed:
            await write(allowed)
        return len(allowed) < len(data)


class Cut(Fault):
    """Both sides are ended, by RST or by FIN, in the middle of the requests or of the answers."""

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.orderly = choice.random() < 0.5
        self.kind = "FIN" if self.orderly else "RST"
        self.in_request = choice.random() < 0.25
        if self.in_request:
            self.left %= 700  # a request or two

    async def requests(self, data: bytes, write: Write) -> None:
        if self.in_request and not self.proxy.healed.is_set():
            await self._cut(data, write)
        else:
            await write(data)

    async def answers(self, data: bytes, write: Write) -> None:
        if not self.in_request and not self.proxy.healed.is_set():
            await self._cut(data, write)
        else:
            await write(data)

    async def _cut(self, data: bytes, write: Write) -> None:
        if await self.before(data, write) and self.happens(self.kind):
            raise CutError

    def end(self, client: Peer, server: Peer) -> None:
        if self.orderly:
            client.writer.close()
            server.writer.close()
        else:
            super().end(client, server)


class Stall(Fault):
    """Bytes are held for a while; then they go on, or the connection is cut."""

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.seconds = choice.uniform(0.05, LONGEST_HOLD)
        self.ends = choice.random() < 0.5

    async def answers(self, data: bytes, write: Write) -> None:
        if len(data) <= self.left:
            await self.before(data, write)
            return
        rest = data[self.left :]
        await self.before(data, write)
        if self.happens("stalled, then cut" if self.ends else "stalled"):
            await self.proxy.sleep(self.seconds)
            if self.ends and not self.proxy.healed.is_set():
                raise CutError
        self.left = self.choice.randrange(self.proxy.most_bytes) + len(rest)
        await self.before(rest, write)


class Slow(Fault):
    """Both directions go at few bytes a second, in pieces that respect no border."""

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.rate = choice.uniform(0.2, 1.0) * proxy.most_rate
        self.happens("slowed")

    async def requests(self, data: bytes, write: Write) -> None:
        await self._trickle(data, write)

    async def answers(self, data: bytes, write: Write) -> None:
        await self._trickle(data, write)

    async def _trickle(self, data: bytes, write: Write) -> None:
        while data and not self.proxy.healed.is_set():
            size = self.choice.randint(1, 1_000)
            await write(data[:size])
            data = data[size:]
            await self.proxy.sleep(size / self.rate)
        if data:
            await write(data)


class Overtaken(Fault):
    """What the client sends is held until a connection that it opened later has got through.

    By then the client may have given up this one. The server gets the bytes all the same.
    """

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        # A publisher's later requests, or a subscriber's first.
        self.left = choice.choice([0, self.left % 3_000])
        self.harmless = choice.random() < 0.4
        self.overtaken = asyncio.Event()

    async def requests(self, data: bytes, write: Write) -> None:
        if not self.harmless and len(data) > self.left and not self.proxy.healed.is_set():
            self.harmless = True
            self.proxy.held.append(self)
            await self.proxy.sleep(LONGEST_HOLD, self.overtaken)
            self.proxy.held.remove(self)
            if self.overtaken.is_set():
                self.happens("overtaken")
                await write(data)
                await asyncio.sleep(LINGER)  # the client may be gone: let the server see this
                return
        self.left -= len(data)
        await write(data)
        for fault in self.proxy.held:
            if fault.number < self.number:
                fault.overtaken.set()


class Twice(Fault):
    """A whole HTTP request reaches the server twice; the second answer is dropped.

    The client gets the answer to the one or to the other. Frames of a WebSocket are no requests.
    """

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.whole = Requests()

    async def requests(self, data: bytes, write: Write) -> None:
        for request in self.whole.feed(data):
            doubled = self.choice.random() < 0.5
            first = self.choice.random() < 0.5
            if not doubled or not self.happens("request twice"):
                await write(request)
            elif first:
                await self.proxy.repeat(request)
                await write(request)
            else:
                await write(request)
                self.proxy.spawn(self.proxy.repeat(request))
        if rest := self.whole.rest():
            await write(rest)


class NoAnswer(Fault):
    """Requests reach the server, an answer does not come back, and the connection is cut."""

    async def answers(self, data: bytes, write: Write) -> None:
        self.left -= len(data)
        if self.left < 0 and self.happens("answer dropped"):
            await self.proxy.sleep(LINGER)
            raise CutError
        await write(data)


FAULTS: dict[str, type[Fault]] = {
    "cut": Cut,
    "stall": Stall,
    "slow": Slow,
    "reorder": Overtaken,
    "twice": Twice,
    "no answer": NoAnswer,
}


class FaultyProxy(TcpProxy):
    """Lets ``fault``, a key of ``FAULTS``, happen to every connection until ``heal`` is called.

    A fault mostly comes within the first ``most_bytes`` of a connection, and slow ones have at
    most ``most_rate`` bytes a second. ``injected`` counts what has happened. One proxy may stand
    ``beside`` another, before another server: they count together, and what is held in the one can
    be overtaken through the other.
    """

    def __init__(
        self,
        target: tuple[str, int],
        fault: str,
        *,
        seed: str,
        most_bytes: int = 4_000,
        most_rate: float = 300_000,
        beside: FaultyProxy | None = None,
    ) -> None:
        # A small buffer, so that the server feels it when bytes are held here.
        super().__init__(target, receive_buffer=8_192)
        self.most_bytes = most_bytes
        self.most_rate = most_rate
        self.injected: Counter[str] = Counter() if beside is None else beside.injected
        self.healed = asyncio.Event()
        self.held: list[Overtaken] = [] if beside is None else beside.held
        self._fault = FAULTS[fault]
        self._seed = seed
        self._spawned: set[asyncio.Future[None]] = set()
        self._numbers: Iterator[int] = itertools.count() if beside is None else beside._numbers

    def heal(self) -> None:
        """From now on nothing happens any more, to no connection."""
        self.healed.set()

    async def sleep(self, seconds: float, sooner: asyncio.Event | None = None) -> None:
        """Wait that long, or until the network has healed, or until ``sooner`` is set."""
        waiting = [asyncio.create_task(event.wait()) for event in (self.healed, sooner) if event]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def repeat(self, request: bytes) -> None:
        """Send a request on a connection of its own, wait for the answer and forget it."""
        with contextlib.suppress(OSError, EOFError):
            server = await self.dial()
            try:
                await server.write(request)
                with contextlib.suppress(TimeoutError):  # a stream's answer has no end
                    async with asyncio.timeout(LONGEST_HOLD / 2):
                        await answer_of(server.reader)
            finally:
                server.writer.transport.abort()

    def spawn(self, work: Awaitable[None]) -> None:
        """Do something besides; it is dropped when the proxy stops."""
        task = asyncio.ensure_future(work)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    async def __aexit__(self, *exception: object) -> None:
        """Stop listening, and drop all connections and what was spawned."""
        await super().__aexit__(*exception)
        for task in self._spawned:
            task.cancel()
        await asyncio.gather(*self._spawned, return_exceptions=True)

    async def serve(self, client: Peer, server: Peer) -> None:
        """Pass both directions through the fault until a side ends or the fault cuts them."""
        number = next(self._numbers)
        fault = self._fault(self, number, random.Random(f"{self._seed} {number}"))
        directions = [
            asyncio.create_task(client.pass_to(server, fault.requests)),
            asyncio.create_task(server.pass_to(client, fault.answers)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            ends = [task.exception() for task in directions if task.done()]
            if any(isinstance(end, CutError) for end in ends):
                fault.end(client, server)
            elif directions[1].done():
                client.writer.close()
                await client.writer.wait_closed()
        finally:
            for task in directions:
                task.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
