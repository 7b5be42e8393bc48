"""Appends: what arrives while one script is on its way goes with the next, in the order of calls.

A script whose answer does not come, because the connection has ended, may have been carried out or
not. It has a token, and Redis keeps the last answer that each node was given: so it is sent again
once there is a connection, and carried out once. Who waits for it is told after
``PATIENCE_SECONDS`` that it failed; *that* message may be there nevertheless, for nobody can ask.
A publish with an idempotency key is safe to repeat then. What had not been sent by that time, and
what arrives while Redis is away, fails at once, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from tidewire.log.redis_batch import Batch, Purge, Work, decode_answer
from tidewire.log.redis_connection import Argument, Connection, Lost, RedisError, Reply, refused
from tidewire.log.redis_feed import Follower
from tidewire.log.redis_keys import Keys, Share
from tidewire.log.redis_link import Link
from tidewire.log.redis_scripts import APPEND
from tidewire.model import Draft, EngineUnavailable, Namespaces, Receipt

logger = logging.getLogger("tidewire.log")

GROUP: Final = 2_000  # drafts of one script
GROUP_BYTES: Final = 4 << 20
PATIENCE_SECONDS: Final = 4.0
REPLICA_SECONDS: Final = 2.0

#: Errors that say: not here, or not now. The connection is made anew, wherever that leads.
ELSEWHERE: Final = frozenset(
    (
        "READONLY", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "LOSTTAIL",
        "OTHERLOG", "UNBLOCKED",
    )
)  # fmt: skip

_COUNTER = struct.Struct(">8sQ")


class _Call(NamedTuple):
    """Works, and who waits for their receipts, or for that of the only one; or a mark."""

    works: Sequence[Work]
    future: Future[Any]
    alone: bool = False
    mark: int = 0


class _Sent(msgspec.Struct, eq=False):
    """A batch under way, who waits for it, and for how long; *receipts* once it is carried out."""

    token: bytes
    batch: Batch
    calls: list[_Call]
    until: float
    receipts: list[Receipt] | None = None


class Writer:
    """Appends and purges of one node."""

    def __init__(
        self,
        keys: Keys,
        namespaces: Namespaces,
        node: str,
        follower: Follower,
        *,
        window_us: int,
        replicas: int,
        publish: tuple[str, bytes],
        now: Callable[[], int],
        share: Share,
    ) -> None:
        self._keys = keys
        self._namespaces = namespaces
        self._node = node.encode()
        self._answers = keys.answer(node)
        self._follower = follower
        self._window_us = window_us
        self._replicas = replicas
        self._publish = publish
        self._now = now
        self._share = share
        self._counter = 0
        self._waiting: deque[_Call] = deque()
        self._sent: _Sent | None = None
        self._starting = False
        self._link: Link | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._idle: Future[None] | None = None

    def start(self, link: Link) -> None:
        """Write where *link* leads."""
        self._loop = asyncio.get_running_loop()
        self._link = link

    async def finish(self, seconds: float) -> None:
        """Wait until everything accepted is answered, so long at most."""
        if self._sent is not None or self._waiting:
            self._idle = self._loop.create_future()
            try:
                async with asyncio.timeout(seconds):
                    await self._idle
            except TimeoutError:
                self._fail_waiting(EngineUnavailable("the server stops"))
        if self._deadline is not None:
            self._deadline.cancel()

    # What is to be written

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        """As the engine's ``append``."""
        if not drafts:
            future: Future[list[Receipt]] = self._loop.create_future()
            future.set_result([])
            return future
        return self._write(drafts)

    def purge(self, channel: str, reason: str) -> Future[Receipt]:
        """As the engine's ``purge``; readers are told *reason*."""
        return self._write([Purge(channel, reason)], alone=True)

    def mark(self, id: int) -> Future[None]:
        """As a partition's ``mark``."""
        future = self._wait_for(_Call((), self._loop.create_future(), mark=id))
        future.add_done_callback(_seen)
        return future

    def _write(self, works: Sequence[Work], *, alone: bool = False) -> Future[Any]:
        return self._wait_for(_Call(works, self._loop.create_future(), alone))

    def _wait_for(self, call: _Call) -> Future[Any]:
        future = call.future
        link = self._link
        assert link is not None
        if link.log is None:
            future.set_exception(link.away("nothing was published"))
            return future
        self._waiting.append(call)
        if self._sent is None and not self._starting:
            self._starting = True
            self._loop.call_soon(self._begin)
        return future

    def _begin(self) -> None:
        """Send what waits, up to the bounds of a batch; what one call brings stays together."""
        self._starting = False
        if self._sent is not None or not self._waiting:
            return
        batch = Batch(self._keys, self._namespaces, self._share)
        calls: list[_Call] = []
        waiting = self._waiting
        while waiting and (
            not calls or (len(batch) + len(waiting[0].works) <= GROUP and batch.bytes < GROUP_BYTES)
        ):
            call = waiting.popleft()
            calls.append(call)
            batch.add(call.works)
            batch.mark = max(batch.mark, call.mark)
        self._counter += 1
        token = _COUNTER.pack(self._node, self._counter)
        self._sent = _Sent(token, batch, calls, self._loop.time() + PATIENCE_SECONDS)
        self._send(again=False)

    def _send(self, *, again: bool) -> None:
        sent, link = self._sent, self._link
        assert sent is not None
        assert link is not None
        connection = link.log
        if connection is None:  # it has ended since the call was made
            self._not_answered(sent)
            return
        follower = self._follower
        follower.awaited = sent.token
        head: tuple[Argument, ...] = (
            follower.epoch, self._now(), sent.token, int(again), follower.n,
            self._window_us, *self._publish,
        )  # fmt: skip
        keys, arguments = sent.batch.command(self._answers, head)
        APPEND.send(connection, keys, arguments, partial(self._answered, sent, connection))
        if self._replicas:
            wait = ("WAIT", self._replicas, int(REPLICA_SECONDS * 1000))
            connection.send(wait, partial(self._held, sent))

    # Answers

    def _answered(self, sent: _Sent, connection: Connection, reply: Reply) -> None:
        if sent is not self._sent:  # given up
            return
        if self._follower.defers(partial(self._answered, sent, connection, reply)):
            return
        assert self._link is not None
        # A connection that has ended since the answer came has not brought all that was before it.
        if isinstance(reply, Lost) or connection is not self._link.log:
            self._not_answered(sent)
        elif isinstance(reply, RedisError):
            if reply.code in ELSEWHERE:
                connection.close(str(reply))
                self._not_answered(sent)
            else:
                self._fail(sent, refused("the message was not taken", reply))
        else:
            answer = decode_answer(reply)
            fed, receipts = sent.batch.carried_out(self._follower.epoch, sent.token, answer)
            if not answer.n and sent.batch.mark:  # others have gone beyond it already
                self._follower.reached(sent.batch.mark)
            if answer.n and not self._follower.answered(fed):
                # Joining anew brings what is missing, and then this answer again.
                connection.close(f"batch {fed.n} of this node came before others")
                self._not_answered(sent)
            elif self._replicas:
                sent.receipts = receipts
            else:
                self._succeed(sent, receipts)

    def _held(self, sent: _Sent, reply: Reply) -> None:
        """Take the number of replicas that hold a batch which was carried out."""
        receipts = sent.receipts
        if sent is not self._sent or receipts is None:
            return
        if isinstance(reply, Lost):
            sent.receipts = None
            self._not_answered(sent)
        elif isinstance(reply, RedisError):
            self._fail(sent, refused("nobody knows how safely the message is kept", reply))
        elif reply < self._replicas:
            detail = (
                f"{reply} of {self._replicas} replicas have the message after "
                f"{REPLICA_SECONDS:.0f} s; it is kept, but not as safely as is asked for"
            )
            self._fail(sent, EngineUnavailable(detail))
        else:
            self._succeed(sent, receipts)

    def _succeed(self, sent: _Sent, receipts: list[Receipt]) -> None:
        self._end(sent)
        begin = 0
        for works, future, alone, _ in sent.calls:
            end = begin + len(works)
            if not future.done():
                future.set_result(receipts[begin] if alone else receipts[begin:end])
            begin = end

    def _fail(self, sent: _Sent, error: EngineUnavailable) -> None:
        self._end(sent)
        _fail(sent.calls, error)

    def _end(self, sent: _Sent) -> None:
        """Nobody waits for *sent* any more: go on with what has come meanwhile."""
        self._sent = None
        self._follower.awaited = b""
        if self._waiting:
            self._begin()
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    # Without a connection

    def down(self) -> None:
        """There is no connection now: what was not sent fails."""
        assert self._link is not None
        self._fail_waiting(self._link.away("nothing was published"))

    def up(self) -> None:
        """There is a connection again: what was not answered is sent once more."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._sent is not None:
            self._send(again=True)

    def _fail_waiting(self, error: EngineUnavailable) -> None:
        waiting, self._waiting = self._waiting, deque()
        _fail(waiting, error)

    def _not_answered(self, sent: _Sent) -> None:
        if self._deadline is None:
            self._deadline = self._loop.call_at(sent.until, self._give_up, sent)

    def _give_up(self, sent: _Sent) -> None:
        self._deadline = None
        if sent is self._sent:
            assert self._link is not None
            self._fail(sent, self._link.away("nobody can tell whether the message was kept"))


def _fail(calls: Iterable[_Call], error: EngineUnavailable) -> None:
    for call in calls:
        if not call.future.done():
            # Each has one of its own: it gets the traceback of who awaits it.
            call.future.set_exception(EngineUnavailable(error.detail, why=error.why))


def _seen(mark: Future[Any]) -> None:
    """Who asks for a mark does not wait for it: what became of it is seen in the feed."""
    if not mark.cancelled():
        mark.exception()
