"""The records of durable consumers, and the index by channel that receipts are made from.

Every change is one step of the engine, made from the record as it is then, so that servers which
share a log may change the same record. Who reads as the consumer here hears of each that is made
here, and has what it knows itself written with an acknowledgement: so who acknowledges all the
time costs no other change.
"""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

import msgspec

from tidewire.hub.consumer_state import (
    ConsumerState,
    acknowledge,
    acknowledge_single,
    check_size,
    delay,
    merge,
    take_over,
)
from tidewire.log.answers import Answers
from tidewire.log.engine import Change, Engine
from tidewire.model import TidewireError, UnknownConsumer

logger = logging.getLogger("tidewire.hub")

TABLE = "consumers"
READERS = "readers"

#: What is to be done when a change is made or has failed.
Then = Callable[[Future[bytes | None]], None]

_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(ConsumerState).decode


class Own(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What the claim *holder* knows of its consumer: *state*, with all in it that *value* says.

    *value* is the record as it was heard last; *served* are the delays that were carried out.
    """

    holder: int
    state: ConsumerState
    value: bytes
    served: Mapping[int, int]


class Reader(Protocol):
    """Who reads as a consumer here."""

    def own(self, upto: int) -> Own | None:
        """What it knows, now that everything up to *upto* is done with; ``None``: nothing yet."""
        ...

    def adopt(self, value: bytes, own: Own | None) -> None:
        """The record was changed to *value*; *own* is in it."""
        ...


class Standing(msgspec.Struct, omit_defaults=True):
    """What a consumer made of one message; ``deliveries`` while that is known."""

    consumer: str
    acknowledged: bool
    deliveries: int = 0


class ConsumerRecords:
    """Records are kept *ttl* seconds after their last change. *reading* has, by name, who reads."""

    def __init__(self, engine: Engine, ttl: float, reading: Mapping[str, Reader]) -> None:
        self._engine = engine
        self._ttl = ttl
        self._reading = reading
        self._answers = Answers()
        self.acks = 0  # commands to acknowledge, by this process

    async def find(self, name: str) -> ConsumerState | None:
        """What is known of a consumer.

        Raises:
            EngineUnavailable: if the engine is away.
        """
        value = await self._engine.get(TABLE, name)
        return None if value is None else decode(value)

    async def get(self, name: str) -> ConsumerState:
        """The same of one that there is.

        Raises:
            UnknownConsumer: if there is none of that name.
            EngineUnavailable: if the engine is away.
        """
        if (state := await self.find(name)) is None:
            raise _unknown(name)
        return state

    async def get_last(self, name: str) -> ConsumerState:
        """The same, with every change that was called for here before, answered or not.

        Raises:
            UnknownConsumer, EngineUnavailable: as ``get`` does.
        """
        return _known(name, await self._change(name, partial(_same, name)))

    def take(self, name: str, holder: int, begun: int, upto: int | None) -> Future[bytes | None]:
        """Make the claim *holder* that of the record, unless a newer one is; 0: leave it.

        A new consumer begins at *begun*. Everything up to *upto* is acknowledged.
        """
        return self._change(name, partial(_taken, holder, begun, upto))

    def save(self, name: str, own: Own, then: Then) -> None:
        """Keep what the holder was sent, unless it is not the holder any more; *then* do this."""
        self._change(name, partial(_saved, own), own, then)

    def acknowledge(
        self, name: str, ids: list[int], *, single: bool, then: Then | None = None
    ) -> Future[bytes | None]:
        """These messages are done with, and without *single* all before them.

        The future is done when the engine keeps that, and *then* is called. It fails with
        ``UnknownConsumer``, ``TooManySingleAcks`` or ``EngineUnavailable``.
        """
        self.acks += 1
        upto = 0 if single else max(ids)
        reader = self._reading.get(name)
        own = None if reader is None else reader.own(upto)
        if single:
            return self._change(name, partial(_acked_single, name, ids, own), own, then)
        return self._change(name, partial(_acked, name, upto, own), own, then)

    def delay(self, name: str, ids: list[int], due: int) -> Future[bytes | None]:
        """These messages are wanted again, at *due*. Fails as ``acknowledge`` does."""
        return self._change(name, partial(_delayed, name, ids, due))

    def bury(self, name: str, ids: list[int]) -> Future[bytes | None]:
        """These messages are dead letters by now: they are done with, however many."""
        return self._change(name, partial(_buried, name, ids))

    def _change(
        self, name: str, change: Change, own: Own | None = None, then: Then | None = None
    ) -> Future[bytes | None]:
        future = self._engine.change(TABLE, name, change, self._ttl)
        self._answers.when_done(future, self._made, name, own, then)
        return future

    def _made(
        self, name: str, own: Own | None, then: Then | None, future: Future[bytes | None]
    ) -> None:
        reader = self._reading.get(name)
        if reader is not None and not future.cancelled() and future.exception() is None:
            value = future.result()
            if value is not None:
                reader.adopt(value, own)
        if then is not None:
            then(future)

    # Who reads a channel

    def index(self, name: str, channels: Iterable[str], left: Iterable[str], now: int) -> None:
        """Note that the consumer reads *channels* *now*, and no longer those it has *left*."""
        present = str(now).encode()
        for value, names in ((present, channels), (None, left)):
            for channel in names:
                key = f"{channel}\0{name}"
                write = self._engine.change(READERS, key, partial(_replaced, value), self._ttl)
                write.add_done_callback(_report_failure)

    async def readers(self, channel: str, after: str, limit: int) -> list[str]:
        """The names of those who read *channel*, above the name *after*, at most *limit*.

        Raises:
            EngineUnavailable: if the engine is away.
        """
        prefix = f"{channel}\0"
        found = await self._engine.scan(READERS, prefix, prefix + after, limit)
        return [key.removeprefix(prefix) for key, _ in found]


def _report_failure(write: Future[bytes | None]) -> None:
    """Nobody waits for the index: it is written again before long."""
    error = None if write.cancelled() else write.exception()
    if isinstance(error, TidewireError):
        logger.warning("a reader of a channel was not noted: %s", error.detail)
    elif error is not None:
        logger.error("a reader of a channel was not noted", exc_info=error)


def _unknown(name: str) -> UnknownConsumer:
    return UnknownConsumer(f"there is no consumer {name!r}: one is made when it first subscribes")


# Changes of records: they may run on another thread, and more than once.


def _known(name: str, old: bytes | None) -> ConsumerState:
    if old is None:
        raise _unknown(name)
    return decode(old)


def _same(name: str, old: bytes | None) -> bytes | None:
    _known(name, old)
    return old


def _kept(old: bytes | None, after: ConsumerState) -> bytes | None:
    value = _encode(after)
    return old if value == old else value


def _with_own(name: str, own: Own | None, old: bytes | None) -> ConsumerState:
    """What the record says, with what its holder knows."""
    if own is not None and old == own.value:
        return own.state
    record = _known(name, old)
    if own is None or record.holder != own.holder:
        return record
    return merge(record, own.state, own.served)


def _taken(holder: int, begun: int, upto: int | None, old: bytes | None) -> bytes | None:
    state = ConsumerState(begun, begun) if old is None else decode(old)
    if holder > state.holder:
        state = take_over(state, holder)
    if upto is not None:
        state = acknowledge(state, upto)
    return _kept(old, state)


def _saved(own: Own, old: bytes | None) -> bytes | None:
    if old is None or old == own.value:
        return _encode(own.state)
    record = decode(old)
    return old if record.holder != own.holder else _encode(merge(record, own.state, own.served))


def _acked(name: str, upto: int, own: Own | None, old: bytes | None) -> bytes | None:
    return _kept(old, acknowledge(_with_own(name, own, old), upto))


def _acked_single(name: str, ids: list[int], own: Own | None, old: bytes | None) -> bytes | None:
    before = _with_own(name, own, old)
    after = acknowledge_single(before, ids)
    return _kept(old, after if after is before else check_size(after))


def _buried(name: str, ids: list[int], old: bytes | None) -> bytes | None:
    return _kept(old, acknowledge_single(_known(name, old), ids))


def _delayed(name: str, ids: list[int], due: int, old: bytes | None) -> bytes | None:
    before = after = _known(name, old)
    for id in ids:
        after = delay(after, id, due)
    return _kept(old, after if after is before else check_size(after))


def _replaced(value: bytes | None, old: bytes | None) -> bytes | None:
    return value
