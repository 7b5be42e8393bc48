"""Logs on one Redis server for the tests of the engine: each has a prefix of its own."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.redis_server import RedisServer
from tidewire.log.redis import RedisEngine
from tidewire.log.redis_address import RedisAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.log.harness import Clock
    from tidewire.log import Engine
    from tidewire.model import Namespaces

_numbers = itertools.count()


class RedisStorage:
    """One log on *server*."""

    def __init__(self, server: RedisServer, **options: object) -> None:
        self.server = server
        self.prefix = f"log{next(_numbers)}"
        self.url = server.engine(prefix=self.prefix, **options)

    @property
    def address(self) -> RedisAddress:
        """The URL, taken apart."""
        return parse_address(self.url)

    def engine(
        self, namespaces: Namespaces, *, idempotency_window: float, clock: Callable[[], float]
    ) -> Engine:
        """An engine on the log."""
        return RedisEngine(
            self.address, namespaces, idempotency_window=idempotency_window, clock=clock
        )

    async def clean(self, engine: Engine, clock: Clock) -> None:
        """Remove at once what is over."""
        assert isinstance(engine, RedisEngine)
        while await engine.sweep():
            pass

    def key(self, name: str) -> str:
        """A key of the log."""
        return f"{{{self.prefix}}}:{name}"
