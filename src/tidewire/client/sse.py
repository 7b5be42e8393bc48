"""Subscribing over Server-Sent Events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from tidewire.client.answers import failure
from tidewire.client.credentials import NOBODY
from tidewire.client.envelope import Close, Ready, end_of_stream, parse_envelope
from tidewire.client.errors import Interrupted, Refused, broken
from tidewire.client.eventsource import EventDecoder, TooMuchData
from tidewire.client.fragments import Assembly
from tidewire.client.http import EVENT_STREAM, media_type_of, token_of
from tidewire.client.polling import FRAGMENTS
from tidewire.client.staying import staying

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from tidewire.client.address import ServerAddress
    from tidewire.client.credentials import Credentials, Token
    from tidewire.client.envelope import Event, Received
    from tidewire.client.position import Position

SILENCE = 60.0
"""Seconds without a byte after which a stream is taken for dead."""
MISSED = 3
"""How many heartbeats must be missing for that, where the server says how often it sends them."""


class SseTransport:
    """Envelopes as the data of events; ``format=raw`` is not for this client."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: ServerAddress,
        *,
        credentials: Credentials = NOBODY,
        silence: float = SILENCE,
    ) -> None:
        """``credentials`` are those that *http* shows."""
        self._http = http
        self._address = address
        self._credentials = credentials
        self._silence = silence
        self._session = ""

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
        credentials = self._credentials
        silence = self._silence
        try:
            async with asyncio.timeout(silence):
                answer = await self._http.send(request, stream=True)
            token = token_of(answer)
            try:
                async with asyncio.timeout(silence):
                    await _check(answer)
                chunks = answer.aiter_bytes()
                async with staying(credentials, token, self._refresh):
                    while chunk := await _next(chunks, silence):
                        for received in _received(chunk, decoder, assembly):
                            envelope = received.envelope
                            if isinstance(envelope, Close):
                                yield received
                                raise credentials.after(end_of_stream(envelope), token)
                            credentials.accepted(token)
                            if isinstance(envelope, Ready):
                                self._session = envelope.session
                                if envelope.heartbeat:
                                    silence = MISSED * envelope.heartbeat / 1000
                            yield received
            finally:
                await answer.aclose()
        except TooMuchData as error:
            raise Refused(str(error)) from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise broken(error, _seconds(decoder.retry)) from error
        raise Interrupted("the stream ended", _seconds(decoder.retry))

    async def _refresh(self, token: Token) -> None:
        # Only the server that has the stream can do it. Another one behind the same address says
        # that it has no such session: then the stream ends with its token, and goes on elsewhere.
        url = self._address.http("/refresh", [("session", self._session)])
        try:
            answer = await self._http.post(url, timeout=httpx.Timeout(10.0))
        except httpx.HTTPError as error:
            raise broken(error) from error
        if answer.status_code != 200:
            raise failure(answer.status_code, answer.headers, answer.content)


def _received(chunk: bytes, decoder: EventDecoder, assembly: Assembly) -> Iterator[Received]:
    for event in decoder.feed(chunk):
        received = assembly.take(parse_envelope(event.data.encode()))
        if received is not None:
            yield received


async def _next(chunks: AsyncIterator[bytes], silence: float) -> bytes:
    async with asyncio.timeout(silence):
        return await anext(chunks, b"")


async def _check(answer: httpx.Response) -> None:
    if answer.status_code == 204:
        raise Refused("the server has no stream there (HTTP 204)", 204)
    if answer.status_code != 200:
        raise failure(answer.status_code, answer.headers, await answer.aread())
    media_type = media_type_of(answer)
    if media_type != EVENT_STREAM:
        raise Refused(f"this is no event stream but {media_type or 'of unknown type'}")


def _seconds(retry: int | None) -> float | None:
    return None if retry is None else retry / 1000
