"""Follows the log: each batch handed on once, in order, whoever wrote it.

Theory of operation
===================

Batches are numbered 1, 2, 3 … They are published, and kept in the stream ``feed`` for a while.
*Publishing wakes, the stream is the truth*: the node knows the number of the last batch that it has
handed on, and takes only the next one. Whatever else comes (a number too high, the end of the
connection) has one answer: the connection is made anew, and ``join`` reads from the stream what is
missing before anything else is done. Published batches and the answers to the node's own scripts
come on one connection, in the order in which they were made; so when an answer is there, all
batches before it have been handed on. Of a large batch only number and token are published, or
Redis would cut off who listens and is slow with it. It is read from the stream, on the connection
for reading, and what comes meanwhile waits.

There are three things that ``join`` cannot make good. They are told to the hub as a *break* (see
``Broken`` in ``engine.py``), and it sends its sessions to read the log:

*The feed is trimmed.* The node was away for longer than batches are kept. They are in the log.

*The log has lost its tail.* A replica has taken the master's place without its last batches, or a
server came back with an older file. Each batch has a token, so a node sees that the one which it
has fed under some number is not the one that is there. It looks for the newest that it has in
common with the log and records a *seam*, a batch without messages that has an id of its own, above
all that any node is known to have seen. Whoever reads past that id is told a gap. What was lost
and what is kept share no ids (a new master's leap beyond all that its predecessor can have given,
see ``redis_join.lua``), so sessions that go back to the common batch miss nothing and get nothing
twice.

*There is another log*, because somebody has emptied the server and another node came first.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Container
from typing import Final

from tidewire.log.engine import Broken, Feed
from tidewire.log.redis_batch import HEAD, Fed, fed_batch
from tidewire.log.redis_connection import Argument, Connection, Lost, RedisError
from tidewire.log.redis_keys import Keys
from tidewire.log.redis_scripts import COMMON, JOIN, SEAM
from tidewire.model import EngineUnavailable
from tidewire.model.cursor import new_epoch

logger = logging.getLogger("tidewire.log")

REMEMBERED: Final = 2_000  # batches
REMEMBERED_SEQS: Final = 100_000
PAGE: Final = 16  # batches

TOKEN_BYTES: Final = 16
FORMAT: Final = 1  # of all that is in Redis; to be raised when an older version could not read it


class Follower:
    """The node's place in the feed.

    *named* is told the log's epoch, once it is known, *marked* the id up to which everything was
    handed on.
    """

    def __init__(
        self,
        keys: Keys,
        channel: bytes,
        publish: str,
        named: Callable[[str], None],
        *,
        step: int,
        marked: Callable[[int], None],
    ) -> None:
        self.epoch = ""
        self.wanted: Container[str] | None = None  # as of an engine
        self.head = 0  # the highest id that was handed on
        self.n = -1  # the number of the last batch that was handed on; -1: none is known
        self.born = 0
        self.awaited = b""  # the token of the batch that this node has sent
        self._keys = keys
        self._channel = channel
        self._publish = publish
        self._named = named
        self._step = step  # from one id to the next
        self._marked = marked
        self._feed: Feed | None = None
        self._broken: Broken | None = None
        self._recent: deque[Fed] = deque()
        self._recent_seqs = 0
        self._joining = False
        self.heard = 0  # the number of the last batch that this connection has told of
        self._reading: Connection | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._deferred: list[Callable[[], None]] = []

    def start(self, feed: Feed, broken: Broken | None) -> None:
        """Hand on to *feed* what comes from now on, and tell *broken* what does not."""
        self._feed, self._broken = feed, broken

    # What comes

    def pushed(self, connection: Connection, blob: bytes) -> None:
        """Take a batch as it was published."""
        n, token = HEAD.unpack_from(blob)
        self.heard = n
        if self._joining or self._fetching is not None:
            return
        if n == self.n + 1:
            if token == self.awaited:
                return  # this node's own comes with its answer
            if len(blob) > HEAD.size:
                self._take(self._fed(blob))
            else:
                self._fetching = connection.loop.create_task(self._fetch(connection))
        elif not self._was_read(n, token):
            connection.close(f"batch {n} of the feed came behind {self.n}")

    def _was_read(self, n: int, token: bytes) -> bool:
        """Whether a batch was read from the stream before it came: that connection was faster."""
        back = self.n - n
        return 0 <= back < len(self._recent) and self._recent[-1 - back].token == token

    async def _fetch(self, connection: Connection) -> None:
        """Read a large batch, and what has come behind it by then."""
        assert self._reading is not None
        try:
            await self._catch_up(self._reading)
        except (Lost, RedisError, EngineUnavailable) as error:
            connection.close(str(error))
        finally:
            self._fetching = None
            deferred, self._deferred = self._deferred, []
            for callback in deferred:
                callback()

    def defers(self, callback: Callable[[], None]) -> bool:
        """Whether something is being read; then *callback* is called once it is there."""
        if self._fetching is None:
            return False
        self._deferred.append(callback)
        return True

    def _fed(self, blob: bytes) -> Fed:
        return fed_batch(blob, self.epoch, self._step, self.wanted)

    def answered(self, fed: Fed) -> bool:
        """Take a batch of this node's own; ``False``: others before it are missing."""
        if fed.n == self.n + 1:
            self._take(fed)
        return fed.n <= self.n

    def reached(self, id: int) -> None:
        """The log gives no id up to *id* any more, though no batch says so, and all is here."""
        self.head = max(self.head, id)
        if self._feed is not None:
            self._marked(self.head)

    def _take(self, fed: Fed) -> None:
        before, self.head, self.n = self.head, fed.last, fed.n
        self._remember(fed)
        if fed.seam:
            self._tell_broken(before, fed.seam)
        elif self._feed is not None:
            if fed.messages:
                self._feed(fed.messages)
            self._marked(fed.last)

    def _remember(self, fed: Fed) -> None:
        recent = self._recent
        recent.append(fed._replace(messages=[]))
        self._recent_seqs += len(fed.seqs)
        while len(recent) > REMEMBERED or (self._recent_seqs > REMEMBERED_SEQS and len(recent) > 1):
            self._recent_seqs -= len(recent.popleft().seqs)

    def _tell_broken(self, after: int, upto: int) -> None:
        if self._broken is not None:
            self._broken(after, upto)

    # Joining

    async def join(
        self, connection: Connection, reading: Connection, run_id: str, now: Callable[[], int]
    ) -> int:
        """Listen on a new connection, find the log, and catch up with it by *reading*.

        Return the time of the server, in µs. *now* is that for the scripts, or -1.

        Raises:
            EngineUnavailable: if a connection ends, or something else has the log's keys.
        """
        if self._fetching is not None:
            await asyncio.wait([self._fetching])
        self._joining = True
        self.heard = 0
        self._reading = reading
        try:
            return await self._join(connection, reading, run_id, now)
        except Lost as lost:
            raise EngineUnavailable(f"Redis at {connection.name}: {lost}") from lost
        except RedisError as error:
            raise EngineUnavailable(_refused(connection, error)) from error
        finally:
            self._joining = False

    async def _join(
        self, connection: Connection, reading: Connection, run_id: str, now: Callable[[], int]
    ) -> int:
        known = self._recent[-1].token if self._recent else b""
        await connection.call(self._publish.replace("PUBLISH", "SUBSCRIBE"), self._channel)
        keys = self._keys.log, self._keys.feed
        found = await JOIN.call(
            connection,
            keys,
            (self.epoch or new_epoch(), now(), run_id, self.n, known, FORMAT),
        )
        epoch, last, n, token, born, redis_now, state = found
        before, self.epoch = self.epoch, epoch.decode()
        made_anew = int(born) != self.born
        self.born = int(born)
        self._named(self.epoch)
        if before not in ("", self.epoch):
            logger.error("there is another log, %s, where %s was", self.epoch, before)
            self._stand_at(n, token, int(last))
            self._tell_broken(0, self.head)
        elif self.n < 0:
            self._stand_at(n, token, int(last))
        elif state == b"lost":
            await self._lost(connection, now, made_anew=made_anew)
        elif state == b"trimmed":
            logger.warning("this node was away for longer than the feed is kept: reading the log")
            reached = self.head
            self._stand_at(n, token, int(last))
            self._tell_broken(reached, self.head)
        self.heard = max(self.heard, n)
        await self._catch_up(reading)
        self._marked(self.head)
        return int(redis_now)

    def _stand_at(self, n: int, token: bytes, last: int) -> None:
        self.n, self.head = n, last
        self._recent.clear()
        self._recent_seqs = 0
        if n:
            self._remember(Fed(n, token, last, {}, [], 0))

    async def _catch_up(self, reading: Connection) -> None:
        """Read from the stream what was published, to the last that this node has heard of."""
        while self.n < self.heard:
            page = await reading.call("XRANGE", self._keys.feed, self.n + 1, "+", "COUNT", PAGE)
            for _, (_, blob) in page:
                fed = self._fed(blob)
                if fed.n != self.n + 1:
                    raise EngineUnavailable(f"the feed has no batch {self.n + 1}")
                self._take(fed)
            if not page:
                raise EngineUnavailable(f"the feed ends with batch {self.n}")

    async def _lost(
        self, connection: Connection, now: Callable[[], int], *, made_anew: bool
    ) -> None:
        """The log has lost what this node has fed last: have a seam there, and go on behind it."""
        newest = list(reversed(self._recent))
        place = 0
        if not made_anew:
            listed: list[Argument] = []
            for fed in newest:
                listed += (fed.n, fed.token)
            place = await COMMON.call(connection, (self._keys.feed,), listed)
        lost = newest[: place - 1] if place else newest
        common = newest[place - 1] if place else None
        nowhere = 0 if made_anew else -1
        seqs: dict[str, int] = {}
        for fed in reversed(lost):
            seqs |= fed.seqs
        last, n, token, _ = await SEAM.call(
            connection,
            (self._keys.log, self._keys.feed, *map(self._keys.state, seqs)),
            (
                self.epoch,
                now(),
                secrets.token_bytes(TOKEN_BYTES),
                self.head,
                nowhere if common is None else common.n,
                self._publish,
                self._channel,
                *seqs.values(),
            ),
        )
        after = self.head if common is None else common.last
        logger.error(
            "Redis has lost what it had accepted last, after %d: subscribers are told a gap", after
        )
        self._stand_at(n, token, int(last))
        self._tell_broken(after, self.head)


def _refused(connection: Connection, error: RedisError) -> str:
    if error.code == "WRONGTYPE":
        return (
            f"Redis at {connection.name} has something else under the keys of the log: "
            "choose another ?prefix="
        )
    if error.code == "FORMAT":
        return (
            f"the log in Redis at {connection.name} was written by another version of tidewire: "
            f"its format is {str(error).partition(' ')[2]}, that of this version {FORMAT}"
        )
    return f"Redis at {connection.name}: {error}"
