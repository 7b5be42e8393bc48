"""Nodes that keep who is on their channels, on one log, in a world of its own time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tests.hub.fleet_world import FleetWorld, Node, SharedLog, TimeLoop
from tidewire.hub import Presence, Terms
from tidewire.hub.presence import Times
from tidewire.hub.presence_records import COUNTS, TABLE, Who, client_of_session, decode, split_key
from tidewire.model import Namespaces, Retention

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tidewire.model import Message

T = TypeVar("T")

CHANNEL = "room:1"
GRACE = 2.0
SOON = 0.5  # by when what is written is written
_NONE: frozenset[str] = frozenset()


class News(NamedTuple):
    """What was told: the loop's time, who, what, and on which channel."""

    at: float
    event: str
    client: str
    channel: str = CHANNEL


class Attended(Node):
    """A node with presence. Its streams are known by the names of their sessions."""

    def __init__(self, log: SharedLog, name: str, world: PresenceWorld) -> None:
        super().__init__(log, name)
        self.world = world
        self.presence = Presence(
            self.hub,
            self.fleet,
            Times(GRACE, 120.0, 6.0),
            clock=world.loop.time,
            wall=lambda: world.loop.time() + world.offset,
        )
        self._streams: dict[str, frozenset[str]] = {}

    async def start(self) -> None:
        await super().start()
        await self.presence.start()

    async def stop(self) -> None:
        self.presence.stop()
        await super().stop()

    def die(self) -> None:
        super().die()
        self.presence.stop()

    def open(self, session: str, *channels: str, user: str | None = None) -> None:
        """A stream follows these channels, or others than before; none: it ends."""
        before = self._streams.get(session, _NONE)
        terms = Terms("ws", user=user)
        there = self.presence.followed(before, session, terms, frozenset(channels))
        self._streams[session] = there

    def close(self, session: str) -> None:
        self.open(session)

    def poll(self, client: str, *channels: str) -> None:
        """A short poll."""
        self.presence.poll(channels or (CHANNEL,), Who(client, "poll"), held=False)

    def poll_beside(self, session: str) -> None:
        """A short poll beside what the session has else."""
        who = Who(client_of_session(session), "poll")
        self.presence.poll((CHANNEL,), who, held=False, beside=True)

    async def count(self, channel: str = CHANNEL) -> int:
        return (await self.presence.snapshot(channel)).total

    async def clients(self, channel: str = CHANNEL) -> list[str]:
        page = await self.presence.members(channel, "", 1_000)
        return [member.client for member in page.members]


class PresenceWorld(FleetWorld):
    """Makes nodes with presence in the namespace ``room``, and notes what is told."""

    def __init__(self, loop: TimeLoop) -> None:
        super().__init__(loop)
        self.log.namespaces = Namespaces(
            Retention(100_000, 3_600_000_000), presences={"room": True}
        )
        self.news: list[News] = []

    async def node(self, name: str = "") -> Attended:
        node = Attended(self.log, name, self)
        await node.start()
        if len(self.nodes) == 0:
            self.log.feeds.append(self._note)
        self.nodes.append(node)
        await asyncio.sleep(0.01)
        return node

    async def some(self, names: str) -> list[Attended]:
        return [await self.node(name) for name in names]

    def _note(self, messages: list[Message]) -> None:
        for message in messages:
            if message.channel.startswith("@presence:"):
                member = json.loads(message.data)
                assert message.event is not None
                channel = message.channel.removeprefix("@presence:")
                self.news.append(News(self.loop.time(), message.event, member["client"], channel))

    def told(self, *sessions: str) -> list[str]:
        """What was told of these, as in ``join a``."""
        names = {client_of_session(session): session for session in sessions}
        names |= {session: session for session in sessions}  # clients of pollers
        return [f"{one.event} {names[one.client]}" for one in self.news if one.client in names]

    async def records(self) -> dict[str, Any]:
        """All members by key, and whose they are."""
        found = await self.log.scan(TABLE, "", "", 100_000)
        return {key: decode(value).node for key, value in found}

    async def counts(self) -> dict[tuple[str, str], int]:
        """The counts that are kept, by channel and node."""
        found = await self.log.scan(COUNTS, "", "", 100_000)
        return {split_key(key): int(value) for key, value in found}


def run(story: Callable[[PresenceWorld], Coroutine[Any, Any, T]]) -> T:
    """Tell *story* in a new world."""
    with asyncio.Runner(loop_factory=TimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, TimeLoop)
        return runner.run(story(PresenceWorld(loop)))
