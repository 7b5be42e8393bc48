"""One durable consumer while a connection reads as it: what it is sent, and when again.

Its session is a session like any other, in an audience with others, so a message that is sent for
the first time costs nothing here: the timer of all consumers notes now and then how far the session
has come. When something is due again the session goes back to it, and reads from the log up to
where it was; what is acknowledged or not due on that way is left out (``prepare``).

What was acknowledged stands in the consumer's record, which any server may change. What was sent
is known here, and written to the record with what is acknowledged here, else by the timer, if a
connection holds the claim. Before anything is sent again both are brought together.
"""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from tidewire.hub.consumer_records import Own, decode
from tidewire.hub.consumer_state import (
    Choice,
    ConsumerState,
    at_work,
    choose,
    choose_late,
    come_back,
    mark_sent,
    merge,
    settle,
)
from tidewire.hub.session import Session, State
from tidewire.model import Page

if TYPE_CHECKING:
    from tidewire.hub.consumers import Consumers

logger = logging.getLogger("tidewire.hub")

MANY_SINGLE = 500  # acknowledged ids above the floor, after which it is seen how far it can rise
REPLACED = 4409  # the close code
OPENING_MS = 30_000  # until a connection that never began its stream is given up


class Consumer:
    """Give it to a ``Session``, which closes it. It is on the loop's thread only."""

    __slots__ = (
        "_begun",
        "_consumers",
        "_crowd",
        "_going_back",
        "_indexed",
        "_kept_at",
        "_lacking",
        "_lacking_since",
        "_late",
        "_read",
        "_saving",
        "_seen",
        "_sent",
        "_served",
        "_session",
        "_unsaved",
        "_value",
        "begun_at",
        "channels",
        "closed",
        "holder",
        "name",
        "received",
        "replaced",
        "state",
    )

    def __init__(self, consumers: Consumers, name: str, channels: tuple[str, ...]) -> None:
        self._consumers = consumers
        self.name = name
        self.channels = channels
        self.holder = 0
        self.state = ConsumerState(0, 0)  # all that is known, with what the record says
        self.begun_at = consumers.now()
        self.received = 0  # up to here the client has everything, by its own word
        self.closed = False
        self.replaced = False
        self._begun = False
        self._session: Session | None = None
        self._sent = 0  # up to here everything was sent
        self._seen = 0  # up to here gaps were told to this client
        self._read = 0  # from here the log is read on
        self._late: dict[str, int] = {}  # channels taken up later, and from where
        self._served: dict[int, int] = {}  # delays carried out, which the record still has
        self._value = b""  # the record as it was heard last
        self._lacking_since = 0  # since when something that was sent is not in it; 0: all is
        self._lacking = 0  # up to which id it was sent by then
        self._indexed: frozenset[str] = frozenset()
        self._kept_at = self.begun_at
        self._crowd = MANY_SINGLE
        self._unsaved = False
        self._saving = False
        self._going_back = False

    # From claim to stream

    def begin(self, record: ConsumerState, received: int | None) -> int:
        """Take over from *record*, with a client that has *received* so much; where to read from.

        ``None``: it does not say, so everything unacknowledged comes again.
        """
        now, rules = self._consumers.now(), self._consumers.rules
        # The record may have changed since it was read: that was heard, and must not be undone.
        if self._value and (heard := decode(self._value)).holder == record.holder:
            record = heard
        else:
            self._value = b""
        self._begun = True
        self.holder = record.holder
        self.received = max(record.floor, received or 0)
        state = come_back(record, self.received, now, rules)
        if self.channels:
            state = msgspec.structs.replace(state, channels=self.channels)
        self.state = state
        self._sent = max(state.sent, self.received)
        due = state.first_due(now)
        start = self.received if due is None else min(due, self.received)
        self._indexed = frozenset(record.channels)
        self._index()
        self._read = state.floor if len(state.acked) >= MANY_SINGLE else start
        return self._read

    def bind(self, session: Session) -> None:
        """The stream of *session* has begun."""
        self._session = session
        if self.replaced:
            self._end(session)

    def replace(self) -> None:
        """A newer connection reads as this consumer."""
        self.replaced = True
        if self._session is not None:
            self._end(self._session)

    def _end(self, session: Session) -> None:
        session.sink.end(REPLACED, "replaced by a newer connection of the consumer", again=False)

    def close(self) -> None:
        """The connection has ended, or its stream never began."""
        if not self.closed:
            self._note_sent()
            self.closed = True
            self._consumers.forget(self)
            self._save()
            self._session = None  # which knows this consumer

    # What goes out

    def prepare(self, page: Page) -> Page:
        """What of *page* goes to the client; and how far it leads: beyond what is not due."""
        now, rules = self._consumers.now(), self._consumers.rules
        state, end, late = self.state, page.position, bool(self._late)
        if late:
            choice = choose_late(state, page.messages, self._late, now, rules)
            if end >= self._sent:
                self._late.clear()
        else:
            choice = choose(state, page.messages, self._read, end, now, rules)
            choice = choice._replace(state=self._settled(choice.state, page))
        if served := state.delayed.items() - choice.state.delayed.items():
            self._served = self._served | dict(served)
        if choice.state != state:
            self.state = choice.state
            self._unsaved = True
        if len(state.acked) >= MANY_SINGLE > len(choice.state.acked):
            self._save()  # the record has no room for many more
        self._count(choice)
        gaps = [gap for gap in page.gaps if late or gap.id > self._seen]
        self._sent, self._seen = max(self._sent, end), max(self._seen, end)
        self._read = max(self._read, self._skip(end, now) if page.more and not late else end)
        return page._replace(messages=choice.send, gaps=gaps, position=self._read)

    def stand_at(self, position: int) -> None:
        """The session reads on from *position*; it has everything before."""
        self._note_sent()
        self._read = self._seen = position

    def _settled(self, state: ConsumerState, page: Page) -> ConsumerState:
        """*state* with its floor as high as *page* shows that it can be."""
        if self._read > state.floor:
            return state
        ids = (message.id for message in page.messages if message.gap is None)
        state = settle(state, ids, page.position)
        self._crowd = max(MANY_SINGLE, len(state.acked) + MANY_SINGLE // 2)
        return state

    def _skip(self, end: int, now: int) -> int:
        """Where to read on behind *end*, over what was sent and is not due."""
        if self.state.floor >= end:
            return end  # the floor can rise further
        due = self.state.first_due(now, end)
        return max(end, self._sent) if due is None else max(end, min(due, self._sent))

    def _count(self, choice: Choice) -> None:
        if choice.again:
            self._consumers.hub.drops["redelivered"] += choice.again
        if choice.dead:
            self._consumers.bury(self.name, choice.dead, choice.state)

    def state_now(self) -> ConsumerState:
        """The state, with what was sent up to this moment."""
        self._note_sent()
        return self.state

    def take_up(self, after: Mapping[str, int]) -> None:
        """The session, which is not live, is to read these channels from their ids, too."""
        session = self._session
        if session is None or not session.channels:
            self._read = min(after.values())
            return
        for channel, id in after.items():
            if id < self._sent:
                self._late[channel] = min(id, self._late.get(channel, id))

    def _note_sent(self) -> None:
        """Note how far the session has come since this was done last."""
        session = self._session
        if session is None or session.state is State.CLOSED:
            return
        hub = self._consumers.hub
        position = hub.position_of(session)
        if position <= self._sent:
            return
        before, self._sent = max(self._sent, self.state.floor), position
        if before < position and hub.recent.may_have(session.channels, before):
            state, rules = self.state, self._consumers.rules
            if self._lacking > before:
                state = mark_sent(state, self._lacking, self._lacking_since, rules)
            self.state = mark_sent(state, position, self._consumers.now(), rules)
            self._unsaved = True

    # Time

    def tick(self, now: int) -> None:
        """See what was sent, and what is due again. Cheap: called for every consumer."""
        session = self._session
        if session is None:
            if now - self.begun_at > OPENING_MS:
                self.close()  # its client left before the stream began
            return
        if self._saving:
            return
        if not self._late and self._is_behind(session, now):
            self._going_back = True
            self._save()
        elif not self._lacks(session, now):
            self._lacking_since = 0
        elif not self._lacking_since:
            self._lacking_since = now  # an acknowledgement may bring it there before long
            self._lacking = self._consumers.hub.position_of(session)
        elif now - self._lacking_since >= self._consumers.patience_ms:
            self._note_sent()
            self._lacking_since = 0
            if self._lacks(session, now):
                self._save()

    def _is_behind(self, session: Session, now: int) -> bool:
        """Whether something due is before what the session reads next."""
        if not self.state.regions and not self.state.delayed:
            return False
        due = self.state.first_due(now)
        return due is not None and due < self._consumers.hub.position_of(session)

    def _lacks(self, session: Session, now: int) -> bool:
        """Whether there may be something to be written to the record."""
        return (
            self._unsaved
            or max(self._sent, self.state.floor) < self._consumers.hub.position_of(session)
            or now - self._kept_at > self._consumers.refresh_ms
            or (bool(session.channels) and session.channels != self._indexed)
        )

    def look(self) -> None:
        """The record was changed elsewhere: see whether something is wanted now."""
        if not self._saving:
            self._note_sent()
            self._going_back = True
            self._save()

    def own(self, upto: int) -> Own | None:
        """What goes to the record with an acknowledgement of all up to *upto*."""
        session = self._session
        if session is None:
            return None
        if self._consumers.hub.position_of(session) > upto:
            self._note_sent()
        return Own(self.holder, self.state, self._value, self._served)

    def adopt(self, value: bytes, own: Own | None) -> None:
        """Take in what the record says of acknowledgements; *own* is in it already."""
        if not self._begun:
            self._value = value
            return
        state = record = decode(value)
        if record.holder != self.holder:
            return  # somebody else's by now; the claim will be heard
        self._value = value
        if own is not None and own.state is self.state:
            self._served = {}
            self._unsaved = False
            self._lacking_since = 0
        else:
            self._served = dict(self._served.items() & record.delayed.items())
            state = merge(record, self.state, self._served)
        if state.regions and (state.floor != self.state.floor or state.acked != self.state.acked):
            state = at_work(state, self._consumers.now(), self._consumers.rules)
        self.state = state
        if len(self.state.acked) >= self._crowd:
            self._crowd = len(self.state.acked) + MANY_SINGLE // 2
            self._go_back_to(self.state.floor)

    def go_back_if_due(self) -> None:
        """Send again what is due."""
        due = self.state.first_due(self._consumers.now())
        if due is not None:
            self._go_back_to(due)

    def _go_back_to(self, start: int) -> None:
        session = self._session
        if session is not None and session.state is not State.CLOSED and not self._late:
            session.leave()
            self._read = min(self._read, start)
            session.read_again(start)

    # The record

    def _save(self) -> None:
        """Write to the record what was sent; then take in what it says."""
        self._saving = True
        if self._session is not None and self._session.channels:
            self.channels = tuple(self._session.channels)
            if self.channels != self.state.channels:
                self.state = msgspec.structs.replace(self.state, channels=self.channels)
        self._index()
        own = Own(self.holder, self.state, self._value, self._served)
        self._consumers.records.save(self.name, own, self._saved)

    def _index(self) -> None:
        """Have the consumer found by its channels; again now and then, as its record is."""
        now = self._consumers.now()
        index = frozenset(self.channels)
        if index != self._indexed or now - self._kept_at > self._consumers.refresh_ms:
            self._consumers.records.index(self.name, index, self._indexed - index, now)
            self._indexed = index
        self._kept_at = now

    def _saved(self, write: Future[bytes | None]) -> None:
        """What the record says was taken in by ``adopt``."""
        self._saving = False
        going_back, self._going_back = self._going_back, False
        error = None if write.cancelled() else write.exception()
        if error is not None:
            logger.warning("what %s was sent is not kept yet: %s", self.name, error)
        elif going_back and not self.closed:
            self.go_back_if_due()
