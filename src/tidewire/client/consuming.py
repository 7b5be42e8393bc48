"""Messages one after the other, as a program takes them: with what it says of each."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Any, Literal, Self

from tidewire.client.envelope import Gap, Message, Received
from tidewire.client.subscriber import Watcher, receive

if TYPE_CHECKING:
    from types import TracebackType

    from tidewire.client.acknowledging import Acknowledger
    from tidewire.client.position import Position
    from tidewire.client.transport import Transport

Acks = Literal["manual", "auto"]

_log = logging.getLogger("tidewire.client")


class Delivery:
    """A message, and what the consumer says of it.

    Attributes:
        id: the cursor after it.
        channel, seq, time, event, headers: as in the envelope; ``time`` in Unix ms.
        data: what was published; ``bytes`` if it is binary.
        deliveries: how often it was sent to this consumer, this time included.
    """

    __slots__ = (
        "_acks",
        "channel",
        "data",
        "deliveries",
        "event",
        "headers",
        "id",
        "seq",
        "settled",
        "time",
    )

    def __init__(self, message: Message, acks: Acknowledger | None) -> None:
        self.id = message.id
        self.channel = message.channel
        self.seq = message.seq
        self.time = message.time
        self.event = message.event
        self.headers = message.headers or {}
        self.deliveries = message.deliveries
        binary = message.encoding == "base64"
        self.data: Any = base64.b64decode(message.data) if binary else message.data
        self.settled = False
        self._acks = acks

    async def ack(self) -> None:
        """It needs not come again. The server is told within 0.1 s, together with others."""
        self._consumer().finish(self.id)
        self.settled = True

    async def nack(self, *, delay: float | None = None, reject: bool = False) -> None:
        """It was not dealt with: have it sent again at once, or after *delay* seconds.

        With *reject* it does not come again, but goes to the channel ``dead-letter:CONSUMER``.

        Raises:
            ClientError: if the server could not be told; then it comes again after ``ack_wait``.
        """
        await self._consumer().nack(self.id, delay=delay, reject=reject)
        self.settled = True

    def _consumer(self) -> Acknowledger:
        if self._acks is None:
            raise RuntimeError("only a consumer can acknowledge: subscribe with consumer=NAME")
        return self._acks

    def __repr__(self) -> str:
        return f"<Delivery {self.channel} {self.id} {self.data!r}>"


class Subscription:
    """An asynchronous iterator of deliveries, over as many connections as it takes.

    Close it, or use it as a context manager, so that what is finished is told to the server; a
    :class:`tidewire.client.Client` closes those it made.
    """

    def __init__(
        self,
        transport: Transport,
        position: Position,
        *,
        acks: Acknowledger | None = None,
        automatic: bool = False,
        watcher: Watcher | None = None,
    ) -> None:
        """With *automatic*, asking for the next message acknowledges the one before."""
        self.position = position
        self.closed = False
        self._acks = acks
        self._automatic = automatic
        self._watcher = watcher or _Logging()
        self._events = receive(transport, position, watcher=self._watcher)
        self._last: Delivery | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """The next message.

        Raises:
            Refused: when the server wants no other attempt; :class:`Replaced` when another
                connection has taken over the consumer.
        """
        acks, last = self._acks, self._last
        self._last = None
        if acks is not None and last is not None and self._automatic and not last.settled:
            acks.finish(last.id)
        async for event in self._events:
            if not isinstance(event, Received):
                continue
            envelope = event.envelope
            if isinstance(envelope, Gap):
                self._watcher.missed(envelope)
            elif isinstance(envelope, Message) and (acks is None or acks.give(envelope)):
                self._last = Delivery(envelope, acks)
                return self._last
        raise StopAsyncIteration

    async def flush(self) -> None:
        """Return when the server has kept every acknowledgement so far.

        Raises:
            ClientError: if that was not possible within 5 s.
        """
        if self._acks is not None:
            await self._acks.flush()

    async def close(self) -> None:
        """End the connection, and tell the server what is finished.

        The message that was taken last is not finished unless it was acknowledged: the loop did
        not ask for another.
        """
        self.closed = True
        if self._acks is not None:
            await self._acks.close()
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class _Logging(Watcher):
    def waiting(self, delay: float, reason: str) -> None:
        _log.info("%s; next attempt in %.1f s", reason, delay)

    def missed(self, gap: Gap) -> None:
        _log.warning("messages of %s are gone (%s)", gap.channel, gap.reason)
