"""Keeps a node connected to the Redis server that has the log, however often that changes.

There are two connections: one on which the node listens, appends and changes records, so that all
of that is in one order; and one on which it reads, so that pages hold up nothing else. Both are to
one run of one server. Nothing is read before the node has *joined* on the first: what a server
that has lost messages says is worth something only behind the seam that tells so.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from tidewire.log.redis_address import RedisAddress
from tidewire.log.redis_connection import Connection, Lost, RedisError
from tidewire.log.redis_directory import Directory, Server, name_of
from tidewire.log.redis_scripts import load_scripts
from tidewire.model import EngineUnavailable

logger = logging.getLogger("tidewire.log")

OLDEST: Final = (6, 2)
OLDEST_SHARDED: Final = (7, 0)
FIRST_WAIT: Final = 0.05  # seconds between two attempts; it doubles
LONGEST_WAIT: Final = 2.0


class Link:
    """Two connections, or none: ``log`` and ``reading``."""

    def __init__(
        self,
        address: RedisAddress,
        client: str,
        *,
        answers: bytes,
        pushed: Callable[[Connection, bytes], None],
        join: Callable[[Connection, Connection, str], Awaitable[None]],
        up: Callable[[], None],
        down: Callable[[], None],
    ) -> None:
        self.log: Connection | None = None
        self.reading: Connection | None = None
        self.directory = Directory(address, client)
        self._address = address
        # A command that is refused by a replica, and does next to nothing.
        self._beat = ("PEXPIRE", answers, 60_000)
        self._pushed = pushed
        self._join = join
        self._up = up
        self._down = down
        self._keeping: asyncio.Task[None] | None = None
        self._closing = False
        self._away_since = 0.0
        self._warned = ""
        self._lost_why = ""

    async def open(self) -> None:
        """Connect.

        Raises:
            EngineUnavailable: if that cannot be done.
        """
        self._loop = asyncio.get_running_loop()
        await self._connect()

    async def close(self) -> None:
        """Disconnect, and stay so."""
        self._closing = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        connections = [one for one in (self.log, self.reading) if one is not None]
        self._disconnect("closed")
        for connection in connections:
            await connection.closed()

    def away(self, so: str = "nothing was changed") -> EngineUnavailable:
        """What is to be raised while there is no connection; *so* says what that means.

        Where Redis is, and what is wrong there, is for the operator's log only.
        """
        return EngineUnavailable(
            f"the log is away now, {so}: try again in a moment", why=self._lost_why
        )

    # Connecting

    async def _connect(self) -> None:
        place = await self.directory.find()
        name = self._address.path or name_of(place)
        # The one that is being made is known to its own callbacks only.
        log = Connection(
            name,
            pushed=lambda blob: self._pushed(log, blob),
            lost=lambda why: self._lost(log, why),
            beat=self._beat,
        )
        reading = Connection(name, lost=lambda why: self._lost(reading, why))
        try:
            server = await self.directory.connect(place, log)
            self._check(server)
            try:
                await load_scripts(log)
            except (RedisError, Lost) as error:
                raise EngineUnavailable(f"Redis at {name}: {error}") from error
            same = await self.directory.connect(place, reading)
            if same.run_id != server.run_id:
                raise EngineUnavailable(f"Redis at {name} has been started anew")
            await self._join(log, reading, server.run_id)
            if not (log.is_open and reading.is_open):
                raise EngineUnavailable(f"Redis at {name} has ended the connection")
        except BaseException:
            log.close()
            reading.close()
            raise
        self.log, self.reading = log, reading
        self._up()

    def _check(self, server: Server) -> None:
        """Refuse a server that cannot keep the log; warn of one that may not.

        Raises:
            EngineUnavailable: which says why.
        """
        oldest = OLDEST_SHARDED if self.directory.shards else OLDEST
        if server.version < oldest:
            raise EngineUnavailable(
                f"Redis at {server.name} is version {'.'.join(map(str, server.version))}; "
                f"the log needs {'.'.join(map(str, oldest))} or later"
            )
        if not server.is_master:
            raise EngineUnavailable(f"Redis at {server.name} is a replica, and takes no messages")
        if server.policy not in ("", "noeviction", self._warned):
            self._warned = server.policy
            logger.warning(
                "Redis at %s has maxmemory-policy %s: when its memory is full it throws away what "
                "the log keeps; set it to noeviction",
                server.name,
                server.policy,
            )

    # Staying connected

    def _lost(self, connection: Connection, why: str) -> None:
        if self._closing or connection not in (self.log, self.reading):
            return
        self._lost_why = why
        self._away_since = self._loop.time()
        logger.warning("Redis at %s is away: %s", connection.name, why)
        self._disconnect(why)
        self._down()
        self._keeping = self._loop.create_task(self._keep())

    def _disconnect(self, why: str) -> None:
        log, reading = self.log, self.reading
        self.log = self.reading = None
        for connection in (log, reading):
            if connection is not None:
                connection.close(why)

    async def _keep(self) -> None:
        wait = FIRST_WAIT
        while not self._closing:  # being cancelled may get lost: see ``Connection._keep_writing``
            # Not all nodes at once: most of what a server that starts has to do is to greet them.
            await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311
            wait = min(2 * wait, LONGEST_WAIT)
            try:
                await self._connect()
            except EngineUnavailable as error:
                self._lost_why = error.detail
            except Exception:
                logger.exception("Redis cannot be joined; it is tried again")
            else:
                away = self._loop.time() - self._away_since
                logger.info("Redis is back after %.1f s", away)
                return
