"""The fleet: the nodes that share a log, which of them are there, and what one asks the others.

Each node keeps one record, its *lease*, and writes it every few seconds, with what there is to say
of the node. A lease that is not written ends by itself. That is the engine's business and its
clock's: no two nodes' clocks are ever compared. Beside it there is the channel ``!nodes``, where a
node says that it has come or goes, so that the others know at once and not with their next beat.

The *view* of a node is whom it knows to be there. It is looked at with each beat, which reads the
leases. A node leaves the view with its goodbye, or when its lease has ended; then the callbacks of
``on_gone`` are called, once.

When the engine was away, all leases may have ended, and nobody is gone for that. So from a failed
beat on, or when this node's own lease was found to have ended (the machine slept, the clock was
put forward, the engine lost what it had), a lease that is missing means nothing until all have had
the time of a whole lease to write theirs again.

A single node pays for this with one small record every few seconds. It asks itself without
a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from asyncio import Future
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from tidewire.hub.asking import CHANNEL, Answers, Asking, Handler
from tidewire.hub.hub import Hub
from tidewire.hub.node import NodeInfo, new_node_id
from tidewire.model import Draft, EngineUnavailable, Message

logger = logging.getLogger("tidewire.hub")

TABLE = "nodes"
BEAT = 5.0
"""Seconds between writes of a lease."""
TTL = 15.0
"""Seconds that a lease lasts: two beats may fail."""

ASK_SECONDS = 2.0
GOODBYE_SECONDS = 1.0  # for an engine that may be away
AGAIN_SECONDS = 1.0  # after a beat that has failed

HERE, GONE = "here", "gone"

_PAGE = 1_000
_MOST_DEPARTED = 1_000


class _Lease(msgspec.Struct, frozen=True):
    """``new``: there was none before it."""

    node: NodeInfo
    new: bool


class _Seen(NamedTuple):
    """What was heard of a node, and when, by the loop's clock."""

    node: NodeInfo
    at: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Lease).decode
_encode_json = msgspec.json.Encoder().encode
_decode_node = msgspec.json.Decoder(NodeInfo).decode
_decode_id = msgspec.json.Decoder(str).decode


