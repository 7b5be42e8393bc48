"""Subscribing over Server-Sent Events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from tidewire.client.answers import failure
from tidewire.client.envelope import Close, Ready, end_of_stream, parse_envelope
from tidewire.client.errors import Interrupted, Refused, broken
from tidewire.client.eventsource import EventDecoder, TooMuchData
from tidewire.client.fragments import Assembly
from tidewire.client.polling import FRAGMENTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tidewire.client.address import ServerAddress
    from tidewire.client.envelope import Event
    from tidewire.client.position import Position

EVENT_STREAM = "text/event-stream"
SILENCE = 60.0
"""Seconds without a byte after which a stream is taken for dead."""
MISSED = 3
"""How many heartbeats must be missing for that, where the server says how often it sends them."""


class SseTransport:
    """Envelopes as the data of events; ``format=raw`` is not for this client."""

    def __init__(
        self, http: httpx.AsyncClient, address: ServerAddress, *, silence: float = SILENCE
    ) -> None:
        self._http = http
        self._address = address
        self._silence = silence

    async def attempt(self, position: Position) -> AsyncGenerator[Event, None]:
        """See :class:`tidewire.client.transport.Transport`."""
        decoder = EventDecoder()
        assembly = Assembly()
        request = self._http.build_request(
            "GET",
            self._address.http("/sse", [*position.query(), FRAGMENTS]),
            headers={"Accept": EVENT_STREAM, "Cache-Control": "no-cache"},
            # Reading has limits of its own below, which change with what the server says.
            timeout=httpx.Timeout(10.0, read=None),
        )
        silence = self._silence
        try:
            async with asyncio.timeout(silence):
                answer = await self._http.send(request, stream=True)
            try:
                async with asyncio.timeout(silence):
                    await _check(answer)
                chunks = answer.aiter_bytes()
                while chunk := await _next(chunks, silence):
                    for event in decoder.feed(chunk):
                        received = assembly.take(parse_envelope(event.data.encode()))
                        if received is None:
                            continue
                        yield received
                        envelope = received.envelope
                        if isinstance(envelope, Close):
                            raise end_of_stream(envelope)
                        if isinstance(envelope, Ready) and envelope.heartbeat:
                            silence = MISSED * envelope.heartbeat / 1000
            finally:
                await answer.aclose()
        except TooMuchData as error:
            raise Refused(str(error)) from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise broken(error, _seconds(decoder.retry)) from error
        raise Interrupted("the stream ended", _seconds(decoder.retry))


async def _next(chunks: AsyncIterator[bytes], silence: float) -> bytes:
    async with asyncio.timeout(silence):
        return await anext(chunks, b"")


async def _check(answer: httpx.Response) -> None:
    if answer.status_code == 204:
        raise Refused("the server has no stream there (HTTP 204)", 204)
    if answer.status_code != 200:
        raise failure(answer.status_code, answer.headers, await answer.aread())
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != EVENT_STREAM:
        raise Refused(f"this is no event stream but {media_type or 'of unknown type'}")


def _seconds(retry: int | None) -> float | None:
    return None if retry is None else retry / 1000
