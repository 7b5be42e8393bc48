"""The session: one subscriber's place in the log, whatever the transport.

Theory of operation
===================

A session is in one of three states:

    CATCHING_UP ──(reached the hub's position)──▶ LIVE
         ▲                                         │
         └──(congested, or new channels)───────────┘        any ──(close)──▶ CLOSED

*Catching up*, ``after`` says for each channel up to which id the subscriber has everything. The
hub reads a page after it (from memory when it can, else from the engine) and ``take`` writes it.
While the sink is congested nothing is read: the log holds the messages, so a slow subscriber
costs no queue. When ``after`` equals the hub's position the session goes live. Where the policy
says so, what it reads is reduced to the latest (``hub/conflation.py``) or its stream is ended.

*Live*, the session is a member of an audience, and ``position`` is the last id that it was served.
It may lag behind the hub's position, when nothing came for its channels, or when a large
round has not reached it yet; ``Hub.position_of`` tells the two apart.

A sink that answers ``False`` to a write has taken the bytes, but wants no more until it calls
``resume``. So leaving ``LIVE`` loses nothing and repeats nothing: what was written is behind
``position``, what was not is in the log.

Rules for who changes this file: every change of ``audience``, ``after`` or ``position`` happens on
the loop's thread without an await in between, and one of ``after`` changes ``turn`` too: a read
carries the session's ``turn``, and is thrown away when that has changed meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Protocol

from tidewire.hub.conflation import Flows
from tidewire.hub.opening import PAGE_BYTES
from tidewire.model import Gap, Message, Page
from tidewire.model.envelope import GapNotice, Ready

if TYPE_CHECKING:
    from tidewire.hub.audience import Audience, Form
    from tidewire.hub.consumer import Consumer
    from tidewire.hub.holes import Break
    from tidewire.hub.hub import Hub
    from tidewire.hub.opening import Opening


logger = logging.getLogger("tidewire.hub")

_NONE: frozenset[str] = frozenset()


class State(Enum):
    """Where a session is in its life."""

    CATCHING_UP = auto()
    LIVE = auto()
    CLOSED = auto()


class Sink(Protocol):
    """Where a session's bytes go."""

    def write(self, data: bytes) -> bool:
        """Take *data* whole. ``False``: nothing more, until ``Session.resume`` is called."""
        ...

    def end(self, code: int, reason: str, *, again: bool) -> None:
        """Tell the client why its stream ends, close the session, and end once that is sent.

        *code* is one of those that close a WebSocket; *again*: the client may come back.
        """
        ...


class _Nobody:
    """The sink of who has gone."""

    def write(self, data: bytes) -> bool:
        return True

    def end(self, code: int, reason: str, *, again: bool) -> None:
        pass


_NOBODY = _Nobody()


