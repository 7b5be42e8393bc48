"""Writing who comes and goes: records first, then the messages, in batches, one after the other.

An attendee is written until its record is as it should be. What fails is tried again: nobody waits
for it. There is at most one entry for each attendee, so what waits is bounded by the connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tidewire.hub.presence_records import (
    COUNTS,
    TABLE,
    TTL,
    Member,
    MemberRecord,
    count_key,
    counted,
    decode,
    encode_member,
    joined,
    left,
    member_key,
    shown,
    split_key,
)
from tidewire.hub.presence_room import Attendee, Room
from tidewire.model import Draft, TidewireError
from tidewire.model.address import presence_channel

if TYPE_CHECKING:
    from tidewire.hub.hub import Hub
    from tidewire.hub.presence import Fleet
    from tidewire.log.engine import Engine

logger = logging.getLogger("tidewire.hub")

BATCH = 500  # attendees: some 5 ms of the loop
GATHER_SECONDS = 0.02
"""For others to come: so they share a batch."""
COUNT_SECONDS = 1.0
"""Counts of a channel are written at most once in that time."""
AGAIN_SECONDS = 1.0

JOIN, LEAVE = "join", "leave"


class Writer:
    """Writes the attendees of the *rooms* of this node. *wall* gives Unix seconds."""

    def __init__(
        self, hub: Hub, fleet: Fleet, rooms: dict[str, Room], wall: Callable[[], float]
    ) -> None:
        self._hub = hub
        self._fleet = fleet
        self._rooms = rooms
        self._wall = wall
        self._waiting: dict[Attendee, None] = {}
        self.pollers = 0  # attendees that began as such
        self._stints = 0
        self._writing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._uncounted: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def write(self, attendee: Attendee) -> None:
        """Have its record become what it should be, soon."""
        self._waiting[attendee] = None
        if not self._writing and not self._stopped:
            self._writing = True
            self._idle.clear()
            self._hub.spawn(self._write_all())

    async def written(self) -> None:
        """Return when nothing waits any more."""
        await self._idle.wait()

    def stop(self) -> None:
        """Begin nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    async def _write_all(self) -> None:
        try:
            await asyncio.sleep(GATHER_SECONDS)
            while self._waiting and not self._stopped:
                batch: list[Attendee] = []
                failed: Collection[Attendee]
                while self._waiting and len(batch) < BATCH:
                    attendee = next(iter(self._waiting))
                    del self._waiting[attendee]
                    batch.append(attendee)
                try:
                    failed = await self._write(batch)
                except Exception:
                    logger.exception("who comes and goes was not written")
                    failed = batch
                if failed:
                    self._waiting.update(dict.fromkeys(failed))
                    await asyncio.sleep(AGAIN_SECONDS)
        finally:
            self._writing = False
            self._idle.set()

    async def _write(self, batch: Sequence[Attendee]) -> Collection[Attendee]:
        """Write those of *batch* whose records are not as they should be; return what failed."""
        news: list[Draft] = []
        failed: set[Attendee] = set()
        joins = [one for one in batch if not one.over and (one.again or not one.kept)]
        leaves = [one for one in batch if one.over and one.kept]
        self._count_new(joins)
        begun = [(one, self._join(one)) for one in joins]
        ended = [(one, self._leave(one)) for one in leaves]
        results = await asyncio.gather(
            *(future for _, future in begun + ended), return_exceptions=True
        )
        for (one, _), value in zip(begun, results, strict=False):
            if isinstance(value, BaseException):
                one.again = True
                failed.add(one)
                _tell(value)
            else:
                assert value is not None
                record = decode(value)
                one.kept = True
                one.stint = record.stint
                one.moved = record.moved
                one.since = record.since
                if record.new:
                    news.append(news_of(one.channel, JOIN, shown(one.who.client, record)))
        gone: list[Attendee] = []
        for (one, _), value in zip(ended, results[len(begun) :], strict=True):
            if isinstance(value, BaseException):
                failed.add(one)
                _tell(value)
                continue
            one.kept = False
            if value is None:  # the record was this node's own
                gone.append(one)
                who = one.who
                member = Member(who.client, who.transport, one.since, who.user, who.device)
                news.append(news_of(one.channel, LEAVE, member))
        await self._tell_all(news)
        for one in batch:
            if one not in failed:
                self._settle(one)
        if self._fleet.others:
            await self._look_again(gone)
        return failed

    def _join(self, one: Attendee) -> asyncio.Future[bytes | None]:
        self._stints += 1
        one.again = False
        who = one.who
        since = one.since or int(self._wall() * 1000)
        record = MemberRecord(
            self._fleet.id, self._stints, since, who.transport, who.user, who.device
        )
        key = member_key(one.channel, who.client)
        return self._hub.engine.change(TABLE, key, partial(joined, record), TTL)

    def _leave(self, one: Attendee) -> asyncio.Future[bytes | None]:
        key = member_key(one.channel, one.who.client)
        change = partial(left, self._fleet.id, one.stint)
        return self._hub.engine.change(TABLE, key, change, TTL)

    def _settle(self, one: Attendee) -> None:
        """After a write: who is over leaves the room, and who came back meanwhile is written."""
        room = self._rooms.get(one.channel)
        if room is None or room.attendees.get(one.who.client) is not one:
            return
        if one.over and not one.kept:
            del room.attendees[one.who.client]
            self.pollers -= one.poller
        elif one.over or one.again or not one.kept:
            self._waiting[one] = None
        if len(room.attendees) != room.told:
            self._count_later(one.channel)
        elif not room.attendees:
            del self._rooms[one.channel]

    async def _tell_all(self, news: list[Draft]) -> None:
        """Append *news*; again until that is done, for their records are written."""
        while news and not self._stopped:
            try:
                await self._hub.engine.append(news)
                return
            except TidewireError as error:
                _tell(error)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _look_again(self, gone: Sequence[Attendee]) -> None:
        """Tell of those who joined elsewhere before their leave was told here."""
        keys = [member_key(one.channel, one.who.client) for one in gone]
        while keys and not self._stopped:
            try:
                await self._tell_all(await joined_since(self._hub.engine, keys))
                return
            except TidewireError as error:
                _tell(error)
                await asyncio.sleep(AGAIN_SECONDS)

    # Counts

    def _count_new(self, joins: Sequence[Attendee]) -> None:
        """There is a count before there is a record: by it those of a dead node are found."""
        for channel in {one.channel for one in joins}:
            room = self._rooms[channel]
            if room.told <= 0:
                self._write_count(channel, room)

    def _count_later(self, channel: str) -> None:
        self._uncounted.add(channel)
        if self._timer is None and not self._stopped:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(COUNT_SECONDS, self.count)

    def count(self) -> None:
        """Write the counts that have changed; a timer does, at most once a second."""
        self._timer = None
        uncounted, self._uncounted = self._uncounted, set()
        for channel in uncounted:
            room = self._rooms.get(channel)
            if room is not None and len(room.attendees) != room.told:
                self._write_count(channel, room)
                if not room.attendees:
                    del self._rooms[channel]

    def _write_count(self, channel: str, room: Room) -> None:
        room.told = len(room.attendees)
        key = count_key(channel, self._fleet.id)
        write = self._hub.engine.change(COUNTS, key, partial(counted, room.told), TTL)
        write.add_done_callback(partial(self._counted, channel))

    def _counted(self, channel: str, write: asyncio.Future[bytes | None]) -> None:
        if not write.cancelled() and (error := write.exception()) is not None:
            _tell(error)
            room = self._rooms.get(channel)
            if room is not None:
                room.told = -1
                self._count_later(channel)


async def joined_since(engine: Engine, keys: Sequence[str]) -> list[Draft]:
    """What to tell of the members of *keys* that are there, although their leave was told.

    Raises:
        EngineUnavailable: if the records cannot be read.
    """
    values = await asyncio.gather(*(engine.get(TABLE, key) for key in keys))
    news = []
    for key, value in zip(keys, values, strict=True):
        if value is not None:
            channel, client = split_key(key)
            news.append(news_of(channel, JOIN, shown(client, decode(value))))
    return news


def news_of(channel: str, event: str, member: Member) -> Draft:
    """What followers are told of a member of *channel*."""
    return Draft(presence_channel(channel), encode_member(member), event=event)


def _tell(error: BaseException) -> None:
    """What failed, for the operator: it is tried again."""
    if isinstance(error, TidewireError):
        logger.warning("who comes and goes waits for the log: %s", error.detail)
    else:
        logger.error("who comes and goes was not written", exc_info=error)
