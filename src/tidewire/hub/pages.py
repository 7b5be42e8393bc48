"""Pages that were read from the engine a moment ago, for others that stand at the same place.

Clients that come back from one outage are behind by the same messages, and ask for the same pages
within moments. One read, and one encoding, serves them all. A page is shown for so short a time
that its reader could as well have asked a little earlier.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from tidewire.log.engine import Engine
from tidewire.model import EngineUnavailable, Page

SHOWN_SECONDS = 0.1
MOST_PAGES = 32

ReadKey = tuple[tuple[str, int], ...]
"""Where a reader stands: each of its channels with the id after which it reads."""


class Pages:
    """Whole pages only: one cut for its size does not depend on the bound it was read to."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: OrderedDict[ReadKey, tuple[float, Page]] = OrderedDict()

    def put(self, key: ReadKey, page: Page) -> None:
        """Keep *page*, which was read after *key*, if others may get it as it is."""
        if page.more:
            self._pages[key] = (time.monotonic() + SHOWN_SECONDS, page)
            self._pages.move_to_end(key)
            while len(self._pages) > MOST_PAGES:
                self._pages.popitem(last=False)

    def get(self, key: ReadKey) -> Page | None:
        """The page after *key*, if it was read a moment ago."""
        pages = self._pages
        now = time.monotonic()
        while pages and next(iter(pages.values()))[0] <= now:
            pages.popitem(last=False)
        known = pages.get(key)
        return None if known is None else known[1]


class SharedReads:
    """Reads of openings: while one is under way, others that ask the same wait for its page."""

    __slots__ = ("_engine", "_under_way")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._under_way: dict[tuple[ReadKey, int, int], asyncio.Future[Page]] = {}

    async def read(self, after: dict[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        """The page that the engine gives.

        Raises:
            EngineUnavailable: if the engine is away.
        """
        key = (tuple(after.items()), upto, limit)
        under_way = self._under_way.get(key)
        if under_way is not None:
            return await asyncio.shield(under_way)
        page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self._under_way[key] = page
        try:
            page.set_result(await self._engine.read(after, upto, limit, max_bytes))
        except BaseException as error:
            failure = error if isinstance(error, Exception) else EngineUnavailable("it is closing")
            page.set_exception(failure)
            page.exception()  # perhaps nobody else waits for it
            raise
        finally:
            del self._under_way[key]
        return page.result()
