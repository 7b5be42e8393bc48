"""The hub: hands the log's new messages to the sessions, and lets those behind catch up.

New messages are gathered for one turn of the loop and handed out as a *round*: each audience
gets its messages of the round as one piece of bytes. Large rounds are cut into slices, so that
the loop answers others in between; the next round starts when the last one is through, with all
that has come meanwhile. So the busier the server, the larger the rounds and the fewer the writes.

Two positions matter. ``recent.head`` is the newest message taken from the log: what polls and new
subscribers see. ``position`` is the newest message that a round has begun to hand out: a session
may go live only when it has read exactly up to there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from tidewire.hub.audience import Audience, Delivery, Form
from tidewire.hub.coalescing import Coalescing
from tidewire.hub.conflation import Flows, conflated, read_conflated
from tidewire.hub.holes import Break, Hole, Sequences
from tidewire.hub.interest import Interest
from tidewire.hub.listeners import Listeners, Missed
from tidewire.hub.opening import (
    PAGE_BYTES,
    PAGE_MESSAGES,
    Opening,
    Start,
    open_from_log,
    open_from_memory,
    read_page,
    start_from_log,
    start_from_memory,
)
from tidewire.hub.pages import Pages, ReadKey, SharedReads
from tidewire.hub.recent import Recent
from tidewire.hub.session import Session, State
from tidewire.log.answers import Answers
from tidewire.log.engine import Engine
from tidewire.model import EngineUnavailable, Gap, Message, Page, Subscription

logger = logging.getLogger("tidewire.hub")

SLICE = 1_000  # deliveries a turn: some 6 ms of the loop
ROUND_BYTES = 1 << 20
READS_AT_ONCE = 4
CATCH_UP_SECONDS = 0.0003  # of a turn of the loop: live messages wait no longer for it
RETRY_SECONDS = 0.5

_NEVER = 1 << 63

_Read = tuple[ReadKey, Flows | None]
_Reader = tuple[Session, int, Page | None]
"""Who waits for its turn, since which of its own turns, and the page if that is there already."""


class Hub:
    """One per worker. Everything runs on one loop's thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.answers = Answers()  # to what was appended
        self.recent = Recent(0, engine.namespaces)
        self.position = 0
        self.messages = 0  # that came from the log, without those of the servers' own
        self.slow_sessions = 0
        self.drops: Counter[str] = Counter()  # by reason
        self.behind: set[Session] = set()  # all that are not live
        self._prefix = ""
        self._audiences: dict[tuple[frozenset[str], Form], Audience] = {}
        self._by_channel: dict[str, dict[Audience, None]] = {}
        self._sequences = Sequences()
        self._holes: deque[Hole] = deque()
        self._breaks: deque[Break] = deque()
        self._fed: list[Message] = []
        self._unsent: deque[Message] = deque()
        self._deliveries: deque[Delivery] = deque()
        self._turn_is_due = False
        self._early: list[Callable[[], None]] = []
        self._listeners = Listeners(engine, self.spawn)
        #: The channels of which somebody here wants the messages.
        self.interest = Interest(self._by_channel, self._listeners)
        self._ready: deque[_Reader] = deque()
        self._pages = Pages()
        self._shared_reads = SharedReads(engine)
        self._reads: dict[_Read, list[tuple[Session, int]]] = {}
        self._queued_reads: deque[_Read] = deque()
        self._reads_under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        #: To be held for a turn of the loop before a large page is made.
        self.large_page = asyncio.Lock()

    async def start(self) -> None:
        """Open the engine and begin to follow it.

        Raises:
            EngineUnavailable: if the engine cannot be opened.
        """
        self._loop = asyncio.get_running_loop()
        self._coalescing = Coalescing(self.engine.namespaces, self._loop, self._give_held)
        self._coalesces = self.engine.namespaces.coalesces
        self.engine.wanted = self.interest
        head = await self.engine.open(self._feed, self._broken)
        self.recent = Recent(head, self.engine.namespaces)
        self.position = head
        self._prefix = f"{self.engine.epoch}-"

    async def stop(self) -> None:
        """Stop reading, and close the engine."""
        self._coalescing.stop()
        self._queued_reads.clear()  # a read that ends would begin the next
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.engine.close()

    def cursor(self, position: int) -> str:
        """A position as clients see it."""
        return self._prefix + str(position)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* as a task that the hub keeps until it is done."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Starting a subscription

    def start_now(self, wanted: Subscription) -> Start | None:
        """Where *wanted* starts, if memory alone can tell."""
        return start_from_memory(self.recent, self.engine.epoch, wanted)

    async def start_of(self, wanted: Subscription) -> Start:
        """Where *wanted* starts. See ``start_from_log`` for what it raises."""
        return await start_from_log(self.engine, self.recent, wanted)

    def open_now(
        self, wanted: Subscription, upto: int, most: int | None = None, policy: str | None = None
    ) -> Opening | None:
        """The start of *wanted* and its first page up to *upto*, if memory alone can tell.

        With the policy ``latest`` the page is what is left of a whole stretch.
        """
        flows, most = self._opening_bounds(policy, most)
        return open_from_memory(self.recent, self.engine.epoch, wanted, upto, most, flows)

    async def open(
        self, wanted: Subscription, upto: int, most: int | None = None, policy: str | None = None
    ) -> Opening:
        """The same with the engine's help. See ``open_from_log`` for what it raises."""
        self.interest.note(wanted.channels)
        flows, most = self._opening_bounds(policy, most)
        return await open_from_log(
            self.engine, self._shared_reads, self.recent, wanted, upto, most, flows
        )

    def _opening_bounds(self, policy: str | None, most: int | None) -> tuple[Flows | None, int]:
        if policy == "latest":
            return Flows(self.engine.namespaces, policy), PAGE_MESSAGES
        return None, most or PAGE_MESSAGES

    # Rounds

    def _feed(self, messages: list[Message]) -> None:
        self._fed += messages
        self._take_turn()

    def _broken(self, after: int, upto: int) -> None:
        """The feed goes on behind *upto*; see ``Broken`` in ``log/engine.py``."""
        self._take_fed()
        reached = self.recent.head
        prefix = f"{self.engine.epoch}-"
        anew = prefix != self._prefix
        if anew:  # no place in the other log is one in this
            self._prefix = prefix
            self._unsent.clear()
            self._holes.clear()
            self._breaks.clear()
        logger.warning("the feed is broken behind %d: reading the log up to %d", after, upto)
        self.drops["hole"] += 1
        self._breaks.append(Break(after, upto, reached, anew))
        self._sequences = Sequences()
        self.recent.skip_to(upto)
        self._pages = Pages()
        self._take_turn()

    def _take_fed(self) -> None:
        if not self._fed:
            return
        fed, self._fed = self._fed, []
        holes = self._sequences.holes(fed)
        self.recent.extend(fed)
        for hole in holes:
            logger.warning("the feed has a hole in %s: reading the log", hole.channel)
            self.drops["hole"] += 1
            self.recent.forget_below(hole.before)
        self._holes += holes
        self._unsent.extend(fed)

    def _take_turn(self) -> None:
        """Do what there is to do in the loop's next turn."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Hand out what is new; behind that, some of those who are not live catch up."""
        self._turn_is_due = False
        try:
            self._hand_out()
        finally:  # one failure must not hold up the others
            if self._ready:
                self._run_ready()

    def _hand_out(self) -> None:
        """Rounds, as far as a slice goes."""
        self._take_fed()
        left = SLICE
        while True:
            if not self._deliveries:
                if not self._unsent and not self._breaks:
                    return
                self._begin_round()
            left = self._run_deliveries(left)
            if left <= 0:
                break
        self._take_turn()

    def _go_around(self, hole: Hole) -> None:
        """Have everyone who may lack what *hole* hides read it from the log, or the gap there.

        It is found late, so some may be past it already. Who stood between its edges may get a
        message again: that is better than none.
        """
        sessions = [
            session
            for audience in self._by_channel.get(hole.channel, ())
            for session in audience.members
        ]
        sessions += [session for session in self.behind if hole.channel in session.channels]
        for session in sessions:
            session.go_back(hole.channel, hole.after)

    def _go_over(self, broken: Break) -> None:
        """Have everyone read on from the log, up to where the feed goes on, or further on."""
        sessions = [
            session for audience in self._audiences.values() for session in audience.members
        ]
        sessions += self.behind
        for session in sessions:
            session.go_over(broken)
        self.position = broken.upto
        self._listeners.read(min(broken.after, broken.reached), broken.upto)

    def _run_deliveries(self, most: int) -> int:
        deliveries = self._deliveries
        while deliveries and most > 0:
            delivery = deliveries[0]
            left = delivery.run(most)
            if left > 0:
                return 0
            most = -left  # what is left of the slice
            delivery.audience.delivery = None
            deliveries.popleft()
        return most

    def _begin_round(self) -> None:
        """Take what is unsent, up to a size or the next hole, and make each audience's bytes."""
        shares: dict[Audience, list[Message]] = {}
        size = 0
        unsent, by_channel, holes = self._unsent, self._by_channel, self._holes
        if self._breaks and (not unsent or unsent[0].id > self._breaks[0].upto):
            self._go_over(self._breaks.popleft())
        base = self.position
        if holes and unsent and holes[0].before == unsent[0].id:
            self._go_around(holes.popleft())
        upto = holes[0].before if holes else _NEVER
        if self._breaks:
            upto = min(upto, self._breaks[0].upto + 1)
        count = len(unsent)
        while unsent and size < ROUND_BYTES and unsent[0].id < upto:
            message = unsent[0]
            audiences = by_channel.get(message.channel)
            if not message.data and audiences is not None and message.is_trace:
                if self.position != base:
                    break  # the next round begins with it
                self._fetch(message, audiences)
                audiences = None
            unsent.popleft()
            self.position = message.id
            if audiences is None:
                if message.channel in self._listeners:
                    self.messages -= 1  # it is the servers' own
                    self._early.append(partial(self._listeners.hear, message))
                continue
            size += message.size
            for audience in audiences:
                share = shares.get(audience)
                if share is None:
                    shares[audience] = [message]
                else:
                    share.append(message)
        last = self.position
        self.messages += count - len(unsent)
        # The smallest first: a few who hold a channel of their own do not wait for a crowd.
        ordered = sorted(shares.items(), key=_size) if len(shares) > 1 else shares.items()
        for audience, messages in ordered:
            self._give_share(audience, messages, base, last)
        if self._early:
            early, self._early = self._early, []
            for callback in early:
                callback()

    def _give_share(
        self, audience: Audience, messages: list[Message], base: int, last: int
    ) -> None:
        if self._coalesces:
            if audience.held:
                base = audience.held_base
            messages = self._coalescing.share(audience, messages, base)
            if not messages:
                return
        delivery = Delivery(audience, audience.form.messages(messages), base, last)
        audience.delivery = delivery
        self._deliveries.append(delivery)

    def _give_held(self, audience: Audience) -> None:
        """What is held for *audience* has waited long enough."""
        messages = self._coalescing.take(audience)
        data = audience.form.messages(messages)
        delivery = Delivery(audience, data, audience.held_base, messages[-1].id)
        audience.delivery = delivery
        self._deliveries.append(delivery)
        self._take_turn()

    def _fetch(self, trace: Message, audiences: Iterable[Audience]) -> None:
        """Have the members of *audiences* read from the log what came as a *trace* only.

        They have come since the engine asked whether anybody wants it.
        """
        channel = trace.channel
        self.interest.note((channel,))
        for session in [session for audience in audiences for session in audience.members]:
            session.go_back(channel, self.position)

    def after_round(self, callback: Callable[[], None]) -> None:
        """Call *callback* once the next round has been begun."""
        self._early.append(callback)

    def listen(
        self, channel: str, callback: Callable[[Message], None], missed: Missed | None = None
    ) -> None:
        """Call *callback* with each later message of *channel*, which begins with ``!``.

        It is called once the round that holds the message has been begun, so it may move or close
        sessions. Such channels are the servers' own: no client can follow them. *missed* is awaited
        if this process was cut off from the log until some of the messages were gone.
        """
        self._listeners.add(channel, callback, missed)

    def position_of(self, session: Session) -> int:
        """The id up to which the session's stream is complete."""
        audience = session.audience
        if audience is None:
            return session.reached(self.position)
        delivery = audience.delivery
        if delivery is not None and session.position < delivery.last:
            return max(session.position, delivery.base)
        if audience.held and session.position < audience.held[-1].id:
            return max(session.position, audience.held_base)
        return self.position

    # Audiences

    def add(self, session: Session) -> None:
        """Make *session* live: it has everything up to ``position``."""
        key = (session.channels, session.form)
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(session.channels, session.form)
            for channel in session.channels:
                self._by_channel.setdefault(channel, {})[audience] = None
        elif audience.held:
            self._give_held(audience)  # the newcomer has read it: it is for the others alone
        session.channels = audience.channels
        audience.members[session] = None
        session.go_live(audience, self.position)

    def remove(self, session: Session) -> None:
        """Take *session* out of its audience."""
        audience = session.audience
        if audience is None:
            return
        del audience.members[session]
        if not audience.members:
            del self._audiences[audience.channels, audience.form]
            for channel in audience.channels:
                audiences = self._by_channel[channel]
                del audiences[audience]
                if not audiences:
                    del self._by_channel[channel]

    @property
    def live_sessions(self) -> int:
        """How many sessions are live."""
        return sum(len(audience.members) for audience in self._audiences.values())

    def count_slow(self) -> None:
        """Count a session that fell behind because its client took its bytes too slowly."""
        self.slow_sessions += 1

    def count_gaps(self, gaps: list[Gap]) -> None:
        """Count gaps that a subscriber is told."""
        for gap in gaps:
            self.drops[gap.reason] += 1
            if gap.skipped:
                self.drops["skipped"] += gap.skipped

    # Catching up

    def catch_up(self, session: Session) -> None:
        """Move *session* on by one page; called again until it is live.

        Does nothing while the session is congested: its sink's ``resume`` comes back here.
        """
        if session.state is not State.CATCHING_UP or session.congested:
            return
        position = self.position
        if any(after > position for after in session.after.values()):
            # It knows more than the rounds have handed out; it joins when they get there.
            self.after_round(partial(self.catch_up, session))
            return
        flows = session.conflating
        page = self.recent.page(session.after, position, PAGE_MESSAGES, PAGE_BYTES)
        key = () if page is not None and flows is None else tuple(session.after.items())
        if flows is None:
            page = page or self._pages.get(key)
        elif page is not None:
            page = None if page.more else conflated(page, flows)
        if page is not None:
            self._give(session, page)
            return
        read = (key, flows)
        waiting = self._reads.get(read)
        if waiting is not None:  # the same read is under way: one serves all
            waiting.append((session, session.turn))
            return
        self._reads[read] = [(session, session.turn)]
        self._queued_reads.append(read)
        self._start_reads()

    def _catch_up_if(self, session: Session, turn: int) -> None:
        """Catch up, unless the session was moved on by something else since *turn*."""
        if session.turn == turn:
            self.catch_up(session)

    def _give(self, session: Session, page: Page) -> None:
        data = session.take(page)
        if data:
            session.write(data)
        self.advance(session, more=page.more)

    def advance(self, session: Session, *, more: bool) -> None:
        """After a page: live if that was all, else another page in a later turn of the loop."""
        if session.state is not State.CATCHING_UP or session.congested:
            return
        if not more and all(after == self.position for after in session.after.values()):
            self.add(session)
            return
        self._ready.append((session, session.turn, None))
        self._take_turn()

    def _run_ready(self) -> None:
        """A page for each session that waits for its turn, until this turn's time is used up."""
        until = time.perf_counter() + CATCH_UP_SECONDS
        for _ in range(len(self._ready)):
            session, turn, page = self._ready.popleft()
            if page is None:
                self.catch_up(session)
            elif session.turn == turn:
                self._give(session, page)
            if time.perf_counter() >= until:
                break
        if self._ready:
            self._take_turn()

    def _start_reads(self) -> None:
        while self._queued_reads and self._reads_under_way < READS_AT_ONCE:
            self._reads_under_way += 1
            self.spawn(self._read(self._queued_reads.popleft()))

    async def _read(self, read: _Read) -> None:
        key, flows = read
        page: Page | None = None
        try:
            if flows is None:
                page = await self.engine.read(dict(key), self.position, PAGE_MESSAGES, PAGE_BYTES)
                self._pages.put(key, page)
            else:
                one = partial(
                    read_page, self._shared_reads, self.recent, self.position, PAGE_MESSAGES
                )
                page = await read_conflated(one, dict(key), flows)
        except EngineUnavailable as error:
            logger.warning("catching up waits for the engine: %s", error.detail)
        except Exception:
            logger.exception("a read failed; it is tried again")
        finally:
            self._reads_under_way -= 1
            waiting = self._reads.pop(read)
            self._start_reads()
        for session, turn in waiting:
            if session.turn != turn or session.state is not State.CATCHING_UP:
                continue
            if page is None:
                self._loop.call_later(RETRY_SECONDS, self._catch_up_if, session, turn)
            else:  # in its turn: hundreds may have waited for the same page
                self._ready.append((session, turn, page))
        if self._ready:
            self._take_turn()


def _size(share: tuple[Audience, list[Message]]) -> int:
    return len(share[0].members)
