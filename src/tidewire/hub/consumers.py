"""All durable consumers: who reads as which, what they acknowledge, and their one timer.

A connection that is to read as a consumer *claims* it, by a message in the channel ``!consumers``:
so all servers of one log agree on who came last, and end the one before wherever it is. A poll
claims it on its own server only.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from asyncio import Future
from collections.abc import Callable, Iterable

import msgspec

from tidewire.hub.consumer import Consumer
from tidewire.hub.consumer_records import ConsumerRecords, Standing, decode
from tidewire.hub.consumer_state import ConsumerState, Redelivery, merge
from tidewire.hub.dead_letters import dead_letter
from tidewire.hub.hub import Hub
from tidewire.model import (
    Cursor,
    Draft,
    InvalidCursor,
    Message,
    Replaced,
    Subscription,
    TidewireError,
    UnknownConsumer,
)

logger = logging.getLogger("tidewire.hub")

CHANNEL = "!consumers"
TICK_SECONDS = (0.05, 0.25)  # at least, at most
PATIENCE = 3  # ticks for which what was sent may wait for an acknowledgement to be kept with


class _News(msgspec.Struct, omit_defaults=True):
    """What servers tell each other of a consumer: a claim, or that its record was changed."""

    consumer: str
    claim: str = ""


_encode_news = msgspec.json.Encoder().encode
_decode_news = msgspec.json.Decoder(_News).decode


class Consumers:
    """The consumers of one hub. *ack_wait* and *ttl* are in seconds, *clock* gives Unix time."""

    def __init__(
        self,
        hub: Hub,
        *,
        ack_wait: float,
        max_deliver: int,
        ttl: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.hub = hub
        self.rules = Redelivery(max(round(ack_wait * 1000), 1), max_deliver)
        self.refresh_ms = int(ttl * 1000 / 3)  # a record is younger than that, or written again
        self._clock = clock
        self._tick_seconds = min(max(ack_wait / 16, TICK_SECONDS[0]), TICK_SECONDS[1])
        self.patience_ms = int(self._tick_seconds * 1000 * PATIENCE)
        self._attached: dict[str, Consumer] = {}  # by name: who reads as it here
        self.records = ConsumerRecords(hub.engine, ttl, self._attached)
        self._claims: dict[str, tuple[Consumer, Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        hub.listen(CHANNEL, self._heard)

    def now(self) -> int:
        """Unix ms."""
        return int(self._clock() * 1000)

    # Reading as a consumer

    async def attach(
        self, name: str, wanted: Subscription, *, claims: bool, acknowledges: bool = False
    ) -> tuple[Consumer, Subscription]:
        """Read as the consumer *name*; return it with what is to be opened for it.

        One that is not known yet begins where *wanted* does. *acknowledges*: what is up to the
        cursor of *wanted* is done with, and that is kept when this returns. ``close`` what is
        returned, or give it to a session.

        Raises:
            BadRequest, EngineUnavailable: as ``Hub.open`` does.
            Replaced: a newer connection came meanwhile.
        """
        begun = await self._beginning(wanted) if await self.records.find(name) is None else None
        received = self._received(wanted)
        consumer = Consumer(self, name, wanted.channels)
        try:
            if claims:
                await self._claim(consumer)
            else:
                self._seat(consumer)
            if begun is None and await self.records.find(name) is None:
                begun = await self._beginning(wanted)  # it was forgotten just now
            upto = received if acknowledges else None
            value = await self.records.take(name, consumer.holder, begun or 0, upto)
            assert value is not None
            record = decode(value)
            if consumer.replaced or (claims and record.holder != consumer.holder):
                raise Replaced("a newer connection reads as this consumer")
        except BaseException:
            self.forget(consumer)
            raise
        epoch = self.hub.engine.epoch
        start = consumer.begin(record, received)
        if begun is not None and any(cursor.epoch != epoch for cursor in wanted.cursors):
            return consumer, wanted  # it is told that its cursor is of another log
        return consumer, wanted._replace(cursors=(Cursor(epoch, start),))

    def _received(self, wanted: Subscription) -> int | None:
        """Up to where the client has everything, by its cursors; ``None``: it does not say."""
        if any(cursor.epoch != self.hub.engine.epoch for cursor in wanted.cursors):
            return None
        return min((cursor.id for cursor in wanted.cursors), default=None)

    async def _beginning(self, wanted: Subscription) -> int:
        """Where a new consumer begins: one position for all its channels, the earliest."""
        if not wanted.channels:
            return self._received(wanted) or self.hub.recent.head
        return min((await self.hub.start_of(wanted)).after.values())

    async def _claim(self, consumer: Consumer) -> None:
        """Have all servers know that *consumer* is the one now; return when this one does."""
        token = secrets.token_urlsafe(9)
        heard = asyncio.get_running_loop().create_future()
        self._claims[token] = (consumer, heard)
        try:
            news = _encode_news(_News(consumer.name, token))
            await self.hub.engine.append([Draft(CHANNEL, news)])
            await heard
        finally:
            del self._claims[token]

    def _heard(self, message: Message) -> None:
        news = _decode_news(message.data)
        current = self._attached.get(news.consumer)
        if news.claim in self._claims:
            consumer, heard = self._claims[news.claim]
            consumer.holder = message.id
            self._seat(consumer)
            if not heard.done():
                heard.set_result(None)
        elif current is not None and news.claim:
            current.replace()
        elif current is not None:
            current.look()

    def _seat(self, consumer: Consumer) -> None:
        """*consumer* is the one from now on; the one before writes its record, and ends."""
        older = self._attached.get(consumer.name)
        self._attached[consumer.name] = consumer
        if older is not None:
            older.replace()
        if self._timer is None:
            self._set_timer()

    def forget(self, consumer: Consumer) -> None:
        """*consumer* is no longer read here."""
        if self._attached.get(consumer.name) is consumer:
            del self._attached[consumer.name]

    # Time

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._tick_seconds, self._tick) if self._attached else None

    def _tick(self) -> None:
        self.look_after()
        self._set_timer()

    def look_after(self) -> None:
        """See what each consumer was sent, and what is due again; the timer does, now and then."""
        now = self.now()
        for consumer in list(self._attached.values()):
            try:
                consumer.tick(now)
            except Exception:  # one failure must not stop everybody's time
                logger.exception("the consumer %s was not looked after", consumer.name)

    # Acknowledging

    def ids_now(self, cursors: Iterable[Cursor]) -> list[int] | None:
        """The ids that *cursors* stand for; ``None`` when only the engine knows one of them.

        Raises:
            InvalidCursor: if one is of another log.
        """
        ids = []
        for cursor in cursors:
            if cursor.epoch != self.hub.engine.epoch:
                raise InvalidCursor(f"{cursor} is of another log: it acknowledges nothing here")
            ids.append(cursor.id)
        return ids if max(ids, default=0) <= self.hub.recent.head else None

    async def ids_of(self, cursors: list[Cursor]) -> list[int]:
        """The same with the engine's help.

        Raises:
            InvalidCursor: also if one is beyond the end of the log.
            EngineUnavailable: if the engine is away.
        """
        if (ids := self.ids_now(cursors)) is not None:
            return ids
        head = await self.hub.engine.head()
        for cursor in cursors:
            if cursor.id > head:
                raise InvalidCursor(f"{cursor} is beyond the end of the log")
        return [cursor.id for cursor in cursors]

    async def delay(self, name: str, ids: list[int], delay_ms: int) -> None:
        """The consumer wants these messages again, *delay_ms* from now.

        Raises:
            UnknownConsumer, TooManySingleAcks, EngineUnavailable: when that is not kept.
        """
        await self.records.delay(name, ids, self.now() + delay_ms)
        if (consumer := self._attached.get(name)) is not None:
            consumer.go_back_if_due()
        else:  # another server may have it
            await self.hub.engine.append([Draft(CHANNEL, _encode_news(_News(name)))])

    async def reject(self, name: str, ids: list[int]) -> None:
        """The consumer wants these messages never again: they go to its dead letters.

        Raises:
            UnknownConsumer, EngineUnavailable: when that is not kept.
        """
        state = self._with_sent(name, await self.records.get_last(name))
        wanted = [id for id in ids if not state.has_acknowledged(id)]
        messages = []
        for id in wanted:
            page = await self.hub.engine.read(dict.fromkeys(state.channels, id - 1), id, 1, 1)
            messages += [message for message in page.messages if message.gap is None]
        await self._bury(name, messages, "rejected", state)
        await self.records.bury(name, wanted)  # also those that are gone

    def bury(self, name: str, messages: list[Message], state: ConsumerState) -> None:
        """*messages* were sent often enough, by *state*: they go to the dead letters, soon.

        Should that fail, they are due again, and this is called again.
        """
        self.hub.spawn(self._bury_later(name, messages, state))

    async def _bury_later(self, name: str, messages: list[Message], state: ConsumerState) -> None:
        try:
            await self._bury(name, messages, "max_deliver", state)
        except TidewireError as error:
            logger.warning("dead letters of %s wait: %s", name, error.detail)

    async def _bury(
        self, name: str, messages: list[Message], reason: str, state: ConsumerState
    ) -> None:
        if messages:
            letters = [dead_letter(m, name, reason, state.deliveries(m.id)) for m in messages]
            await self.hub.engine.append(letters)
            await self.records.bury(name, [message.id for message in messages])
            self.hub.drops["dead_lettered"] += len(messages)

    async def state(self, name: str) -> ConsumerState:
        """What is known of a consumer, with what it was sent just now.

        Raises:
            UnknownConsumer: if there is none of that name.
            EngineUnavailable: if the engine is away.
        """
        return self._with_sent(name, await self.records.get(name))

    def _with_sent(self, name: str, record: ConsumerState) -> ConsumerState:
        consumer = self._attached.get(name)
        if consumer is None or consumer.holder != record.holder:
            return record
        return merge(record, consumer.state_now(), {})

    async def standings(self, channel: str, id: int, after: str, limit: int) -> list[Standing]:
        """What the readers of *channel* made of its message *id*: by name, above *after*.

        At most *limit*. Those that began behind the message are none.

        Raises:
            EngineUnavailable: if the engine is away.
        """
        found: list[Standing] = []
        while len(found) < limit:
            names = await self.records.readers(channel, after, limit - len(found))
            for name in names:
                try:
                    state = await self.state(name)
                except UnknownConsumer:
                    continue
                if id > state.begun and channel in state.channels:
                    done = state.has_acknowledged(id)
                    found.append(Standing(name, done, state.deliveries(id)))
            if not names:
                break
            after = names[-1]
        return found
