"""Connections that end at any moment, or in the ways that only uvloop has; errors, as versions of
Redis put them.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis.asyncio import Connection as PlainConnection
from redis.asyncio.connection import AbstractConnection

from tidewire.log import redis_connection
from tidewire.log.redis_connection import CONNECT_SECONDS, Connection, Lost, RedisError, refused
from tidewire.model import EngineUnavailable

if TYPE_CHECKING:
    from tests.redis_server import RedisServer


@pytest.mark.parametrize("turns", range(8))
async def test_closing_while_a_command_is_sent(redis: RedisServer, turns: int) -> None:
    """However many *turns* of the loop it is on its way, the connection ends."""
    host, port = redis.address
    line = PlainConnection(host=host, port=port, protocol=3, socket_timeout=CONNECT_SECONDS)
    connection = Connection("Redis")
    await connection.open(line)
    answer = connection.call("PING")
    for _ in range(turns):
        await asyncio.sleep(0)
    connection.close()
    async with asyncio.timeout(10):
        await connection.closed()
    assert answer.done()
    if not isinstance(answer.exception(), Lost):
        assert answer.result() == b"PONG"


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


class Answering(Closed):
    """One that answers, but the process stands still as soon as it has sent something."""

    def __init__(self) -> None:
        super().__init__(opens=True)
        self._answers = asyncio.Event()

    async def send_packed_command(self, commands: object, check_health: bool) -> None:
        time.sleep(0.5)  # noqa: ASYNC251  # that is what it is about
        self._answers.set()

    async def read_response(self, **options: object) -> object:
        await self._answers.wait()
        self._answers.clear()
        for _ in range(3):  # turns of the loop until what has come is read
            await asyncio.sleep(0)
        return b"PONG"


async def test_that_this_process_stood_still_is_no_silence_of_the_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time that it has not looked at the answer is not time that there was none."""
    monkeypatch.setattr(redis_connection, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(redis_connection, "BEAT_SECONDS", 0.05)
    connection = Connection("somewhere")
    await connection.open(cast("AbstractConnection", Answering()))
    assert await connection.call("PING") == b"PONG"
    assert connection.is_open
    connection.close()
    await connection.closed()


IN_SCRIPT = "ERR Error running script (call to f_b652): @user_script:12: "


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("OOM command not allowed. script: 0afd63, on @user_script:1.", "OOM"),
        ("ERR unknown command", "ERR"),
        (IN_SCRIPT + "WRONGTYPE Operation against a key", "WRONGTYPE"),
        (IN_SCRIPT + "@user_script: 12: -READONLY You can't write", "READONLY"),
    ],
)
def test_the_code_of_an_error(text: str, code: str) -> None:
    """Redis before 7 hides it when a script has met it."""
    error = RedisError(text)
    assert error.code == code
    assert str(error).startswith(code)


def test_a_client_is_told_the_code_and_an_operator_all() -> None:
    error = refused("the message was not taken", RedisError("OOM at 10.0.0.1"))
    assert error.detail == "the message was not taken: the log says OOM"
    assert error.why == "the message was not taken: OOM at 10.0.0.1"
