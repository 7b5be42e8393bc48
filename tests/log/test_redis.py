"""The Redis engine: the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.log.contract import DurableContract, EngineContract, SharedContract
from tests.log.redis_storage import RedisStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.log.harness import Storage
    from tests.redis_server import RedisServer


class TestRedis(EngineContract, DurableContract, SharedContract):
    """The contract."""

    examples = 40

    @pytest.fixture
    def storages(self, redis: RedisServer) -> Callable[[], Storage]:
        return lambda: RedisStorage(redis)
