"""Staying connected for longer than a token lasts: a stream is told the next one in time."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tidewire.client.backoff import Backoff
from tidewire.client.errors import Interrupted, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tidewire.client.credentials import Credentials, Token

_log = logging.getLogger("tidewire.client")

ANSWER_WITHIN = 10.0
"""Seconds after which a token is taken for told, answered or not."""


@asynccontextmanager
async def staying(
    credentials: Credentials, shown: Token | None, tell: Callable[[Token], Awaitable[None]]
) -> AsyncGenerator[None]:
    """Inside of this block a stream that has *shown* a token is told each next one by *tell*.

    ``tell`` returns when the server has taken the token. Whatever it raises ends no stream: that
    goes on for as long as the last token which was taken, and its end says what is to be done.
    """
    if shown is None or shown.life is None or not credentials.renewable:
        yield
        return
    task = asyncio.create_task(_tell_in_time(credentials, shown, tell))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _tell_in_time(
    credentials: Credentials, shown: Token, tell: Callable[[Token], Awaitable[None]]
) -> None:
    backoff = Backoff()
    while shown.life is not None:
        await asyncio.sleep(credentials.seconds_left(shown))
        fresh = shown
        try:
            fresh = await credentials.newer(shown)
            if fresh is not shown:
                await _told(credentials, fresh, tell)
                shown = fresh
                backoff.reset()
        except Interrupted as error:
            _log.info("the next token could not be told: %s", error.reason)
            await asyncio.sleep(backoff.delay(error.retry_after))
        except Refused as error:
            _log.info("the next token is not taken: %s", error.reason)
            if fresh is not shown:
                credentials.after(error, fresh)
            return


async def _told(
    credentials: Credentials, token: Token, tell: Callable[[Token], Awaitable[None]]
) -> None:
    # On a WebSocket the answer is read only while messages are taken. Whoever works on one for
    # long has told the server all the same.
    within = min(max(credentials.seconds_left(token), 0.1), ANSWER_WITHIN)
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await tell(token)
            credentials.accepted(token)
