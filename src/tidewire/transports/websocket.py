"""WebSocket: envelopes as frames, commands from the client, heartbeats, the closing handshake."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from tidewire.hub import Hub, Session, Start
from tidewire.model import (
    BadRequest,
    Message,
    Receipt,
    Subscription,
    TidewireError,
    check_channel,
    parse_cursor,
)
from tidewire.model.envelope import Close, Control, Error, Ok, encode_control
from tidewire.model.payload import check_depth, text_of
from tidewire.model.subscription import NOW, START, parse_since
from tidewire.transports.commands import (
    Command,
    History,
    Publish,
    Ref,
    Subscribe,
    Unsubscribe,
    decode_command,
    ref_of,
)
from tidewire.transports.framing import (
    PING,
    PONG,
    TEXT,
    Binary,
    Closing,
    FrameParser,
    Ping,
    ProtocolError,
    Text,
    close_frame,
    deflate,
    frame,
)
from tidewire.transports.history import MAX_HISTORY, read_history
from tidewire.transports.publish import Limits, check_alone, draft_of, drafts_of_batch
from tidewire.transports.wire import BUSY, Wire

SUBPROTOCOLS = {"tidewire.v1.json": False, "tidewire.v1.json.batch": True}

CLOSING_SECONDS = 2.0  # for the client to answer a close frame
DEFLATE_FROM = 256  # bytes below which deflating costs more than it saves
MOST_UNDER_WAY = 128  # publishes without their answer, or commands behind one that takes time


class Frames:
    """The form of envelopes as text frames.

    *batch*: a frame holds an array of envelopes. *raw*: a message is its data alone.
    *window_bits*: messages of a size worth it are deflated with this window; 0 for none.
    """

    __slots__ = ("_batch", "_plain", "_raw", "_window_bits")

    def __init__(self, *, batch: bool, raw: bool, window_bits: int) -> None:
        self._batch = batch
        self._raw = raw
        self._window_bits = window_bits
        self._plain = not raw and not window_bits

    def messages(self, messages: list[Message]) -> bytes:
        if self._batch:
            return self._frame(
                b"[%b]" % b",".join([self._payload(message) for message in messages])
            )
        if len(messages) == 1:
            return self._message(messages[0])
        return b"".join([self._message(message) for message in messages])

    def _message(self, message: Message) -> bytes:
        forms = message.forms
        if forms is None:
            forms = message.forms = {}
        elif (made := forms.get(self)) is not None:
            return made
        plain = self._plain
        data = frame(TEXT, message.envelope) if plain else self._frame(self._payload(message))
        forms[self] = data
        return data

    def _payload(self, message: Message) -> bytes:
        if not self._raw:
            return message.envelope
        if message.binary:
            return message.data if self._batch else message.data[1:-1]
        if self._batch or (text := text_of(message.data)) is None:
            return message.data
        return text.encode()

    def _frame(self, payload: bytes) -> bytes:
        if self._window_bits and len(payload) >= DEFLATE_FROM:
            return frame(TEXT, deflate(payload, self._window_bits), compressed=True)
        return frame(TEXT, payload)

    def control(self, envelope: Control, cursor: str = "") -> bytes:
        payload = encode_control(envelope)
        return frame(TEXT, b"[%b]" % payload if self._batch else payload)


_FORMS: dict[tuple[bool, bool, int], Frames] = {}


def frames_form(*, batch: bool, raw: bool, window_bits: int) -> Frames:
    """The one object of each form, so that equal connections share an audience."""
    key = (batch, raw, window_bits)
    return _FORMS.get(key) or _FORMS.setdefault(
        key, Frames(batch=batch, raw=raw, window_bits=window_bits)
    )


class Heartbeat(NamedTuple):
    """Seconds between pings, and for the pong."""

    interval: float
    timeout: float


class WebSocket:
    """One client after the handshake. Implements the server's ``Stream``."""

    __slots__ = (
        "_blocked",
        "_closing",
        "_due",
        "_form",
        "_heartbeat",
        "_hub",
        "_limits",
        "_most_channels",
        "_parser",
        "_pinged",
        "_publishing",
        "_retry",
        "_unanswered",
        "_waiting",
        "_wire",
        "session",
    )

    def __init__(
        self,
        wire: Wire,
        hub: Hub,
        form: Frames,
        parser: FrameParser,
        *,
        session: Session,
        limits: Limits,
        most_channels: int,
        heartbeat: Heartbeat,
        now: float,
        retry: Callable[[], int],
    ) -> None:
        self._wire = wire
        self._hub = hub
        self._form = form
        self._parser = parser
        self.session = session
        self._limits = limits
        self._most_channels = most_channels
        self._heartbeat = heartbeat
        self._retry = retry
        self._due = now + heartbeat.interval
        self._pinged = False  # a ping was sent, and the time for its pong is not over
        self._unanswered = False  # nothing has come since that ping
        self._closing = False
        self._publishing = 0
        self._blocked = False
        self._waiting: deque[bytes] | None = None

    # Stream

    def feed(self, data: bytes) -> None:
        self._unanswered = False  # whatever the client sends shows that it is there
        try:
            events = self._parser.feed(data)
        except ProtocolError as error:
            self._end(error.code, error.reason)
            return
        for event in events:
            kind = type(event)
            if kind is Text:
                if not self._closing:
                    self._command(event.data)  # type: ignore[union-attr]
            elif kind is Ping:
                if not self._closing:
                    self._wire.write(frame(PONG, event.data))  # type: ignore[union-attr]
            elif kind is Closing:
                self._closed_by_client(event)  # type: ignore[arg-type]
            elif kind is Binary and not self._closing:
                self._end(1003, "this subprotocol carries text only")

    def resume(self) -> None:
        self.session.resume()

    def on_timer(self, now: float) -> float:
        if self._closing:
            self._wire.abort()  # the client did not answer the close frame
            return 0
        if now < self._due:
            return self._due - now
        interval, timeout = self._heartbeat
        if self._unanswered:
            self._end(4408, "no answer to a ping")
            return CLOSING_SECONDS
        if self._pinged and timeout < interval:  # the pong came: rest until the next ping is due
            self._pinged = False
            self._due += interval - timeout
            if now < self._due:
                return self._due - now
        self._pinged = self._unanswered = True
        self._wire.write(frame(PING, b""))
        self._due = now + timeout
        return timeout

    def drain(self) -> None:
        if not self._closing:
            retry = self._retry()
            self._wire.write(self._form.control(Close(1012, "the server restarts", retry)))
            self._end(1012, "the server restarts")

    def lost(self) -> None:
        self.session.close()

    # The closing handshake

    def _closed_by_client(self, closing: Closing) -> None:
        self.session.close()
        if not self._closing:
            code = 1000 if closing.code == 1005 else closing.code
            self._wire.write(close_frame(code))
        self._closing = True
        self._wire.close()

    def _end(self, code: int, reason: str) -> None:
        """Send a close frame; the connection ends when the client has answered, or soon after."""
        self.session.close()
        if not self._closing:
            self._closing = True
            self._wire.write(close_frame(code, reason))
            if code in (1002, 1007, 1009):
                self._wire.linger()  # what follows on the wire cannot be read any more

    # Commands

    def _command(self, data: bytes) -> None:
        """Carry out a command, or keep it while one before it is under way."""
        if not self._blocked:
            self._carry_out(data)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(data)
        if len(self._waiting) == MOST_UNDER_WAY:
            self._wire.stop_reading(BUSY)

    def _carry_out(self, data: bytes) -> None:
        ref: Ref = None
        try:
            check_depth(data, self._limits.json_depth)
            try:
                command = decode_command(data)
            except (msgspec.MsgspecError, RecursionError) as error:
                ref = ref_of(data)
                raise BadRequest(f"this is no command: {error}") from None
            ref = command.ref
            self._dispatch(command)
        except TidewireError as error:
            self._refuse(ref, error)

    def _dispatch(self, command: Command) -> None:
        if isinstance(command, Publish):
            self._publish(command)
        elif isinstance(command, Subscribe):
            self._subscribe(command)
        elif isinstance(command, Unsubscribe):
            self._unsubscribe(command)
        elif isinstance(command, History):
            self._history(command)
        else:
            self._answer(Ok(command.ref))

    def _answer(self, envelope: Control) -> None:
        if not self._closing:
            self._wire.write(self._form.control(envelope))

    def _refuse(self, ref: Ref, error: TidewireError) -> None:
        self._answer(Error(error.code, error.detail, ref))

    def _block(self, work: Coroutine[None, None, None]) -> None:
        """Do *work* before any later command: a client may rely on their order."""
        self._blocked = True
        self._hub.spawn(self._then_go_on(work))

    async def _then_go_on(self, work: Coroutine[None, None, None]) -> None:
        await work
        self._blocked = False
        waiting = self._waiting
        while waiting and not self._blocked and not self._closing:
            self._carry_out(waiting.popleft())
        if not waiting:
            self._read_on()

    def _read_on(self) -> None:
        """Take commands again, if few publishes are under way and nothing waits behind another.

        To be called when either may have changed: whichever comes last must find the other gone.
        """
        if not self._blocked and self._publishing <= MOST_UNDER_WAY // 2:
            self._wire.read_on(BUSY)

    def _publish(self, command: Publish) -> None:
        many = command.messages
        if many is not None:
            check_alone(command)
            drafts = drafts_of_batch(many, self._limits)
        else:
            if command.channel is None or not command.data:
                raise BadRequest('publish needs "channel" and "data"')
            drafts = [draft_of(command, self._limits)]
        future = self._hub.engine.append(drafts)
        if future.done():
            self._published(command.ref, many is not None, future)
        else:
            # Publishes wait for no answer: the engine keeps their order, and groups them.
            self._publishing += 1
            if self._publishing == MOST_UNDER_WAY:
                self._wire.stop_reading(BUSY)
            future.add_done_callback(partial(self._published_later, command.ref, many is not None))

    def _published_later(self, ref: Ref, batch: bool, future: Future[list[Receipt]]) -> None:
        self._publishing -= 1
        if self._publishing == MOST_UNDER_WAY // 2:
            self._read_on()
        self._published(ref, batch, future)

    def _published(self, ref: Ref, batch: bool, future: Future[list[Receipt]]) -> None:
        error = future.exception()
        if error is None:
            receipts = future.result()
            if batch:
                self._answer(Ok(ref, results=[self._result(receipt) for receipt in receipts]))
            else:
                (receipt,) = receipts
                self._answer(Ok(ref, self._hub.cursor(receipt.id), receipt.channel, receipt.seq))
        elif isinstance(error, TidewireError):
            self._refuse(ref, error)
        else:
            raise error

    def _result(self, receipt: Receipt) -> dict[str, str | int]:
        cursor = self._hub.cursor(receipt.id)
        return {"channel": receipt.channel, "id": cursor, "seq": receipt.seq}

    def _subscribe(self, command: Subscribe) -> None:
        wanted = self._wanted(command)
        channels = tuple(channel for one in wanted for channel in one.channels)
        if not channels:
            raise BadRequest('subscribe needs "channels"', code="no_channels")
        if len(self.session.channels.union(channels)) > self._most_channels:
            raise BadRequest(
                f"one connection may hold {self._most_channels} channels", code="too_many_channels"
            )
        starts = [self._hub.start_now(one) for one in wanted]
        if all(start is not None for start in starts):
            self._follow(command.ref, channels, [start for start in starts if start is not None])
        else:
            self._block(self._subscribe_later(command.ref, channels, wanted))

    async def _subscribe_later(
        self, ref: Ref, channels: tuple[str, ...], wanted: list[Subscription]
    ) -> None:
        try:
            self._follow(ref, channels, [await self._hub.start_of(one) for one in wanted])
        except TidewireError as error:
            self._refuse(ref, error)

    def _follow(self, ref: Ref, channels: tuple[str, ...], starts: Sequence[Start]) -> None:
        """Follow the channels; the answer comes behind their backfill.

        Only there can one id be right for all the connection's channels.
        """
        session = self.session
        after = {channel: at for start in starts for channel, at in start.after.items()}
        session.follow(after, [gap for start in starts for gap in start.gaps])
        session.when_live(lambda: self._answer(Ok(ref, id=session.cursor, channels=channels)))

    def _wanted(self, command: Subscribe) -> list[Subscription]:
        """One subscription for each different start that the command names."""
        if isinstance(command.channels, list):
            names = tuple(dict.fromkeys(check_channel(name) for name in command.channels))
            if command.cursor is not None:
                return [Subscription(names, (parse_cursor(command.cursor),))]
            since = NOW if command.since is None else parse_since(str(command.since))
            return [Subscription(names, (), since)]
        if command.cursor is not None or command.since is not None:
            raise BadRequest('with an object as "channels" each has its own start there')
        return [
            _one_start(check_channel(name), str(start)) for name, start in command.channels.items()
        ]

    def _unsubscribe(self, command: Unsubscribe) -> None:
        names = frozenset(check_channel(name) for name in command.channels)
        if not names:
            raise BadRequest('unsubscribe needs "channels"', code="no_channels")
        session = self.session
        if strangers := sorted(names - session.channels):
            raise BadRequest(f"not subscribed to {', '.join(strangers)}", code="not_subscribed")
        session.unfollow(names)
        session.when_live(
            lambda: self._answer(
                Ok(command.ref, id=session.cursor, channels=tuple(command.channels))
            )
        )

    def _history(self, command: History) -> None:
        if not 1 <= command.limit <= MAX_HISTORY:
            raise BadRequest(f"limit: use 1 to {MAX_HISTORY}", code="invalid_limit")
        channel = check_channel(command.channel)
        if command.cursor is not None:
            wanted = Subscription((channel,), (parse_cursor(command.cursor),))
        else:
            since = START if command.since is None else parse_since(str(command.since))
            wanted = Subscription((channel,), (), since)
        self._block(self._history_later(command, wanted))

    async def _history_later(self, command: History, wanted: Subscription) -> None:
        try:
            page = await read_history(self._hub, wanted, command.limit)
            self._answer(
                Ok(
                    command.ref,
                    channel=command.channel,
                    cursor=page.cursor,
                    more=page.more,
                    messages=[msgspec.Raw(message.envelope) for message in page.messages],
                    gaps=[msgspec.to_builtins(gap) for gap in page.gaps],
                )
            )
        except TidewireError as error:
            self._refuse(command.ref, error)


def _one_start(channel: str, start: str) -> Subscription:
    """The subscription to *channel* from a cursor or a ``since``, whichever *start* is."""
    if start in ("now", "start") or start.lstrip("-").isdigit():
        return Subscription((channel,), (), parse_since(start))
    return Subscription((channel,), (parse_cursor(start),))
