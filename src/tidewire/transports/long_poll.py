"""Long polling: the session machine, run for one answer.

A poll that finds nothing is held as a live session, whose first bytes are its answer. All held
polls of the same channels share those bytes, as streams do.
"""

from __future__ import annotations

from collections.abc import Callable

from tidewire.hub import Consumer, Hub, Opening, Session, State
from tidewire.model import Cursor, EngineUnavailable, Page, Replaced, Subscription
from tidewire.model.envelope import GapNotice
from tidewire.transports.fragments import WHOLE
from tidewire.transports.polling import (
    Poll,
    gap_notices,
    poll_form,
    position_after,
    position_lines,
)
from tidewire.transports.wire import Responder


class LongPoll:
    """One held request. Implements the server's ``Pending`` and the hub's ``Sink``.

    *headers* are the answer's constant lines; *deadline* is in seconds of the loop's clock. With
    *extra*, which its body has then, it is not held: a short poll.
    """

    __slots__ = ("_deadline", "_extra", "_form", "_headers", "_hub", "_responder", "session")

    def __init__(
        self,
        responder: Responder,
        hub: Hub,
        *,
        raw: bool,
        recovered: bool,
        headers: bytes,
        deadline: float,
        fragment_size: int = WHOLE,
        policy: str | None = None,
        consumer: Consumer | None = None,
        extra: bytes | None = None,
    ) -> None:
        self._responder = responder
        self._hub = hub
        self._form: Poll = poll_form(raw=raw, recovered=recovered, fragment_size=fragment_size)
        self._headers = headers
        self._deadline = deadline
        self._extra = extra
        self.session = _Held(hub, self, self._form, "", policy, consumer)

    def begin(self, opening: Opening) -> None:
        """Answer with what *opening* found up to the log's head; hold when that is nothing."""
        start, page, recovered = opening
        untold = self.session.take_untold()
        if self.session.consumer is not None:
            page = self.session.consumer.prepare(page)
        gaps = gap_notices(start.gaps + untold, page.gaps, self._hub.engine.epoch)
        position = position_after(page, start.after)
        if page.messages or gaps:
            self._hub.count_gaps(start.gaps + untold + page.gaps)
            form = self._form if recovered and not untold else self._form.unrecovered()
            self._answer_page(form, page, gaps, position)
            return
        self.session.wait_at(dict.fromkeys(start.after, position))
        if page.more:  # all of it was left out: the rest in another turn of the loop
            self._hub.spawn(self._look_in_log(self._wanted()))
        elif self._extra is not None:
            self._answer_page(self._form, page, gaps, position)
        else:
            self._hold(position)

    def _hold(self, position: int) -> None:
        """Wait for what comes behind *position*."""
        if self.session.consumer is not None:
            self.session.consumer.bind(self.session)
        if self.session.state is State.CLOSED:
            return
        if position == self._hub.position:
            self._hub.add(self.session)
        elif position > self._hub.position:
            # A round is to come that must not come to this poll: it has those messages.
            self._hub.after_round(self.look_again)
        else:  # rounds have gone by since it was opened
            self.look_again()

    def look_again(self) -> None:
        """Answer with what there is after the session's position, or be held again."""
        if self.session.state is not State.CATCHING_UP:
            return
        wanted = self._wanted()
        opening = self._hub.open_now(wanted, self._hub.recent.head, policy=self.session.policy)
        if opening is not None:
            self.begin(opening)
        else:
            self._hub.spawn(self._look_in_log(wanted))

    def _wanted(self) -> Subscription:
        """What is behind the session's position."""
        epoch = self._hub.engine.epoch
        after = self.session.after
        cursors = tuple(Cursor(epoch, position) for position in after.values())
        return Subscription(tuple(after), cursors)

    async def _look_in_log(self, wanted: Subscription) -> None:
        session = self.session
        turn = session.turn
        try:
            opening = await self._hub.open(wanted, self._hub.recent.head, policy=session.policy)
        except EngineUnavailable:
            opening = None
        if session.state is State.CATCHING_UP and session.turn == turn:
            if opening is None:
                self._answer_nothing()
            else:
                self.begin(opening)

    def write(self, data: bytes) -> bool:
        """The hub's round has come to this poll: *data* is the whole answer."""
        self._answer(200, data, self._position())
        return True

    def end(self, code: int, reason: str, *, again: bool) -> None:
        """The session is taken away from this poll: the client goes on from where it is."""
        if again:
            self._answer_nothing()
        else:
            self.session.close()
            self._responder.respond_error(Replaced(reason))

    def _position(self) -> int:
        return self._further(self._hub.position_of(self.session))

    def _further(self, position: int) -> int:
        """The position that an answer says: who gets again what is before its own keeps that."""
        consumer = self.session.consumer
        return position if consumer is None else max(position, consumer.received)

    def _answer_page(self, form: Poll, page: Page, gaps: list[GapNotice], position: int) -> None:
        position = self._further(position)
        cursor = self._hub.cursor(position).encode()
        extra = self._extra or b""
        body = form.answer(page.messages, cursor, gaps, more=page.more, extra=extra)
        self._answer(200, body, position)

    def _answer_nothing(self) -> None:
        self._answer(204, b"", self._position())

    def _answer(self, status: int, body: bytes, position: int) -> None:
        self.session.close()
        lines = position_lines(self._hub.cursor(position).encode(), position)
        self._responder.respond(status, self._headers + lines, body)

    # Pending

    def on_timer(self, now: float) -> float:
        if now < self._deadline:
            return self._deadline - now
        self._answer_nothing()
        return 0

    def drain(self) -> None:
        self._answer_nothing()

    def lost(self) -> None:
        self.session.close()


class _Held(Session):
    """A poll's session: it is given one answer, and does not catch up."""

    __slots__ = ("ended",)
    sink: LongPoll

    def __init__(
        self,
        hub: Hub,
        sink: LongPoll,
        form: Poll,
        id: str,
        policy: str | None,
        consumer: Consumer | None,
    ) -> None:
        super().__init__(hub, sink, form, id, policy, consumer)
        self.ended: Callable[[], None] | None = None  # to be told, once

    def close(self) -> None:
        super().close()
        if self.ended is not None:
            ended, self.ended = self.ended, None
            ended()

    def go_back(self, channel: str, position: int) -> None:
        self.leave()
        self.after[channel] = min(self.after[channel], position)
        self.hub.after_round(self.sink.look_again)

    def read_on(self) -> None:
        self.sink.look_again()

    def read_again(self, position: int) -> None:
        self.leave()
        self.after = {channel: min(id, position) for channel, id in self.after.items()}
        self.sink.look_again()
