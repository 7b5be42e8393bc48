"""Acknowledging in batches, beside the work: a consumer is never held up by it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from tidewire.client.backoff import Backoff, retry
from tidewire.client.errors import ClientError, Interrupted, Refused
from tidewire.client.ledger import MOST_HELD, Due, Ledger, TooMuchHeld

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tidewire.client.envelope import Message
    from tidewire.client.operations import Operations

EVERY = 0.1
"""Seconds after which what is finished is told, if there are fewer than :data:`BATCH` messages."""
BATCH = 64
TOO_MANY_SINGLES = "too_many_single_acks"
LONGEST_WAIT = 5.0
"""Seconds between attempts to tell the server, at most."""
LAST_WITHIN = 5.0
"""Seconds that telling the rest may take when a consumer ends."""


class Teller(Protocol):
    """A way to acknowledge beside HTTP: the connection that brings the messages."""

    async def ack(self, ids: Sequence[str], *, single: bool) -> None:
        """Return when the server has kept it.

        Raises:
            Interrupted: when there is no connection, or it breaks.
            Refused: when the server does not take it.
        """
        ...


class Acknowledger:
    """What one consumer has finished with is told to the server soon, and safely tried again.

    What the server has not been told when the program dies is delivered again.
    """

    def __init__(
        self,
        operations: Operations,
        consumer: str,
        *,
        teller: Teller | None = None,
        every: float = EVERY,
        backoff: Backoff | None = None,
    ) -> None:
        """``teller`` is used in place of HTTP while messages are taken."""
        self._operations = operations
        self._consumer = consumer
        self._teller = teller
        self._every = every
        self._backoff = backoff or Backoff(cap=LONGEST_WAIT)
        self._ledger = Ledger()
        self._waiting = 0
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refusal: Refused | None = None

    def give(self, message: Message) -> bool:
        """A message has come; whether to deal with it, or it was finished before it came again.

        Raises:
            Refused: if the server did not take an acknowledgement, or nothing is acknowledged.
        """
        if self._refusal is not None:
            raise self._refusal
        try:
            return self._ledger.give(message.id)
        except TooMuchHeld:
            raise Refused(
                f"{MOST_HELD:,} messages were not acknowledged; call ack() or nack() for each"
            ) from None

    def finish(self, id: str) -> None:
        """Have it acknowledged within :data:`EVERY` seconds, if the server can be reached."""
        self._ledger.finish(id)
        self._waiting += 1
        if self._waiting >= BATCH:
            self._full.set()
        if self._task is None and self._refusal is None:
            self._task = asyncio.create_task(self._soon())

    async def nack(self, id: str, *, delay: float | None, reject: bool) -> None:
        """Have it sent again, or with *reject* given up; returns when the server has kept that.

        Raises:
            Unanswered: if the server could not be reached.
            Refused: if it does not take it.
        """
        await retry(
            lambda: self._operations.nack(self._consumer, id, delay=delay, reject=reject),
            within=LAST_WITHIN,
            backoff=Backoff(),
        )
        if reject:
            self._ledger.drop(id)

    async def flush(self) -> None:
        """Return when the server has kept all that is finished.

        Raises:
            Unanswered: if the server could not be reached; what it was not told comes again.
            Refused: if it does not take it.
        """
        await self._stop()
        # By HTTP: the answers on a connection are read only while messages are asked for.
        while due := self._ledger.due():
            await retry(
                lambda due=due: self._post(due),  # type: ignore[misc]
                within=LAST_WITHIN,
                backoff=Backoff(),
            )
            self._ledger.told(due)

    async def close(self) -> None:
        """Tell the rest. What cannot be told now comes again, so that is no error."""
        with suppress(ClientError):
            await self.flush()
        await self._stop()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _soon(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every):
                await self._full.wait()
        try:
            while due := self._ledger.due():
                self._waiting = 0
                self._full.clear()
                await self._tell(due)
        except Refused as error:
            self._refusal = error
        self._task = None

    async def _tell(self, due: Due) -> None:
        try:
            await self._send(due)
        except Interrupted as error:
            await asyncio.sleep(self._backoff.delay(error.retry_after))
        else:
            self._backoff.reset()
            self._ledger.told(due)

    async def _send(self, due: Due) -> None:
        if self._teller is None:
            await self._post(due)
            return
        try:
            await _acknowledge(self._teller.ack, due)
        except Interrupted:
            await self._post(due)

    async def _post(self, due: Due) -> None:
        await _acknowledge(partial(self._operations.ack, self._consumer), due)


async def _acknowledge(ack: Callable[..., Awaitable[None]], due: Due) -> None:
    try:
        if due.upto is not None:
            await ack([due.upto], single=False)
        if due.singles:
            await ack(due.singles, single=True)
    except Refused as error:
        if error.code != TOO_MANY_SINGLES:
            raise
        # They are taken once the oldest one is finished with, or the server has given it up.
        raise Interrupted(error.reason) from error
