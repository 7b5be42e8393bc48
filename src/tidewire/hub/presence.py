"""Presence: who is on a channel, on whatever node, and the news of who comes and goes.

Theory of operation
===================

A *member* of a channel is a client, and every stream and every poller that follows the channel is
one, where the namespace has presence. Each node keeps those of its own (``presence_room.py``), and
writes a record of each, and how many it has (``presence_records.py``). What is asked of all nodes
is read from the records.

*Joins and leaves* are messages in a channel of their own, ``@presence:CHANNEL``. A record is
written before its join is told, and ended before its leave is. So whoever takes a cursor, then
reads the records, and then follows from the cursor has the truth: what the records did not show yet
comes behind the cursor. What they did show may come again; joins and leaves may be told twice.

*A client that goes and comes back* within the grace is not told of. On another node it finds its
record, and takes it over; the node that had it finds the record no longer its own. A poller goes
from node to node with each poll, and a node where it is known already writes nothing for that. So
before a node tells that somebody left whose record has been on several nodes, it *asks* the others
in the channel ``!presence``; who has the client takes the record over.

A node that dies between a record and its message leaves that untold: who followed meanwhile is
wrong about that client until it is told of again, or the members are read again.

A leave and the join that follows it may come from two nodes, and their messages in any order. So
who has told a leave looks once more, and tells of the member that is there again.

*A node that is gone* leaves its records. The survivors hear of it by its lease, and one of them
ends them, and tells the leaves (``presence_reaping.py``).

Cost: a channel without presence costs a look-up when it is subscribed. With it, a join is one
record, one message and, at most once a second, a count, all in batches. A stream that stays costs
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from asyncio import Future
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol

import msgspec

from tidewire.hub.hub import Hub
from tidewire.hub.node import NodeInfo
from tidewire.hub.presence_reaping import POLLING, Reaper
from tidewire.hub.presence_records import (
    COUNTS,
    TABLE,
    TTL,
    Member,
    MemberRecord,
    Who,
    client_of_session,
    decode,
    kept_secret,
    member_key,
    shown,
    split_key,
)
from tidewire.hub.presence_room import STEP, Attendee, Room, Wheel
from tidewire.hub.presence_writing import Writer
from tidewire.hub.session_records import Terms
from tidewire.model import Draft, EngineUnavailable, Message

logger = logging.getLogger("tidewire.hub")

CHANNEL = "!presence"

ASK_SECONDS = 1.0
"""For another node to hear that somebody is thought to have left, and to say that it has not."""

REFRESH_SECONDS = TTL / 4
"""Records are written again after that time."""

TURN = 2_000  # attendees whose time is looked at in one turn of the loop: some 2 ms
MOST_POLLERS = 100_000
_MOST_NODES = 10_000
_MOST_KNOWN = 10_000
_MOST_ASKED = 500  # of a message
_SECRETS = "presence_secret"
_NONE: frozenset[str] = frozenset()
_TRANSPORTS = {"ws": "websocket"}


class Fleet(Protocol):
    """The nodes, as far as presence has to know of them."""

    id: str

    @property
    def others(self) -> list[NodeInfo]: ...

    async def nodes(self) -> list[NodeInfo]: ...

    def on_gone(self, callback: Callable[[str], None]) -> None: ...

    def on_lapse(self, callback: Callable[[], None]) -> None: ...


class Times(NamedTuple):
    """Seconds: from the end of a stream to its leave; for which a poller may stay away at most, and
    at least."""

    grace: float = 2.0
    poll_most: float = 120.0
    poll_least: float = 6.0


class Snapshot(NamedTuple):
    """How many are on a channel, and from where to follow who comes and goes."""

    channel: str
    total: int
    cursor: str


class MemberPage(NamedTuple):
    """Members by client; ``next`` is where the next page begins, ``None``: there is none."""

    members: list[Member]
    next: str | None


_encode_keys = msgspec.json.Encoder().encode
_decode_keys = msgspec.json.Decoder(list[str]).decode


class Presence:
    """One per node. ``start`` it once the hub has started.

    *clock* gives seconds that only grow, *wall* Unix seconds. *loop* is the running one if it is
    not given.
    """

    def __init__(
        self,
        hub: Hub,
        fleet: Fleet,
        times: Times = Times(),  # noqa: B008  # a tuple: nobody can change it
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.hub = hub
        self._loop = loop or asyncio.get_running_loop()
        self.times = times
        self.clock = clock
        self.secret = secrets.token_bytes(32)
        self.rooms: dict[str, Room] = {}
        self._fleet = fleet
        self._wheel = Wheel()
        self._writer = Writer(hub, fleet, self.rooms, wall)
        self._reaper = Reaper(hub, fleet, times.grace, self)
        self._asking: list[Attendee] = []
        self._timer: asyncio.TimerHandle | None = None
        self._refresh: asyncio.TimerHandle | None = None
        self._known: dict[Collection[str], tuple[str, ...]] = {}
        hub.listen(CHANNEL, self._heard)
        fleet.on_gone(lambda _: self._reaper.later(times.grace))
        fleet.on_lapse(self.write_again)

    async def start(self) -> None:
        """Learn the secret of all nodes, and look after what earlier ones have left."""
        try:
            mine = partial(kept_secret, self.secret)
            secret = await self.hub.engine.change(_SECRETS, "", mine, 100 * TTL)
            assert secret is not None
            self.secret = secret
        except EngineUnavailable as error:
            logger.warning("pollers may be told apart by node: %s", error.detail)
        self._reaper.start()
        self._set_refresh()

    def stop(self) -> None:
        """Write nothing any more: what is left is for the survivors to see to."""
        for timer in (self._timer, self._refresh):
            if timer is not None:
                timer.cancel()
        self._writer.stop()
        self._reaper.stop()

    # Members of this node

    def of(self, channels: Collection[str]) -> tuple[str, ...]:
        """Those of *channels* that have presence. *channels* is remembered: it must not change."""
        known = self._known.get(channels)
        if known is None:
            has = self.hub.engine.namespaces.has_presence
            known = tuple(channel for channel in channels if has(channel))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[channels] = known
        return known

    def followed(
        self, before: frozenset[str], session: str, terms: Terms, now: frozenset[str]
    ) -> frozenset[str]:
        """The stream of *session* was on *before* and follows *now*; return what it is on."""
        there = frozenset(self.of(now)) if now else _NONE
        if there == before:
            return before
        transport = _TRANSPORTS.get(terms.transport, terms.transport)
        who = Who(client_of_session(session), transport, terms.user, terms.device)
        for channel in there - before:
            self.enter(channel, who)
        for channel in before - there:
            self.leave(channel, who.client, self.times.grace)
        return there

    def enter(self, channel: str, who: Who) -> Attendee:
        """Something holds the client on *channel* now: pass each ``enter`` a ``leave``."""
        attendee = self._attendee(channel, who)
        attendee.holds += 1
        return attendee

    def leave(self, channel: str, client: str, seconds: float) -> None:
        """Something holds the client no longer; it may come back within *seconds*."""
        attendee = self._find(channel, client)
        if attendee is not None and attendee.holds:
            attendee.holds -= 1
            self._stays_until(attendee, self.clock() + seconds)

    def poll(self, channels: Iterable[str], who: Who, *, held: bool, beside: bool = False) -> None:
        """A poller has asked for *channels*; *held*: its answer is to come, then ``polled``.

        *beside*: it is a client of which something else tells for how long it is there, its stream
        or its other polls. This one holds it as a stream does.

        Anybody can say to be another one with each poll. So there are only so many of them, and who
        comes then is none.
        """
        now = self.clock()
        for channel in channels:
            known = self._find(channel, who.client)
            if known is None and self._writer.pollers >= MOST_POLLERS:
                self.hub.drops["pollers"] += 1
                continue
            attendee = self._attendee(channel, who)
            if known is None:
                attendee.poller = True
                self._writer.pollers += 1
            if not beside:
                attendee.polled(now)
            attendee.holds += 1
        if not held:
            self.polled(channels, who, beside=beside)

    def polled(self, channels: Iterable[str], who: Who, *, beside: bool = False) -> None:
        """The poller has its answer, or is gone; *beside* as it was said when it came."""
        now = self.clock()
        for channel in channels:
            attendee = self._find(channel, who.client)
            if attendee is None:
                continue
            attendee.holds = max(attendee.holds - 1, 0)
            if beside:
                self._stays_until(attendee, max(attendee.until, now + self.times.grace))
                continue
            attendee.seen = now
            stays = attendee.leaves_in(self.times.poll_least, self.times.poll_most)
            self._stays_until(attendee, now + stays)

    def _find(self, channel: str, client: str) -> Attendee | None:
        room = self.rooms.get(channel)
        return None if room is None else room.attendees.get(client)

    def _attendee(self, channel: str, who: Who) -> Attendee:
        """The client on *channel*, who is there from now on."""
        room = self.rooms.get(channel)
        if room is None:
            room = self.rooms[channel] = Room()
        attendee = room.attendees.get(who.client)
        if attendee is None:
            attendee = room.attendees[who.client] = Attendee(channel, who)
            self._writer.write(attendee)
        elif attendee.over:
            attendee.over = False
            self._writer.write(attendee)
        if not attendee.holds:
            if (attendee.who.transport in POLLING) != (who.transport in POLLING):
                attendee.again = True  # what becomes of it when this node dies is another now
                self._writer.write(attendee)
            attendee.who = who
        attendee.warned = False
        return attendee

    def _stays_until(self, attendee: Attendee, until: float) -> None:
        attendee.until = until
        self._wheel.put(attendee)
        self._set_timer()

    # Time

    def tick(self) -> bool:
        """See whose time is over; the timer does, while anybody has one. ``False``: not all yet."""
        now = self.clock()
        several = bool(self._fleet.others)
        due = list(islice(self._wheel.due(now), TURN))
        for attendee in due:
            if attendee.holds or attendee.over:
                continue
            if attendee.is_there(now):
                self._wheel.put(attendee)
            elif several and attendee.moved and not attendee.warned:
                attendee.warned = True
                attendee.until = now + ASK_SECONDS
                self._wheel.put(attendee)
                self._asking.append(attendee)
            else:
                attendee.over = True
                self._writer.write(attendee)
        while self._asking:
            asked, self._asking = self._asking[:_MOST_ASKED], self._asking[_MOST_ASKED:]
            keys = [member_key(one.channel, one.who.client) for one in asked]
            self._send(Draft(CHANNEL, _encode_keys(keys), event=self._fleet.id))
        return len(due) < TURN

    def _set_timer(self, seconds: float = STEP) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        seconds = STEP
        try:
            if not self.tick():
                seconds = 0.0  # the rest after what others have to do
        finally:
            if self._wheel:
                self._set_timer(seconds)

    def _set_refresh(self) -> None:
        self._refresh = self._loop.call_later(REFRESH_SECONDS, self._refresh_all)

    def _refresh_all(self) -> None:
        self.write_again()
        self._set_refresh()

    def write_again(self) -> None:
        """Write all records anew: they are old, or others may have taken this node for gone."""
        for room in self.rooms.values():
            room.told = -1
            for attendee in room.attendees.values():
                if not attendee.over:
                    attendee.again = True
                    self._writer.write(attendee)

    # Other nodes

    def _heard(self, message: Message) -> None:
        """Another node thinks that these have left: who is here is taken over."""
        if message.event == self._fleet.id:
            return
        now = self.clock()
        for key in _decode_keys(message.data):
            channel, client = split_key(key)
            attendee = self._find(channel, client)
            if attendee is not None and attendee.is_there(now) and not attendee.over:
                attendee.again = True
                self._writer.write(attendee)

    async def ask(self, keys: list[str]) -> None:
        """Have nodes that know these members take them over; return when they have had time."""
        self._send(Draft(CHANNEL, _encode_keys(keys)))
        await asyncio.sleep(ASK_SECONDS)

    def adopt(self, channel: str, client: str, record: MemberRecord) -> bool:
        """Have the poller as if it had just polled here; ``False``: there are too many."""
        known = self._find(channel, client)
        if known is None:
            if self._writer.pollers >= MOST_POLLERS:
                return False
            who = Who(client, record.transport, record.user, record.device)
            known = self._attendee(channel, who)
            known.poller = True
            self._writer.pollers += 1
        known.again = True
        self._writer.write(known)
        self._stays_until(known, max(known.until, self.clock() + self.times.poll_most))
        return True

    async def written(self) -> None:
        """Return when all that is to be written is."""
        await self._writer.written()

    def _send(self, draft: Draft) -> None:
        """Nobody waits for it: should it be lost, a poller that is elsewhere is told to have left,
        and with its next poll there to have joined."""
        self.hub.engine.append([draft]).add_done_callback(_report)

    # What is asked

    async def snapshot(self, channel: str) -> Snapshot:
        """How many are on *channel*: those of other nodes as they were a second ago, or later.

        Raises:
            EngineUnavailable: if the records cannot be read.
        """
        cursor = self.hub.cursor(self.hub.recent.head)  # before the records are read
        room = self.rooms.get(channel)
        total = 0 if room is None else len(room.attendees)
        page = await self.hub.engine.scan(COUNTS, member_key(channel, ""), "", _MOST_NODES)
        for key, value in page:
            if split_key(key)[1] != self._fleet.id:
                total += int(value)
        return Snapshot(channel, total, cursor)

    async def members(
        self, channel: str, after: str = "", limit: int = 100, *, nodes: bool = False
    ) -> MemberPage:
        """A page of at most *limit* members, above the client *after*; *nodes*: with their nodes.

        Raises:
            EngineUnavailable: if the records cannot be read.
        """
        prefix = member_key(channel, "")
        page = await self.hub.engine.scan(TABLE, prefix, prefix + after, limit + 1)
        found = [shown(split_key(key)[1], decode(value), node=nodes) for key, value in page[:limit]]
        return MemberPage(found, found[-1].client if len(page) > limit else None)

    @property
    def attendees(self) -> int:
        """How many members this node has, each channel counted."""
        return sum(len(room.attendees) for room in self.rooms.values())


def _report(future: Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        logger.warning("other servers were not asked for clients that have left: %s", error)