class Session:
    """One subscriber; ``close`` it when its connection is gone."""

    __slots__ = (
        "_gaps",
        "_slow",
        "_unread",
        "_waiting_for_live",
        "after",
        "audience",
        "channels",
        "congested",
        "consumer",
        "form",
        "hub",
        "id",
        "policy",
        "position",
        "sink",
        "state",
        "turn",
    )

    def __init__(
        self,
        hub: Hub,
        sink: Sink,
        form: Form,
        id: str,
        policy: str | None = None,
        consumer: Consumer | None = None,
    ) -> None:
        self.hub = hub
        self.sink = sink
        self.form = form
        self.id = id
        self.policy = policy  # the subscriber's own, before those of the namespaces
        self.consumer = consumer  # says what of its past comes again
        self.state = State.CATCHING_UP
        self.channels: frozenset[str] = frozenset()
        self.audience: Audience | None = None
        self.position = 0
        self.after: dict[str, int] = {}
        self.congested = False
        self.turn = 0
        self._slow = False  # fell behind while it was live
        self._gaps: list[Gap] = []  # to be told when the stream has come to their ids
        self._unread = _NONE  # channels of which no page has been read since they were asked for
        self._waiting_for_live: list[Callable[[], None]] | None = None

    @property
    def cursor(self) -> str:
        """A right cursor for all the session's channels at this point of its stream."""
        return self.hub.cursor(self.hub.position_of(self))

    def begin(self, opening: Opening | None, *, heartbeat: int = 0, timeout: int = 0) -> bytes:
        """Start at *opening*, or without channels; return ``ready`` and the first page as bytes.

        The caller writes them behind the stream's head, then calls ``go_on``. *heartbeat* and
        *timeout* are what ``ready`` says of the stream, in ms.
        """
        if opening is None:
            cursor = self.hub.cursor(self.hub.recent.head)
            ready = Ready(cursor, self.id, False, (), heartbeat, timeout)
            return self.form.control(ready, cursor)
        self.after.update(opening.start.after)
        self._gaps += opening.start.gaps
        channels = tuple(self.after)
        self.channels = self._unread = frozenset(channels)
        self.hub.interest.note(channels)
        self.hub.behind.add(self)
        cursor = self.hub.cursor(min(self.after.values()))
        ready = Ready(cursor, self.id, opening.recovered, channels, heartbeat, timeout)
        page = opening.page
        if len(page.messages) == 1 and page.messages[0].size > PAGE_BYTES and not page.gaps:
            # Read again when it is this session's turn: then its bytes are shared, not copied here.
            return self.form.control(ready, cursor)
        return self.form.control(ready, cursor) + self.take(page)

    def go_on(self, *, more: bool, congested: bool) -> None:
        """The bytes of ``begin`` were written; *more* is what its page said."""
        if self.consumer is not None:
            self.consumer.bind(self)
        if congested:
            self.fall_behind()
        self.hub.advance(self, more=more)

    def wait_at(self, after: dict[str, int]) -> None:
        """Stand at *after* without reading on: for a poll that waits to be held."""
        self.after = after
        self.channels = frozenset(after)
        self.hub.interest.note(after)
        self.hub.behind.add(self)

    # Catching up

    def follow(self, after: dict[str, int], gaps: list[Gap], now: frozenset[str] = _NONE) -> None:
        """Also follow the channels of *after*, each from its id; *gaps* are told in their place.

        A channel in *now*, which is to start at the newest message, stays where it is if it is
        followed already: there may be messages due.
        """
        self.leave()
        if self.consumer is not None:
            self.consumer.take_up(after)
        if now:
            held = now & self.after.keys()
            after = {channel: id for channel, id in after.items() if channel not in held}
        self.after.update(after)
        # What was missing before the place that it had until now is nothing to the new one.
        self._gaps = [gap for gap in self._gaps if gap.channel not in after] + gaps
        self._unread |= after.keys()
        self._set_channels()
        self.hub.catch_up(self)

    def unfollow(self, channels: frozenset[str]) -> None:
        """Follow these channels no longer; nothing of theirs is written after this returns."""
        self.leave()
        for channel in channels:
            self.after.pop(channel, None)
        self._gaps = [gap for gap in self._gaps if gap.channel not in channels]
        self._unread -= channels
        self._set_channels()
        self.hub.catch_up(self)

    def go_back(self, channel: str, position: int) -> None:
        """Read *channel* again after *position*, unless the session is not so far yet.

        To be called before a round, which the session is not part of then.
        """
        self.leave()
        if self.consumer is not None:
            self.consumer.take_up({channel: position})
        self.after[channel] = min(self.after[channel], position)
        self._unread |= {channel}  # what is gone there is not gone for want of speed
        self.hub.after_round(partial(self.hub.catch_up, self))

    def go_over(self, broken: Break) -> None:
        """Read all channels again after *broken*, unless the session stands beyond it.

        To be called before a round, which the session is not part of then.
        """
        self.leave()
        if broken.anew:
            after = dict.fromkeys(self.after, 0)
            self._gaps = [Gap(channel, 0, "reset") for channel in self.after]
        else:
            after = {
                channel: id if id > broken.reached else min(id, broken.after)
                for channel, id in self.after.items()
            }
        if self.consumer is not None and after:
            self.consumer.take_up(after)
        self.after = after
        self._unread = self.channels  # what is gone there is not gone for want of speed
        self.hub.after_round(self.read_on)

    def read_on(self) -> None:
        """Read from the log what is behind the session's place."""
        self.hub.catch_up(self)

    def take_untold(self) -> list[Gap]:
        """The gaps that are still to be told, for whoever tells them in another way."""
        untold, self._gaps = self._gaps, []
        return untold

    def read_again(self, position: int) -> None:
        """Read all channels again after *position*, unless the session is not so far yet."""
        self.leave()
        self.after = {channel: min(id, position) for channel, id in self.after.items()}
        self._unread = self.channels
        self.hub.catch_up(self)

    def _set_channels(self) -> None:
        self.channels = frozenset(self.after)
        self.hub.interest.note(self.channels)
        self.turn += 1
        self.hub.behind.add(self)

    def take(self, page: Page) -> bytes:
        """Move past *page* and return the bytes that carry it, ``b""`` for an empty one.

        What the first page of a channel finds missing was gone before it was asked for; later
        it is gone because the subscriber was slow, unless it was withdrawn: of those the log
        says how many they are.
        """
        self.turn += 1  # a second read under way from the same place must not be taken too
        if self.consumer is not None:
            page = self.consumer.prepare(page)
        after = self.after
        for gap in page.gaps:
            # Told in its place in the order; not to be found again by the next read.
            after[gap.channel] = max(after[gap.channel], gap.id)
            if gap.reason == "expired" and not gap.skipped and gap.channel not in self._unread:
                gap = gap._replace(reason="slow")
            self._gaps.append(gap)
        self._unread = _NONE
        end = page.position
        for channel, position in after.items():
            if position < end:
                after[channel] = end
        if self._gaps:
            return self._with_gaps(page.messages, end)
        return self.form.messages(page.messages) if page.messages else b""

    def _with_gaps(self, messages: list[Message], end: int) -> bytes:
        """*messages* with each gap up to *end* between those before and those after it."""
        parts: list[bytes] = []
        begin = 0
        due = sorted((gap for gap in self._gaps if gap.id <= end), key=lambda gap: gap.id)
        self._gaps = [gap for gap in self._gaps if gap.id > end]
        self.hub.count_gaps(due)
        for gap in due:
            index = begin
            while index < len(messages) and messages[index].id <= gap.id:
                index += 1
            if index > begin:
                parts.append(self.form.messages(messages[begin:index]))
                begin = index
            cursor = self.hub.cursor(gap.id)
            notice = GapNotice(cursor, gap.channel, gap.reason, gap.skipped)
            parts.append(self.form.control(notice, cursor))
        if begin < len(messages):
            parts.append(self.form.messages(messages[begin:]))
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        """Write bytes of the stream outside a round."""
        try:
            if not self.sink.write(data):
                self.fall_behind()
        except Exception as error:
            self.give_up(error)

    def reached(self, otherwise: int) -> int:
        """The id up to which a stream that catches up is complete; *otherwise*: without channels.

        It is below any gap that is still to be told, so that who resumes there is told of it.
        """
        position = min(self.after.values(), default=otherwise)
        for gap in self._gaps:
            position = min(position, max(gap.id - 1, 0))
        return position

    # Between the states

    def go_live(self, audience: Audience, position: int) -> None:
        """Enter *audience*: everything up to *position* was written."""
        self.audience = audience
        self.position = position
        self.after = {}
        self.state = State.LIVE
        self._slow = False
        self.hub.behind.discard(self)
        waiting, self._waiting_for_live = self._waiting_for_live, None
        for callback in waiting or ():
            callback()

    def when_live(self, callback: Callable[[], None]) -> None:
        """Call *callback* once the session is live; at once if it is."""
        if self.state is State.LIVE:
            callback()
        elif self.state is State.CATCHING_UP:
            if self._waiting_for_live is None:
                self._waiting_for_live = []
            self._waiting_for_live.append(callback)

    def leave(self) -> None:
        """Leave the audience, if the session is in one, and go back to catching up."""
        if self.audience is not None:
            position = self.hub.position_of(self)
            self.after = dict.fromkeys(self.channels, position)
            if self.consumer is not None:
                self.consumer.stand_at(position)
            self.hub.remove(self)
            self.audience = None
            self.state = State.CATCHING_UP
            self.hub.behind.add(self)
        self.turn += 1

    def fall_behind(self) -> None:
        """The sink is congested: read on from the log when it has drained, if the policy is so.

        Who is congested while it catches up takes what there is at its own pace. It has not
        fallen behind, so no policy is for it.
        """
        self.congested = True
        self.hub.count_slow()
        if self.state is State.LIVE:
            if self._flows.any_is("disconnect", self.channels):
                self.hub.drops["disconnected"] += 1
                self.sink.end(1013, "too slow", again=True)
                return
            self._slow = True
        self.leave()

    @property
    def conflating(self) -> Flows | None:
        """How what it catches up with is reduced to the latest; ``None``: it gets all."""
        if self.consumer is not None:
            return None  # what it was never sent it could not acknowledge
        if self._slow or self.policy == "latest":
            flows = self._flows
            if flows.any_is("latest", self.channels):
                return flows
        return None

    @property
    def _flows(self) -> Flows:
        return Flows(self.hub.engine.namespaces, self.policy)

    def resume(self) -> None:
        """The sink has drained."""
        if self.congested:
            self.congested = False
            self.hub.advance(self, more=True)  # in its turn: many may drain at the same moment

    def give_up(self, error: Exception) -> None:
        """The sink has failed, which no sink should: say so, and go on with the others."""
        facts = {"connection": getattr(self.sink, "number", None)}
        logger.error("a subscriber was given up", exc_info=error, extra={"facts": facts})
        self.close()

    def close(self) -> None:
        """Forget the subscriber."""
        if self.state is not State.CLOSED:
            if self.consumer is not None:
                self.consumer.close()
            if self.audience is not None:
                self.hub.remove(self)
                self.audience = None
            self.state = State.CLOSED
            self.hub.behind.discard(self)
            self.turn += 1
            self.after = {}
            self.sink = _NOBODY  # who has sessions of its own is one's sink, too
            self._waiting_for_live = None
