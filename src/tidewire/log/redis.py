"""The log in Redis: shared by the nodes of many machines, as safe as Redis keeps it.

One script appends a batch: it gives ids and ``seq``, writes each message to its channel's stream,
and the batch to the *feed*, which it publishes to all nodes. Everything is in one hash slot, so a
cluster keeps a log on one of its masters, and several logs on several. The parts:

``redis_address``     the URL
``redis_connection``  a connection, ``redis_directory`` where it leads, ``redis_link`` that it stays
``redis_keys``        what is in Redis, ``redis_scripts`` what is done there
``redis_writer``      what is appended, in ``redis_batch``es
``redis_feed``        what others have appended, and what to do when Redis has lost some of it
``redis_reader``      what is read, ``redis_records`` the records

What is answered is in the memory of one Redis server at least, and as durable as that makes it:
with ``appendfsync always`` on its disk, with ``?replicas=N`` in the memory of N others. If Redis
loses some of it, nodes that have seen it find out, and subscribers are told a gap.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import string
import time
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from tidewire.log.engine import Broken, Change, Engine, Feed
from tidewire.log.partitioned import Partitioned
from tidewire.log.redis_address import RedisAddress
from tidewire.log.redis_connection import Connection, Lost, RedisError
from tidewire.log.redis_feed import Follower
from tidewire.log.redis_keys import WHOLE, Keys, Share
from tidewire.log.redis_link import Link
from tidewire.log.redis_reader import Reader
from tidewire.log.redis_records import Records
from tidewire.log.redis_scripts import SWEEP
from tidewire.log.redis_writer import Writer
from tidewire.model import Draft, Namespaces, Page, Receipt, Since

logger = logging.getLogger("tidewire.log")

SWEEP_SECONDS: Final = 1.0
SWEEP_TURN_MS: Final = 800
SWEEP_RECORDS: Final = 1_000
SWEEP_SLACK_US: Final = 10_000_000
FINISH_SECONDS: Final = 5.0

_ALPHABET: Final = string.ascii_letters + string.digits


class RedisEngine:
    """A log in Redis, or a partition of one, for one node; see ``redis_keys`` for what is there.

    Without a *clock*, that of Redis is the one for all nodes.
    """

    def __init__(
        self,
        address: RedisAddress,
        namespaces: Namespaces,
        *,
        idempotency_window: float = 120,
        clock: Callable[[], float] | None = None,
        share: Share = WHOLE,
    ) -> None:
        address = msgspec.structs.replace(address, prefix=share.prefix(address.prefix))
        self.epoch = ""
        self.marked: Callable[[int], None] = _to_nobody
        self.namespaces = namespaces
        self.drops: Counter[str] = Counter()
        self._clock = clock
        self._offset_us = 0  # what the clock of Redis is ahead of this machine's
        self._keys = Keys(address.prefix)
        node = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        channel = self._keys.feed
        publish = "SPUBLISH" if address.kind == "cluster" else "PUBLISH"
        self._follower = Follower(
            self._keys, channel, publish, self._named, step=share.of, marked=self._marked
        )
        self._reader = Reader(self._keys, namespaces, self._follower, self._now)
        self._writer = Writer(
            self._keys,
            namespaces,
            node,
            self._follower,
            window_us=int(idempotency_window * 1_000_000),
            replicas=address.replicas,
            publish=(publish, channel),
            now=self._scripts_now,
            share=share,
        )
        self._records = Records(
            self._keys,
            node,
            self._reader,
            replicas=address.replicas,
            now=self._now,
            scripts_now=self._scripts_now,
        )
        self._link = Link(
            address,
            f"tidewire-{node}",
            answers=self._keys.answer(node),
            pushed=self._follower.pushed,
            join=self._join,
            up=self._up,
            down=self._down,
        )
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def wanted(self) -> Container[str] | None:
        """As of an engine."""
        return self._follower.wanted

    @wanted.setter
    def wanted(self, wanted: Container[str] | None) -> None:
        self._follower.wanted = wanted

    async def open(self, feed: Feed, broken: Broken | None = None) -> int:
        self._loop = asyncio.get_running_loop()
        for part in (self._writer, self._reader, self._records):
            part.start(self._link)
        await self._link.open()
        # What came since the connection was joined has not been missed: nothing was handed on yet.
        head = self._follower.head
        self._follower.start(feed, broken)
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        return head

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._writer.finish(FINISH_SECONDS)
        await self._records.finish(FINISH_SECONDS)
        await self._link.close()

    def _now(self) -> int:
        """The time in µs."""
        if self._clock is not None:
            return int(self._clock() * 1_000_000)
        return time.time_ns() // 1000 + self._offset_us

    def _scripts_now(self) -> int:
        """The time for scripts; -1: they look themselves."""
        return -1 if self._clock is None else int(self._clock() * 1_000_000)

    def _set_offset(self, redis_now: int) -> None:
        self._offset_us = redis_now - time.time_ns() // 1000

    def _marked(self, id: int) -> None:
        self.marked(id)

    def _named(self, epoch: str) -> None:
        self.epoch = epoch

    # The connection

    async def _join(self, log: Connection, reading: Connection, run_id: str) -> None:
        now = self._scripts_now
        self._set_offset(await self._follower.join(log, reading, run_id, now))

    def _up(self) -> None:
        self._writer.up()
        self._records.up()

    def _down(self) -> None:
        self._writer.down()
        self._records.down()

    # Messages

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        return self._writer.append(drafts)

    def purge(self, channel: str, *, forget: bool) -> Future[Receipt]:
        return self._writer.purge(channel, "reset" if forget else "expired")

    def mark(self, id: int) -> Future[None]:
        """As one of several partitions; see ``partitioned.py``."""
        return self._writer.mark(id)

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        return await self._reader.page(after, upto, limit, max_bytes)

    async def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        return await self._reader.starts(channels, since)

    async def newest(self, channels: Iterable[str], upto: int) -> dict[str, tuple[int, int]]:
        return await self._reader.newest(channels, upto)

    async def head(self) -> int:
        return await self._reader.head()

    # Records

    def change(self, table: str, key: str, change: Change, ttl: float) -> Future[bytes | None]:
        return self._records.change(table, key, change, ttl)

    async def get(self, table: str, key: str) -> bytes | None:
        return await self._records.get(table, key)

    async def scan(
        self, table: str, prefix: str, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        return await self._records.scan(table, prefix, after, limit)

    # In the background

    def _sweep(self) -> None:
        """Have what is over removed; of all nodes one does it each second."""
        connection = self._link.log
        if connection is None:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        else:
            self._send_sweep(connection, SWEEP_TURN_MS, self._swept)

    async def sweep(self) -> bool:
        """Do at once what is done each second; return whether more is left.

        Raises:
            EngineUnavailable: if Redis is away.
        """
        connection = self._link.log
        if connection is None:
            raise self._link.away()
        future: Future[object] = self._loop.create_future()
        self._send_sweep(connection, 0, future.set_result)
        reply = await future
        return isinstance(reply, list) and reply[1] == SWEEP_RECORDS

    def _send_sweep(
        self, connection: Connection, turn_ms: int, answered: Callable[[object], None]
    ) -> None:
        keys = self._keys
        SWEEP.send(
            connection,
            (keys.log, keys.records, keys.names, keys.expiry, keys.turn),
            (self._scripts_now(), SWEEP_RECORDS, turn_ms, SWEEP_SLACK_US),
            answered,
        )

    def _swept(self, reply: object) -> None:
        if self._sweeper is None:
            return
        more = False
        if isinstance(reply, RedisError):
            logger.warning("what is over cannot be removed from Redis: %s", reply)
        elif not isinstance(reply, Lost):
            assert isinstance(reply, list)
            redis_now, count, epoch, n = reply
            self._set_offset(int(redis_now))
            more = count == SWEEP_RECORDS
            # What was published before this answer was made came before it.
            heard = self._follower.heard
            if (epoch.decode() != self.epoch or n < heard) and self._link.log:
                self._link.log.close("the log has lost its newest messages")
            elif n > heard and self._link.log:
                self._link.log.close(f"batch {n} of the feed has not come, the last was {heard}")
        self._sweeper = self._loop.call_later(0 if more else SWEEP_SECONDS, self._sweep)


def redis_engine(
    address: RedisAddress,
    namespaces: Namespaces,
    *,
    idempotency_window: float = 120,
    clock: Callable[[], float] | None = None,
) -> Engine:
    """The engine for *address*: over all partitions, if it says that there are several."""
    partitions = [
        RedisEngine(
            address,
            namespaces,
            idempotency_window=idempotency_window,
            clock=clock,
            share=Share(number, address.partitions),
        )
        for number in range(address.partitions)
    ]
    return partitions[0] if len(partitions) == 1 else Partitioned(partitions)


def _to_nobody(id: int) -> None:
    """A log that is whole has nobody to tell up to where it is known."""
