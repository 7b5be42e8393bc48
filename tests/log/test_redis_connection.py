"""A connection that ends in the ways that only uvloop has."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

import pytest
from redis.asyncio.connection import AbstractConnection

from tidewire.log.redis_connection import Connection, Lost
from tidewire.model import EngineUnavailable


class Closed:
    """A connection of redis-py's whose socket is found closed when something is written to it."""

    def __init__(self, *, opens: bool) -> None:
        self._opens = opens
        self._parser: Any = self

    def set_pubsub_push_handler(self, handler: object) -> None:
        pass

    async def connect(self) -> None:
        if not self._opens:
            raise RuntimeError("unable to perform operation; the handler is closed")

    def pack_commands(self, commands: list[object]) -> list[object]:
        return commands

    async def send_packed_command(self, commands: object, check_health: bool) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")

    async def read_response(self, **options: object) -> object:
        await asyncio.sleep(math.inf)
        raise AssertionError

    async def disconnect(self, nowait: bool) -> None:
        pass


async def test_a_socket_that_is_closed_while_it_is_greeted() -> None:
    line = cast("AbstractConnection", Closed(opens=False))
    with pytest.raises(EngineUnavailable, match=r"cannot connect .* the handler is closed"):
        await Connection("somewhere").open(line)


async def test_a_socket_that_is_closed_while_a_command_is_sent() -> None:
    connection = Connection("somewhere")
    await connection.open(cast("AbstractConnection", Closed(opens=True)))
    async with asyncio.timeout(1):
        with pytest.raises(Lost, match="the handler is closed"):
            await connection.call("PING")
    assert not connection.is_open
    await connection.closed()
