"""What goes wrong on the way between a browser and the server, until the way has healed.

These are faults for :class:`tests.faults.proxy.FaultyProxy`, each of one kind and without mercy: it
happens to each connection or request that it concerns.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.faults.proxy import Cut, CutError, Fault, FaultyProxy
from tests.faults.requests import HEAD_END, UPGRADE, Requests

if TYPE_CHECKING:
    import random

    from tests.tcp_proxy import Peer, Write

MOST_BYTES = 15_000
"""Bytes of a connection within which faults happen that come in the midst of it, mostly."""
ALL_BYTES = 4 * MOST_BYTES
"""And within which they do always: as many come in good time however slowly they are published."""

EVENT_STREAM = b"text/event-stream"
HTML = b"<!DOCTYPE html><title>Welcome</title><p>Please sign in \xe2\x80\x93 or pay."


def page(status: str, *fields: str, body: bytes = HTML) -> bytes:
    """A whole HTML answer, after which the connection ends; any page may read it."""
    head = [
        f"HTTP/1.1 {status}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Access-Control-Allow-Origin: *",
        "Connection: close",
        *fields,
    ]
    return "\r\n".join(head).encode() + HEAD_END + body


class Reset(Cut):
    """The connection is reset somewhere in the answers."""

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.left %= ALL_BYTES
        self.in_request, self.orderly, self.kind = False, False, "RST"


class Truncated(Cut):
    """The connection ends in good order, somewhere in the answers."""

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.left %= ALL_BYTES
        self.in_request, self.orderly, self.kind = False, True, "FIN"


class BlackHole(Fault):
    """After some bytes nothing goes on in either direction, and nobody is told.

    A connection that has fallen in stays there, though the way has healed.
    """

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.left %= ALL_BYTES
        self.swallowed = False

    async def requests(self, data: bytes, write: Write) -> None:
        if not self.swallowed:
            await write(data)

    async def answers(self, data: bytes, write: Write) -> None:
        if not self.swallowed and self.proxy.healed.is_set():
            await write(data)
        elif not self.swallowed:
            self.swallowed = await self.before(data, write)
            self.proxy.injected["swallowed"] += self.swallowed


class Trickle(Fault):
    """The answers come a few bytes at a time, cut anywhere, and then the connection ends."""

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.left = choice.randrange(1_000, MOST_BYTES)

    async def answers(self, data: bytes, write: Write) -> None:
        while data and not self.proxy.healed.is_set():
            size = self.choice.randint(1, 400)
            piece, data = data[:size], data[size:]
            if self.left < len(piece) and self.happens("cut while it trickled"):
                await write(piece[: self.left])
                raise CutError
            self.left -= len(piece)
            await write(piece)
            await asyncio.sleep(0.001)
        if data:
            await write(data)


class Buffering(Fault):
    """Answers that are event streams are gathered, and go on when there is a lot of them.

    Of every second connection not even the head comes through before.
    """

    ENOUGH = 64_000

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.streams = False
        self.gathered = b""

    async def answers(self, data: bytes, write: Write) -> None:
        if not self.streams and EVENT_STREAM in data.partition(HEAD_END)[0]:
            self.streams = self.happens("buffered")
            if self.streams and self.number % 2:
                head, end, data = data.partition(HEAD_END)
                await write(head + end)
        if not self.streams:
            await write(data)
            return
        self.gathered += data
        if len(self.gathered) > self.ENOUGH:
            await write(self.gathered)
            self.gathered = b""


class Mute(Fault):
    """WebSockets are opened, and then nothing comes."""

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.silent = False

    async def answers(self, data: bytes, write: Write) -> None:
        if self.silent:
            return
        head, end, _ = data.partition(HEAD_END)
        if UPGRADE.search(head):
            self.silent = self.happens("mute")
            data = head + end if self.silent else data
        await write(data)


class Answered(Fault):
    """Somebody else answers in the server's stead: ``instead`` says what, if anything."""

    def __init__(self, proxy: FaultyProxy, number: int, choice: random.Random) -> None:
        super().__init__(proxy, number, choice)
        self.whole = Requests()
        self.said = b""

    def instead(self, request: bytes) -> bytes | None:
        """The answer to a whole request; None if the server gives it."""
        raise NotImplementedError

    async def requests(self, data: bytes, write: Write) -> None:
        for request in self.whole.feed(data):
            answer = self.instead(request)
            if answer is not None and self.happens(type(self).__name__):
                self.said = answer
                raise CutError
            await write(request)
        if rest := self.whole.rest():
            await write(rest)

    def end(self, client: Peer, server: Peer) -> None:
        """Give the answer, and end both sides in good order."""
        client.writer.write(self.said)
        client.writer.close()
        server.writer.close()


