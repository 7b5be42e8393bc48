"""A server, started by the command itself, for the tests of the other commands."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.commands import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server in memory for the tests of one file; each takes channels of its own."""
    server = serve(tmp_path_factory.mktemp("live"), "--poll-interval", "0.05")
    try:
        yield server
    finally:
        server.kill()
    assert "Traceback" not in server.log(), server.log()


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A channel that no other test uses."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    return f"test:{name}"


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that stays free: it is taken by a socket on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