class Fleet:
    """The fleet as the node ``id`` sees it. *describe* says what there is to say of this node."""

    def __init__(
        self,
        hub: Hub,
        describe: Callable[[str], NodeInfo] = NodeInfo,
        *,
        beat: float = BEAT,
        ttl: float = TTL,
    ) -> None:
        self.id = new_node_id()
        self._hub = hub
        self._engine = hub.engine
        self._describe = describe
        self._beat_seconds = beat
        self._ttl = ttl
        self._asking = Asking(hub, self.id)
        self._on_gone: list[Callable[[str], None]] = []
        self._on_lapse: list[Callable[[], None]] = []
        self._view: dict[str, _Seen] = {}  # without this node
        self._departed: dict[str, None] = {}  # those who said goodbye last
        self._written_at = 0.0  # the lease, by the loop's clock
        self._failed = False  # the last beat
        self._missing_counts = 0.0  # the time from which on a lease that is missing has ended
        self._write: Future[bytes | None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._early = asyncio.Event()
        self._announces = True
        hub.listen(CHANNEL, self._heard, self._look)

    # Life

    async def start(self) -> None:
        """Join. If the engine is away now, that is done when it is back."""
        await self._beat()
        self._beating = asyncio.create_task(self._keep_beating())

    async def stop(self) -> None:
        """Leave, and say so. Takes no longer than a second."""
        beating, self._beating = self._beating, None
        if beating is None:
            return
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        ended = self._engine.change(TABLE, self.id, _ended, self._ttl)
        said = self._engine.append([Draft(CHANNEL, _encode_json(self.id), event=GONE)])
        goodbye: list[Future[Any]] = [ended, said]
        await asyncio.wait(goodbye, timeout=GOODBYE_SECONDS)
        ended.add_done_callback(_report)
        said.add_done_callback(_report)

    def announce(self) -> None:
        """Tell the others soon what there is to say of this node now, and not with a later beat."""
        self._announces = True
        self._early.set()

    # Who is there

    def describe(self) -> NodeInfo:
        """What there is to say of this node."""
        return self._describe(self.id)

    @property
    def others(self) -> list[NodeInfo]:
        """The other nodes in the view, as they were when they were heard of last."""
        return [seen.node for seen in self._view.values()]

    def is_live(self, node: str) -> bool:
        """Whether the node *node* is in the view, or this one.

        One that has come a moment ago may not be in it yet: before undoing something for a node
        that is not live, ask ``nodes``.
        """
        return node == self.id or node in self._view

    async def nodes(self) -> list[NodeInfo]:
        """All nodes, by when they started; the leases are read for it.

        Raises:
            EngineUnavailable: if they cannot be.
        """
        await self._look()
        return sorted([self.describe(), *self.others], key=lambda node: (node.started, node.id))

    def on_gone(self, callback: Callable[[str], None]) -> None:
        """Call *callback* with the id of each node that leaves the view, once.

        A node that was cut off from the engine, or stood still, for longer than its lease comes
        back under its own id, and hears so by ``on_lapse``.
        """
        self._on_gone.append(callback)

    def on_lapse(self, callback: Callable[[], None]) -> None:
        """Call *callback* when this node's lease had ended although it lives, and is there again.

        Others may have taken it for gone, and undone what it keeps in the engine.
        """
        self._on_lapse.append(callback)

    # Questions

    def answer(self, kind: str, handler: Handler) -> None:
        """Have *handler* answer questions of a *kind*, those of this node included.

        It is called outside of rounds, with the question's bytes, and returns the answer's (at
        most 512 KiB), or an awaitable of them. A few are answered at a time. If it raises, the node
        counts as one that did not answer.
        """
        self._asking.answer(kind, handler)

    async def ask(
        self,
        kind: str,
        question: bytes,
        timeout: float = ASK_SECONDS,  # noqa: ASYNC109  # who is late is missing, not an error
        nodes: Iterable[str] | None = None,
    ) -> Answers:
        """What all nodes, or those in *nodes*, answer within *timeout* seconds.

        It returns when all have answered that hold a lease. Who does not, or is not known, is
        ``missing``; so is who could not be asked because the engine is away.

        Raises:
            Unavailable: if 64 questions of this node wait for answers already.
        """
        asked = {self.id, *self._view} if nodes is None else set(nodes)
        unknown = [node for node in asked if not self.is_live(node)]
        others = asked.difference(unknown, [self.id])
        here = self.id in asked
        answers = await self._asking.ask(kind, question, timeout, others, here=here)
        return answers._replace(missing=sorted([*answers.missing, *unknown]))

    # Beats

    async def _keep_beating(self) -> None:
        while True:
            seconds = AGAIN_SECONDS if self._failed else self._beat_seconds
            with contextlib.suppress(TimeoutError):
                # Jittered, or all would write at once for good after an outage.
                async with asyncio.timeout(seconds * random.uniform(0.9, 1.0)):  # noqa: S311
                    await self._early.wait()
            self._early.clear()
            try:
                await self._beat()
            except Exception:
                logger.exception("a beat failed")
                self._failed = True

    async def _beat(self) -> None:
        """Write the lease, say what cannot wait, and look at the leases of others."""
        try:
            await self._write_lease()
            await self._look()
        except EngineUnavailable as error:
            if not self._failed:
                logger.warning("this server's lease is not written: %s", error.detail)
            self._failed = True

    async def _write_lease(self) -> None:
        if self._write is None:
            node = self.describe()
            change = partial(_written, _encode(_Lease(node, True)), _encode(_Lease(node, False)))
            self._write = self._engine.change(TABLE, self.id, change, self._ttl)
        await asyncio.wait([self._write], timeout=self._beat_seconds)
        if not self._write.done():
            raise EngineUnavailable("the log takes too long")  # that write is waited for again
        write, self._write = self._write, None
        value = write.result()
        assert value is not None
        lease = _decode(value)
        now = asyncio.get_running_loop().time()
        lapsed = lease.new and self._written_at > 0
        if lapsed or self._failed:
            self._missing_counts = now + self._ttl
        self._failed = False
        self._written_at = now
        if lapsed:
            logger.warning("this server's lease had ended: others may have taken it for gone")
            for callback in self._on_lapse:
                _call(callback)
        if lease.new or self._announces:
            self._announces = False
            try:
                await self._engine.append([Draft(CHANNEL, _encode_json(lease.node), event=HERE)])
            except BaseException:
                self._announces = True
                raise

    async def _look(self) -> None:
        """Read the leases; those in the view that have none any more are gone."""
        begun = asyncio.get_running_loop().time()
        found: dict[str, NodeInfo] = {}
        try:
            async with asyncio.timeout(self._beat_seconds):
                after = ""
                while page := await self._engine.scan(TABLE, "", after, _PAGE):
                    found |= {id: _node_of(id, value) for id, value in page}
                    after = page[-1][0]
        except TimeoutError:
            raise EngineUnavailable("the log takes too long") from None
        now = asyncio.get_running_loop().time()
        for id, node in found.items():
            if id != self.id and id not in self._departed:
                self._view[id] = _Seen(node, now)
        # What an outage after our last beat has ended would not be found ended before that time.
        fresh = begun - self._written_at < self._ttl - self._beat_seconds
        if fresh and not self._failed and begun >= self._missing_counts:
            for id, seen in list(self._view.items()):
                if id not in found and seen.at < begun:
                    logger.warning("the server %s is gone: its lease has ended", id)
                    self._leave(id)

    def _heard(self, message: Message) -> None:
        if message.event == HERE:
            node = _decode_node(message.data)
            if node.id != self.id and node.id not in self._departed:
                self._view[node.id] = _Seen(node, asyncio.get_running_loop().time())
        elif message.event == GONE:
            id = _decode_id(message.data)
            self._departed[id] = None
            if len(self._departed) > _MOST_DEPARTED:
                del self._departed[next(iter(self._departed))]
            self._leave(id)
        else:
            self._asking.hear(message)

    def _leave(self, id: str) -> None:
        if self._view.pop(id, None) is not None:
            self._asking.forget(id)
            for callback in self._on_gone:
                _call(partial(callback, id))


def _node_of(id: str, lease: bytes) -> NodeInfo:
    """What a lease says; of one that another version has written in another way, that it is."""
    try:
        return _decode(lease).node
    except msgspec.MsgspecError:
        return NodeInfo(id)


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # the others must hear of it, too
        logger.exception("who was told of a server that has gone has failed")


def _report(future: Future[Any]) -> None:
    """Nobody waits for a goodbye any more: what became of it is for the operator to know."""
    if not future.cancelled() and (error := future.exception()) is not None:
        logger.warning("a goodbye was not said: %s", error)


# Changes of records: they may run on another thread, and more than once.


def _written(new: bytes, kept: bytes, old: bytes | None) -> bytes | None:
    return new if old is None else kept


def _ended(old: bytes | None) -> bytes | None:
    return None
