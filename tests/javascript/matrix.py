"""Clients of each transport behind each fault, all at once in one page, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.acceptance.checker import (
    BrokenPromiseError,
    Message,
    check_received,
    from_envelope,
)
from tests.faults.proxy import Fault
from tests.javascript import ways
from tests.javascript.pages import CHANNEL, Change
from tests.javascript.publishing import Publisher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from tests.javascript.pages import Rig
    from tests.server_process import ServerProcess

SPEED = 5
"""How much faster than real time the clients' clocks go, so that waiting 30 s takes 6."""

TRANSPORTS: Mapping[str, Sequence[str]] = {
    "websocket": ["websocket"],
    "sse": ["sse"],
    "eventsource": ["eventsource"],
    "longpoll": ["longpoll"],
    "poll": ["poll"],
    "any": ["websocket", "sse", "longpoll", "poll"],
}

FAULTS: Mapping[str, type[Fault]] = {
    "reset": ways.Reset,
    "truncated": ways.Truncated,
    "black hole": ways.BlackHole,
    "trickle": ways.Trickle,
    "buffering": ways.Buffering,
    "mute": ways.Mute,
    "upgrade 400": ways.Blocked,
    "upgrade 403": ways.Forbidden,
    "upgrade 502": ways.BadGateway,
    "portal": ways.Portal,
    "error page": ways.ErrorPage,
    "unavailable": ways.Unavailable,
}
REFUSED, KILLED = "refused", "killed"

CONCERNS: Mapping[str, Iterable[str]] = {
    "buffering": ("sse", "eventsource"),
    "mute": ("websocket", "any"),
    "upgrade 400": ("websocket", "any"),
    "upgrade 403": ("websocket", "any"),
    "upgrade 502": ("websocket", "any"),
}
"""Faults that happen to some transports only; the others must not be disturbed by them."""

BROKEN: Mapping[str, tuple[Change, ...]] = {
    # It begins anew with what is published from now on.
    "forgetful": (
        Change(
            "link.js",
            "filter((pair) => !!pair[1])",
            "filter((pair) => pair[1] && !['cursor', 'session'].includes(pair[0]))",
        ),
    ),
    # It resumes where it began, and takes what comes again for new.
    "credulous": (
        Change("position.js", 'return "again";', 'return "next";'),
        Change(
            "position.js",
            "this.#excused.delete(channel);\n            this.cursor = envelope.id;",
            "this.cursor ??= envelope.id;",
        ),
        Change(
            "full/subscription.js", "return seq <= (this.#seqs.get(channel) ?? 0);", "return false;"
        ),
    ),
    # It takes each piece that comes for whole characters.
    "mangling": (Change("eventstream.js", "decode(chunk, { stream: true })", "decode(chunk)"),),
}
"""Clients that are wrong, and must be found out."""

SETTINGS: Mapping[str, Any] = {
    "poll_interval": 0.3,
    "sse_heartbeat": 0.5,
    "ping_interval": 1,
    "fragment_size": 1_024,
}
"""A server that is quick to show that it lives, and sends what is not small in parts."""

LEAST = 240
"""Messages published at least."""
WITHIN = 75.0
"""Seconds for whatever has to come about; on a machine at rest it takes up to 15."""


class Cell(NamedTuple):
    """One client: what is between it and the server, and what it may use."""

    fault: str
    transport: str
    broken: str = ""

    @property
    def name(self) -> str:
        """Names the client in the page."""
        return f"{self.fault}, {self.transport}{self.broken and f', {self.broken}'}"

    @property
    def concerned(self) -> bool:
        """Whether the fault can happen to it."""
        return self.transport in CONCERNS.get(self.fault, TRANSPORTS)


CELLS = [Cell(fault, name) for fault in (*FAULTS, REFUSED, KILLED) for name in TRANSPORTS]
WRONG = {
    "forgetful": Cell("reset", "sse", "forgetful"),
    "credulous": Cell("reset", "sse", "credulous"),
    "mangling": Cell("trickle", "sse", "mangling"),
}


@dataclass(slots=True)
class Outcome:
    """What a client has seen, what was published, and how often the fault has happened."""

    seen: dict[str, Any]
    published: list[Message]
    injected: int

    def check(self) -> None:
        """Check that it saw exactly what was published, and was told nothing else.

        Raises ``BrokenPromiseError`` or fails as an ``assert`` does.
        """
        try:
            check_received(self.published, [from_envelope(m) for m in self.seen["got"]])
        except BrokenPromiseError as error:
            error.add_note(f"its last states: {self.seen['states'][-6:]}")
            raise
        assert self.seen["gaps"] == []
        assert self.seen["errors"] == []


