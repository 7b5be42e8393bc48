"""Subscribing by short polling."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tidewire.client import polling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import httpx

    from tidewire.client.address import ServerAddress
    from tidewire.client.envelope import Event
    from tidewire.client.position import Position

DEFAULT_INTERVAL = 3.0
"""Seconds between polls of a server that does not say how long."""
SILENCE = 15.0


class ShortPollTransport:
    """A request now and then, at the interval that the server tells."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: ServerAddress,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._address = address
        self._sleep = sleep

    async def attempt(self, position: Position) -> AsyncGenerator[Event, None]:
        """See :class:`tidewire.client.transport.Transport`."""
        interval = DEFAULT_INTERVAL
        validator: str | None = None
        while True:
            url = self._address.http("/poll", [*position.query(), polling.FRAGMENTS])
            # To a consumer messages may come again though there are no new ones.
            headers = {}
            if validator is not None and position.consumer is None:
                headers["If-None-Match"] = validator
            answer = await polling.get(self._http, url, headers=headers, silence=SILENCE)
            more = False
            if answer.status_code == 200:
                content = polling.read(answer)
                more = content.more
                if content.interval is not None:
                    interval = content.interval / 1000
                for event in content.events():
                    yield event
            else:
                for event in polling.reached(answer):
                    yield event
            validator = answer.headers.get("etag", validator)
            if not more:
                await self._sleep(interval)
