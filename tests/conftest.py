"""Fixtures for every kind of test: real servers on free ports of the loopback interface."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import settings

from tests.redis_server import RedisServer
from tests.server_process import ServerProcess, start_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest_plugins = ["tests.faults.summary", "tests.scheduling"]

# Hypothesis: the same examples in every run, however slow the machine.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

TROUBLE = re.compile(r"Traceback \(most recent call last\)|Exception ignored|never awaited")


class StartServer(Protocol):
    """What the fixtures ``start`` and ``start_shared`` give."""

    def __call__(
        self,
        *,
        engine: str = "memory:",
        port: int = 0,
        files: int | None = None,
        **settings: object,
    ) -> ServerProcess:
        """Start one server; it is ended, and its log looked at, when the test is over."""


def _servers(directory: Path) -> Iterator[StartServer]:
    """Yield a function that starts servers; end them all and fail on any traceback they wrote."""
    running: list[ServerProcess] = []

    def start(
        *,
        engine: str = "memory:",
        port: int = 0,
        files: int | None = None,
        **settings: object,
    ) -> ServerProcess:
        server = start_server(directory, engine=engine, port=port, files=files, **settings)
        running.append(server)
        return server

    try:
        yield start
    finally:
        for server in running:
            if server.running:
                server.kill()
    for server in running:
        assert not TROUBLE.search(server.log()), server.log()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers that live as long as the test; they share one directory."""
    yield from _servers(tmp_path)


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers that live as long as the tests of one file."""
    yield from _servers(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    """One server with the default settings, in memory, shared by the tests of one file."""
    return start_shared()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests that do it no harm; each has a log of its own there."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_log(redis: RedisServer) -> Callable[[], str]:
    """Names a new log on the Redis of all tests, as ``--engine`` takes it."""
    numbers = itertools.count(1)
    return lambda: redis.engine(prefix=f"test-{next(numbers)}")


@pytest.fixture(params=["sqlite", "redis"])
def shared_engine(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each engine that several servers can have at the same time."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    log: Callable[[], str] = request.getfixturevalue("redis_log")
    return log()


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each engine that needs nothing installed, one after the other."""
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/log.db"