class Portal(Answered):
    """Whatever is asked, the answer is a page to sign in."""

    def instead(self, request: bytes) -> bytes:
        return page("200 OK")


class ErrorPage(Answered):
    """A proxy says that there is no server, in HTML."""

    def instead(self, request: bytes) -> bytes:
        return page("502 Bad Gateway")


class Unavailable(Answered):
    """A proxy says when to come back; pages may read that."""

    def instead(self, request: bytes) -> bytes:
        return page(
            "503 Service Unavailable",
            "Retry-After: 1",
            "Access-Control-Expose-Headers: Retry-After",
        )


class Blocked(Answered):
    """Upgrades are refused."""

    STATUS = "400 Bad Request"

    def instead(self, request: bytes) -> bytes | None:
        return page(self.STATUS) if UPGRADE.search(request) else None


class Forbidden(Blocked):
    """Upgrades are forbidden."""

    STATUS = "403 Forbidden"


class BadGateway(Blocked):
    """The proxy does not know what to do with upgrades."""

    STATUS = "502 Bad Gateway"


class ShortRequestsOnly(Answered):
    """Upgrades are blocked, streams buffered without end, and requests that wait are ended."""

    def instead(self, request: bytes) -> bytes | None:
        path = request.split(b" ", 2)[1]
        if UPGRADE.search(request) or path.startswith((b"/sse", b"/longpoll")):
            return page("504 Gateway Timeout")
        return None


class PollsOnly(Answered):
    """Upgrades are blocked, and event streams are answered with a page."""

    def instead(self, request: bytes) -> bytes | None:
        path = request.split(b" ", 2)[1]
        return page("200 OK") if UPGRADE.search(request) or path.startswith(b"/sse") else None


class Way(FaultyProxy):
    """The way of one client: well at first, then bad when it is ``armed``, until it has healed.

    Its port can be ``shut``, so that connections are refused, and opened again. ``accepted`` counts
    connections.
    """

    def __init__(self, target: tuple[str, int], kind: type[Fault], *, seed: str) -> None:
        super().__init__(target, "cut", seed=seed, most_bytes=MOST_BYTES)
        self._fault = kind
        self.healed.set()
        self.accepted = 0
        self._open: set[Peer] = set()

    def arm(self) -> None:
        """From now on the fault happens; what is open is reset."""
        self.healed.clear()
        self.reset()

    def reset(self) -> None:
        """Reset all connections."""
        for peer in self._open:
            with contextlib.suppress(OSError):  # it is at its end by itself
                peer.reset()

    async def shut(self) -> None:
        """Reset all connections, and refuse new ones."""
        await self._listener.shut()
        self.injected["shut"] += 1
        self.reset()

    async def reopen(self) -> None:
        """Accept connections again, on the same port."""
        await self._listener.open()

    async def serve(self, client: Peer, server: Peer) -> None:
        """Pass both directions through the fault."""
        if not self._listener.is_open:  # it was shut before the server had accepted
            return
        self.accepted += 1
        self._open |= {client, server}
        try:
            await super().serve(client, server)
        finally:
            self._open -= {client, server}
