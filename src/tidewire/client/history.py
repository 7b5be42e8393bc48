"""Reading what a channel keeps, page after page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidewire.client import polling
from tidewire.client.backoff import Backoff, retry
from tidewire.client.envelope import Received

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx

    from tidewire.client.address import ServerAddress

SILENCE = 15.0
WITHIN = 30.0


async def history(
    http: httpx.AsyncClient,
    address: ServerAddress,
    channel: str,
    *,
    limit: int | None = None,
    since: str | None = None,
    cursor: str | None = None,
    on_wait: Callable[[float, str], None] = lambda delay, reason: None,
) -> AsyncGenerator[Received, None]:
    """Yield the messages of *channel* that are kept, oldest first, with gaps before their page.

    At most *limit* messages, from *cursor* on (strictly after it) or else from *since*, which has
    the forms that subscribing takes and is ``start`` by default. It ends at the newest message
    there is when the last page is read.

    Raises:
        Refused: if the server does not take the request.
        Unanswered: if a page could not be had within :data:`WITHIN` seconds.
    """
    left = limit
    while left is None or left > 0:
        query = [("channel", channel)]
        if cursor is not None:
            query.append(("cursor", cursor))
        elif since is not None:
            query.append(("since", since))
        if left is not None:
            query.append(("limit", str(left)))
        url = address.http("/history", query)
        answer = await retry(
            lambda url=url: polling.get(http, url, headers={}, silence=SILENCE),  # type: ignore[misc]
            within=WITHIN,
            backoff=Backoff(),
            on_wait=on_wait,
        )
        page = polling.read(answer)
        for event in page.events():
            if isinstance(event, Received):
                yield event
        if left is not None:
            left -= len(page.messages)
        if not page.more or page.cursor == cursor:
            return
        cursor = page.cursor