class Matrix:
    """One run of all cells; ``mortal`` is the server that dies, and ``revive`` starts it again."""

    def __init__(
        self,
        rig: Rig,
        server: ServerProcess,
        mortal: ServerProcess,
        revive: Callable[[], ServerProcess],
    ) -> None:
        self.cells = [*CELLS, *WRONG.values()]
        self._rig = rig
        self._mortal = mortal
        self._revive = revive
        self._servers = {KILLED: mortal}
        self._server = server
        self._publishers = {KILLED: Publisher(mortal.url)}
        self._publisher = Publisher(server.url)
        self._ways: dict[Cell, ways.Way] = {}
        self._kills = 0

    async def perform(self) -> dict[Cell, Outcome]:
        """Start all clients, publish while their ways are bad, heal them, wait, and look."""
        async with contextlib.AsyncExitStack() as stack:
            for cell in self.cells:
                server = self._servers.get(cell.fault, self._server)
                kind = FAULTS.get(cell.fault, Fault)
                way = ways.Way(server.address, kind, seed=cell.name)
                self._ways[cell] = await stack.enter_async_context(way)
            for cell in self.cells:
                await self._run("void rig.start(arguments[0])", self._spec(cell))
            await self._until(self._all_are_live)
            publishing = [
                asyncio.create_task(publisher.keep_on())
                for publisher in (self._publisher, *self._publishers.values())
            ]
            await self._be_bad()
            for publisher in (self._publisher, *self._publishers.values()):
                publisher.enough()
            await asyncio.gather(*publishing)
            for way in self._ways.values():
                way.heal()
            for publisher in (self._publisher, *self._publishers.values()):
                await publisher.publish(3)
            await self._until(self._all_are_there)
            seen = await self._run("return rig.allSeen()")
            await self._run("return rig.close()")
        return {cell: self._outcome(cell, seen[cell.name]) for cell in self.cells}

    def _spec(self, cell: Cell) -> dict[str, object]:
        return {
            "name": cell.name,
            "modules": f"/broken/{cell.broken}" if cell.broken else "/client",
            "url": self._ways[cell].url,
            "channel": CHANNEL,
            "speed": SPEED,
            "transports": TRANSPORTS[cell.transport],
        }

    def _outcome(self, cell: Cell, seen: dict[str, Any]) -> Outcome:
        publisher = self._publishers.get(cell.fault, self._publisher)
        injected = self._kills if cell.fault == KILLED else self._ways[cell].injected.total()
        return Outcome(seen, publisher.published, injected)

    async def _be_bad(self) -> None:
        """Let each fault happen to everybody whom it concerns, at least once."""
        for cell in self.cells:
            if cell.fault in FAULTS:
                self._ways[cell].arm()
        refused = [self._ways[cell] for cell in self.cells if cell.fault == REFUSED]
        for _ in range(2):
            for way in refused:
                await way.shut()
            await asyncio.to_thread(self._mortal.kill)
            self._kills += 1
            await asyncio.sleep(1)
            self._mortal = await asyncio.to_thread(self._revive)
            for way in refused:
                await way.reopen()
            await asyncio.sleep(2)
        await self._until(self._all_have_suffered)

    async def _all_are_live(self) -> bool:
        live = await self._run(
            "return [...rig.clients.values()]"
            "  .filter(({client}) => client.state.status === 'live').length"
        )
        return bool(live == len(self.cells))

    async def _all_have_suffered(self) -> bool:
        return len(self._publisher.published) >= LEAST and all(
            self._ways[cell].injected
            for cell in self.cells
            if cell.fault != KILLED and cell.concerned
        )

    async def _all_are_there(self) -> bool:
        """Whether each client that is right has the last message."""
        last = await self._run(
            "return Object.fromEntries([...rig.clients].map(([k, {got}]) => [k, got.at(-1)?.id]))"
        )
        return all(
            last[cell.name]
            == self._publishers.get(cell.fault, self._publisher).published[-1].cursor
            for cell in self.cells
            if not cell.broken
        )

    async def _run(self, script: str, *arguments: object) -> Any:
        return await asyncio.to_thread(self._rig.run, script, *arguments)

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait; whoever is not that far after ``WITHIN`` seconds is seen in the outcome."""
        end = time.monotonic() + WITHIN
        while not await holds():
            if time.monotonic() > end:
                return
            await asyncio.sleep(0.1)
