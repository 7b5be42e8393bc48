"""The commands of one WebSocket connection: carried out in order, each answered with its ``ref``.

A command may take time (``block``): those behind it wait, because a client may rely on their
order. Only publishes and acknowledgements wait for nothing: the engine keeps their order, and
groups them. When too many are under way the connection is read no further.
"""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

from tidewire.hub import Consumers, Holding, Hub, Presence
from tidewire.model import BadRequest, Receipt, TidewireError
from tidewire.model.envelope import Control, Error, Ok
from tidewire.transports import commands
from tidewire.transports.acknowledging import ack, nack
from tidewire.transports.commands import (
    Ack,
    Chunk,
    Command,
    History,
    Nack,
    Ping,
    Publish,
    Ref,
    Refresh,
    Subscribe,
    Unsubscribe,
    Upload,
)
from tidewire.transports.following import subscribe, unsubscribe
from tidewire.transports.frames import Frames
from tidewire.transports.gate import OPEN_GATE, Gate
from tidewire.transports.history import history
from tidewire.transports.pacing import Pacer, Pacing
from tidewire.transports.presence import presence
from tidewire.transports.publish import Limits, check_alone, drafts_of, drafts_of_batch, is_for_many
from tidewire.transports.uploading import Uploading, chunk, upload
from tidewire.transports.wire import BUSY, Wire
from tidewire.uploads import Intake

T = TypeVar("T")
Given = TypeVarTuple("Given")

# Publishes and acknowledgements without their answer, or commands behind one that takes time
MOST_UNDER_WAY = 128


class Rules(NamedTuple):
    """What commands may ask for, how fast, and whom they ask: for what there is, of the three."""

    limits: Limits
    most_channels: int
    pacing: Pacing
    uploads: Intake | None = None
    consumers: Consumers | None = None
    presence: Presence | None = None


