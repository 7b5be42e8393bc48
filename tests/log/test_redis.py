"""The Redis engine: the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.log.contract import DurableContract, EngineContract, SharedContract
from tests.log.harness import Storage
from tests.log.redis_storage import RedisStorage
from tests.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


class TestRedis(EngineContract, DurableContract, SharedContract):
    """The contract."""

    examples = 40

    @pytest.fixture
    def storages(self, server: RedisServer) -> Callable[[], Storage]:
        return lambda: RedisStorage(server)
