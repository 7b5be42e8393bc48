"""Logs on the Redis of all tests, for the tests of that engine; others bring their own storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.log.harness import Clock, Logs
from tests.log.redis_storage import RedisStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_server import RedisServer


@pytest.fixture
def storage(redis: RedisServer) -> RedisStorage:
    """A new log."""
    return RedisStorage(redis)


@pytest.fixture
async def logs(storage: RedisStorage) -> AsyncIterator[Logs]:
    """Open engines on it; they are closed when the test is over."""
    logs = Logs(storage)
    yield logs
    await logs.close_all()


@pytest.fixture
def clock(logs: Logs) -> Clock:
    """The clock of all engines of the test."""
    return logs.clock