class Dialogue:
    """One connection's commands and their answers. ``end`` it when the connection closes."""

    __slots__ = (
        "_blocked",
        "_pacer",
        "_under_way",
        "_waiting",
        "ended",
        "form",
        "gate",
        "holding",
        "hub",
        "rules",
        "session",
        "uploading",
        "wire",
    )

    def __init__(
        self, wire: Wire, hub: Hub, form: Frames, holding: Holding, gate: Gate, rules: Rules
    ) -> None:
        self.wire = wire
        self.gate = gate
        self.hub = hub
        self.form = form
        self.holding = holding
        self.session = holding.session
        self.rules = rules
        self.uploading: Uploading | None = None
        self.ended = False
        self._pacer = Pacer(wire, hub, gate, rules.pacing)
        self._under_way = 0
        self._blocked = False
        self._waiting: deque[bytes] | None = None

    def end(self) -> None:
        """Answer nothing any more, and take up nothing that waits."""
        self.ended = self._pacer.ended = True
        uploading, self.uploading = self.uploading, None
        if uploading is not None:
            uploading.end()

    def command(self, data: bytes) -> None:
        """Carry out a command, or keep it while one before it is under way."""
        refusal = self._pacer.refusal(len(data), uploads=self.uploading is not None)
        if refusal is not None:
            self.refuse(self.form.codec.ref_of(data), refusal)
            self._pacer.give_up(refusal)
            return
        if not self._blocked:
            self._carry_out(data)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(data)
        if len(self._waiting) == MOST_UNDER_WAY:
            self.wire.stop_reading(BUSY)

    def chunk(self, uploading: Uploading, data: bytes) -> None:
        """Take in a chunk of an upload that came as a frame of its own."""
        self._pacer.charge(1, len(data))
        uploading.frame(data)

    def _carry_out(self, data: bytes) -> None:
        ref: Ref = None
        try:
            try:
                command = self.form.codec.command(data, self.rules.limits.json_depth)
            except BadRequest:
                ref = self.form.codec.ref_of(data)
                raise
            ref = command.ref
            if command.addresses:
                command.resolve(self._own_channels)
            if command.needs is not None and self.gate is not OPEN_GATE:
                self.gate.check(command.needs, command.names())
            _HANDLERS[type(command)](self, command)
        except TidewireError as error:
            self.refuse(ref, error)

    def answer(self, envelope: Control) -> None:
        """Send an answer, unless the connection has ended."""
        if not self.ended:
            self.wire.write(self.form.control(envelope))

    def refuse(self, ref: Ref, error: TidewireError) -> None:
        """Answer that the command was refused; the connection goes on."""
        if error.refusal is not None:
            self.rules.pacing.refusals[error.refusal] += 1
        self.answer(Error(error.code, error.detail, ref))

    def block(self, ref: Ref, work: Coroutine[None, None, None]) -> None:
        """Do *work* before any later command; what it raises refuses the command *ref*."""
        self._blocked = True
        self.hub.spawn(self._then_go_on(ref, work))

    async def _then_go_on(self, ref: Ref, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except TidewireError as error:
            self.refuse(ref, error)
        self._blocked = False
        waiting = self._waiting
        while waiting and not self._blocked and not self.ended:
            self._carry_out(waiting.popleft())
        if not waiting:
            self._read_on()

    def _read_on(self) -> None:
        """Take commands again, if few answers are under way and nothing waits behind another.

        To be called when either may have changed: whichever comes last must find the other gone.
        """
        if not self._blocked and self._under_way <= MOST_UNDER_WAY // 2:
            self.wire.read_on(BUSY)

    def publish(self, command: Publish) -> None:
        """Publish, and answer when the engine holds it."""
        many = command.messages
        if many is not None:
            check_alone(command)
            drafts = drafts_of_batch(many, self.rules.limits)
            self._pacer.charge(len(drafts) - 1)
        else:
            if not command.data:
                raise BadRequest('publish needs "data"')
            drafts = drafts_of(command, self.rules.limits)
            if len(drafts) > 1:
                self._pacer.charge(len(drafts) - 1)
        # Publishes wait for no answer: the engine keeps their order, and groups them.
        future = self.hub.engine.append(drafts)
        listed = many is not None or is_for_many(command)
        if self.hub.answers.is_next(future):
            self._published(command.ref, listed, future)
        else:
            answer = self.under_way(self._published, command.ref, listed)
            self.hub.answers.when_done(future, answer)

    def under_way(
        self, answer: Callable[[*Given, Future[T]], None], *given: *Given
    ) -> Callable[[Future[T]], None]:
        """What calls *answer* with the *given* and a future that is done.

        Later commands do not wait for that.
        """
        self._under_way += 1
        if self._under_way == MOST_UNDER_WAY:
            self.wire.stop_reading(BUSY)
        return partial(self._done, answer, *given)

    def _done(self, answer: Callable[..., None], *given: object) -> None:
        self._under_way -= 1
        if self._under_way == MOST_UNDER_WAY // 2:
            self._read_on()
        answer(*given)

    def _own_channels(self) -> tuple[str, ...]:
        return self.gate.caller.own_channels(self.holding.terms.device)

    def _published(self, ref: Ref, listed: bool, future: Future[list[Receipt]]) -> None:
        error = future.exception()
        if error is None:
            receipts = future.result()
            if listed:
                self.answer(Ok(ref, results=[self._result(receipt) for receipt in receipts]))
            else:
                (receipt,) = receipts
                self.answer(Ok(ref, self.hub.cursor(receipt.id), receipt.channel, receipt.seq))
        elif isinstance(error, TidewireError):
            self.refuse(ref, error)
        else:
            raise error

    def _result(self, receipt: Receipt) -> dict[str, str | int]:
        cursor = self.hub.cursor(receipt.id)
        return {"channel": receipt.channel, "id": cursor, "seq": receipt.seq}


def _ping(dialogue: Dialogue, command: Ping) -> None:
    dialogue.answer(Ok(command.ref))


def _refresh(dialogue: Dialogue, command: Refresh) -> None:
    """Stay by a new token; answered with ``expires``, in Unix seconds."""
    if not command.token:
        raise BadRequest('refresh needs "token"')
    dialogue.block(command.ref, _refresh_later(dialogue, command))


async def _refresh_later(dialogue: Dialogue, command: Refresh) -> None:
    expires = await dialogue.gate.renew(command.token, dialogue.session.channels)
    dialogue.answer(Ok(command.ref, expires=expires))


_HANDLERS: dict[type[Command], Callable[[Dialogue, Any], None]] = {
    Publish: Dialogue.publish,
    Subscribe: subscribe,
    Unsubscribe: unsubscribe,
    History: history,
    Ping: _ping,
    Ack: ack,
    Nack: nack,
    commands.Presence: presence,
    Upload: upload,
    Chunk: chunk,
    Refresh: _refresh,
}
