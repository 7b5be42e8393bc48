"""Publishing over HTTP, so that a lost answer neither loses nor doubles a message."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence  # msgspec reads the annotations
from typing import TYPE_CHECKING

import httpx
import msgspec

from tidewire.client.answers import failure
from tidewire.client.backoff import Backoff, retry
from tidewire.client.errors import Refused, broken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tidewire.client.address import ServerAddress

WITHIN = 30.0
"""Seconds for all attempts together; must stay below the server's ``idempotency_window``."""


class Publication(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message to publish. ``data`` is JSON text; with ``encoding`` ``base64`` it is binary.

    It goes to one of: a ``channel``, some ``channels``, a ``user`` (or one ``device`` of it), some
    ``users``, ``all``. Some of them, even if that is one, get a receipt each.
    After ``ttl`` seconds readers get a gap in its place. With a ``version`` that is not above the
    newest of its channel nothing is published, and the receipt is that of the newest.
    """

    channel: str | None
    data: msgspec.Raw
    event: str | None = None
    headers: dict[str, str] | None = None
    key: str | None = None
    encoding: str | None = None
    ttl: float | None = None
    version: int | None = None
    channels: Sequence[str] | None = None
    user: str | None = None
    device: str | None = None
    users: Sequence[str] | None = None
    all: bool = False


class Receipt(msgspec.Struct, frozen=True):
    """What the server answers for a message: the log holds it, at this cursor."""

    channel: str
    id: str
    seq: int


class _Batch(msgspec.Struct):
    messages: Sequence[Publication]


class _Results(msgspec.Struct):
    results: list[Receipt]


_encode = msgspec.json.Encoder().encode


def new_key() -> str:
    """An idempotency key that no other publish has."""
    return secrets.token_urlsafe(16)


class Publisher:
    """Publishes single messages and batches; trying again never publishes one twice.

    That holds for messages with a key, so :meth:`publish` gives one to those without.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: ServerAddress,
        *,
        within: float = WITHIN,
        on_wait: Callable[[float, str], None] = lambda delay, reason: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``within`` bounds all attempts of one publish; ``on_wait`` is told of each wait."""
        self._http = http
        self._url = address.http("/publish")
        self._within = within
        self._on_wait = on_wait
        self._clock = clock
        self._sleep = sleep

    async def publish(self, publications: Sequence[Publication]) -> list[Receipt]:
        """Publish one message, or a batch that the server takes whole or not at all.

        Returns the receipts in the order of the messages, once the log holds them; for one that
        goes to some, one for each of those.

        Raises:
            Refused: if the server does not take them; nothing was published.
            Unanswered: if there was no answer in the time there is; then they may have been
                published or not, and only publishing them again with the same keys is safe.
        """
        keyed = [
            one if one.key is not None else msgspec.structs.replace(one, key=new_key())
            for one in publications
        ]
        if not keyed:
            return []
        body = _encode(keyed[0] if len(keyed) == 1 else _Batch(keyed))
        single = len(keyed) == 1 and keyed[0].users is None and keyed[0].channels is None
        return await retry(
            lambda: self._send(body, single=single),
            within=self._within,
            backoff=Backoff(),
            on_wait=self._on_wait,
            clock=self._clock,
            sleep=self._sleep,
        )

    async def _send(self, body: bytes, *, single: bool) -> list[Receipt]:
        try:
            answer = await self._http.post(
                self._url,
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=httpx.Timeout(10.0),
            )
        except httpx.HTTPError as error:
            raise broken(error) from error
        if answer.status_code != 200:
            raise failure(answer.status_code, answer.headers, answer.content)
        try:
            if single:
                return [msgspec.json.decode(answer.content, type=Receipt)]
            return msgspec.json.decode(answer.content, type=_Results).results
        except msgspec.DecodeError as error:
            raise Refused(f"this is not a Tidewire answer: {error}") from None
