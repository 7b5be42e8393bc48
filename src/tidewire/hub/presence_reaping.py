"""Reaping: ending the records of nodes that are gone, and telling the leaves.

Whoever hears that a node is gone waits for the grace, so that its clients can come back elsewhere.
Then one of them claims the dead node, by a record, and goes through the channels on which it had
members: its counts say which. So does a node that starts, for those that were all killed at once.
If the one who reaps is gone itself before it is through, whoever reaps after it begins anew: what
is done is done.

A stream that has not come back by then has left. A poller may be between two polls: it is adopted
by the one who reaps, as if it had just polled there. And who was on several nodes may be known to
another one, without a record of its own: so the others are asked first.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from tidewire.hub.presence_records import (
    COUNTS,
    TABLE,
    TTL,
    MemberRecord,
    count_key,
    counted,
    decode,
    member_key,
    reaped,
    shown,
    split_key,
)
from tidewire.hub.presence_writing import LEAVE, joined_since, news_of
from tidewire.model import Draft, EngineUnavailable

if TYPE_CHECKING:
    from tidewire.hub.hub import Hub
    from tidewire.hub.presence import Fleet

logger = logging.getLogger("tidewire.hub")

CLAIMS = "presence_claims"
CLAIM_SECONDS = 30.0
START_SECONDS = 5.0
"""After a start, for clients of the node before to come back."""
AGAIN_SECONDS = 5.0
PAGE = 500
POLLING = frozenset({"poll", "longpoll"})


class Survivors(Protocol):
    """What becomes of those who are not gone."""

    async def ask(self, keys: list[str]) -> None:
        """Have nodes that know these members take them over; return when they have had time."""
        ...

    def adopt(self, channel: str, client: str, record: MemberRecord) -> bool:
        """Have the poller as if it had just polled here; ``False``: there are too many."""
        ...

    async def written(self) -> None:
        """Return when all that is to be written is."""
        ...


class Reaper:
    """Reaps for one node, when it is told that others are gone."""

    def __init__(self, hub: Hub, fleet: Fleet, grace: float, survivors: Survivors) -> None:
        self._hub = hub
        self._engine = hub.engine
        self._fleet = fleet
        self._grace = grace
        self._survivors = survivors
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0
        self._reaping = False
        self._again = False
        self._stopped = False

    def start(self) -> None:
        """Look for what earlier nodes have left, in a while."""
        self.later(max(self._grace, START_SECONDS))

    def stop(self) -> None:
        """Begin nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def later(self, seconds: float) -> None:
        """Reap in so many *seconds*, and not before."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._at = max(self._at, loop.time() + seconds)
        self._timer = loop.call_at(self._at, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._reaping:
            self._again = True
            return
        self._reaping = True
        self._hub.spawn(self._reap())

    async def _reap(self) -> None:
        try:
            done = await self.reap()
        except EngineUnavailable as error:
            logger.warning("clients of servers that are gone wait for the log: %s", error.detail)
            done = False
        except Exception:
            logger.exception("clients of servers that are gone were not seen to")
            done = False
        finally:
            self._reaping = False
        if self._again or not done:
            self._again = False
            self.later(AGAIN_SECONDS if done else CLAIM_SECONDS)

    async def reap(self) -> bool:
        """End what is there of nodes that are gone; ``False``: another node is at it, or was.

        Raises:
            EngineUnavailable: if that cannot be done now.
        """
        dead = await self._dead()
        done = True
        for node, channels in dead.items():
            if await self._claim(node):
                for channel in channels:
                    await self._reap_channel(node, channel)
                await self._engine.change(CLAIMS, node, _ended, CLAIM_SECONDS)
                logger.info("the clients of %s have left %d channels", node, len(channels))
            else:
                done = False
        return done

    async def _dead(self) -> dict[str, list[str]]:
        """The channels on which nodes that are gone had members, by node."""
        dead: dict[str, list[str]] = {}
        after = ""
        while page := await self._engine.scan(COUNTS, "", after, PAGE):
            for key, _ in page:
                channel, node = split_key(key)
                dead.setdefault(node, []).append(channel)
            after = page[-1][0]
            await asyncio.sleep(0)
        # Asked after the records were read: a node has its lease before it writes any.
        for live in await self._fleet.nodes():
            dead.pop(live.id, None)
        return dead

    async def _claim(self, node: str) -> bool:
        """Whether this node is the one that reaps *node*, for the next half a minute."""
        mine = self._fleet.id.encode()
        value = await self._engine.change(CLAIMS, node, partial(_claimed, mine), CLAIM_SECONDS)
        return value is not None and value.startswith(mine)

    async def _reap_channel(self, node: str, channel: str) -> None:
        prefix = after = member_key(channel, "")
        while page := await self._engine.scan(TABLE, prefix, after, PAGE):
            after = page[-1][0]
            found = [(key, decode(value)) for key, value in page]
            mine = [(key, record) for key, record in found if record.node == node]
            if moved := [key for key, record in mine if record.moved]:
                await self._survivors.ask(moved)
            mine = [(key, record) for key, record in mine if not self._adopts(key, record)]
            change = partial(reaped, node)
            values = await asyncio.gather(
                *(self._engine.change(TABLE, key, change, TTL) for key, _ in mine),
                return_exceptions=True,
            )
            gone = [one for one, value in zip(mine, values, strict=True) if value is None]
            news: list[Draft] = [
                news_of(channel, LEAVE, shown(split_key(key)[1], record)) for key, record in gone
            ]
            await self._tell(news)
            for value in values:
                if isinstance(value, BaseException):
                    raise value
            await self._claim(node)
            # Who has joined elsewhere meanwhile, before its leave was told
            await self._tell(await joined_since(self._engine, [key for key, _ in gone]))
            await asyncio.sleep(0)
        await self._survivors.written()  # those that were adopted: then they are found by others
        change = partial(counted, 0)
        await self._engine.change(COUNTS, count_key(channel, node), change, TTL)

    async def _tell(self, news: list[Draft]) -> None:
        """Append *news*; again until that is done, for their records are ended."""
        while news and not self._stopped:
            try:
                await self._engine.append(news)
                return
            except EngineUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)

    def _adopts(self, key: str, record: MemberRecord) -> bool:
        if record.transport not in POLLING:
            return False
        channel, client = split_key(key)
        return self._survivors.adopt(channel, client, record)


# Changes of records: they may run on another thread, and more than once.


def _claimed(mine: bytes, old: bytes | None) -> bytes | None:
    """The claim of the first, who renews it by writing another value."""
    if old is None:
        return mine
    if not old.startswith(mine):
        return old
    return mine if old != mine else mine + b"+"


def _ended(old: bytes | None) -> bytes | None:
    return None
