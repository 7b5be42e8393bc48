"""Subscribing by long polling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidewire.client import polling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

    from tidewire.client.address import ServerAddress
    from tidewire.client.envelope import Event
    from tidewire.client.position import Position

WAIT = 30
"""Seconds that the server is asked to hold a request: below the usual 60 s of proxies."""
GRACE = 15.0
"""Seconds beyond ``WAIT`` until a request is taken for lost."""


class LongPollTransport:
    """One request after the other, each held by the server until there is something."""

    def __init__(
        self, http: httpx.AsyncClient, address: ServerAddress, *, wait: int = WAIT
    ) -> None:
        self._http = http
        self._address = address
        self._wait = wait

    async def attempt(self, position: Position) -> AsyncGenerator[Event, None]:
        """See :class:`tidewire.client.transport.Transport`."""
        if position.cursor is None:
            # A held request has no cursor to go on from if it breaks, and "now" would then be
            # later. So the start is asked for with a request that is answered at once.
            answer = await self._get("/poll", [*position.query(), polling.FRAGMENTS])
            for event in polling.read(answer).events():
                yield event
        while True:
            query = [*position.query(), polling.FRAGMENTS, ("wait", str(self._wait))]
            answer = await self._get("/longpoll", query)
            events = (
                polling.read(answer).events()
                if answer.status_code == 200
                else polling.reached(answer)
            )
            for event in events:
                yield event

    async def _get(self, path: str, query: list[tuple[str, str]]) -> httpx.Response:
        url = self._address.http(path, query)
        return await polling.get(self._http, url, headers={}, silence=self._wait + GRACE)
