"""``connections``, ``disconnect`` and ``nodes``: who is there, on which server, and no longer."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_websocket import RawWebSocket
from tests.cli.commands import COMMAND, PATIENCE, environment, run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """One for the test alone: it knows who is there."""
    # The tests' WebSockets answer no ping, and commands take their time on a slow machine.
    server = serve(tmp_path, "--ping-interval", "600")
    try:
        yield server
    finally:
        server.kill()
    assert "Traceback" not in server.log(), server.log()


def connect(server: ServerProcess, query: str) -> tuple[RawWebSocket, str]:
    """A WebSocket, and its session."""
    socket = RawWebSocket(server.address)
    socket.open(f"/ws?{query}")
    return socket, socket.read_envelope()["session"]


def on_a_terminal(*arguments: str, url: str) -> str:
    """What a command prints where people see it."""
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", buffering=0) as screen:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=subprocess.PIPE,
            env=environment(TIDEWIRE_URL=url),
            timeout=PATIENCE,
            check=False,
        )
        os.close(follower)
        assert done.returncode == 0, done.stderr
        text = b""
        try:
            while piece := screen.read(65_536):
                text += piece
        except OSError:  # Linux says so at the end
            pass
    return text.decode()


def test_connections_are_printed_one_a_line(server: ServerProcess) -> None:
    first, session = connect(server, "channels=a,b&device=phone")
    second, _ = connect(server, "channels=a")
    with first, second:
        result = run("connections", TIDEWIRE_URL=server.url)
        assert (result.code, result.err) == (0, "2 of 2\n")
        assert {line["transport"] for line in result.lines} == {"websocket"}
        [line] = run("connections", "--device", "phone", "-q", TIDEWIRE_URL=server.url).lines
        assert line["id"] == session
        assert line["subscriptions"] == 2
        [line] = run("connections", session, TIDEWIRE_URL=server.url).lines
        assert line["channels"] == ["a", "b"]
        result = run("connections", "--limit", "1", TIDEWIRE_URL=server.url)
        assert len(result.lines) == 1
        assert result.err == "1 of 2\n"


def test_a_terminal_gets_a_table(server: ServerProcess) -> None:
    socket, session = connect(server, "channels=a&device=ph%1B[31mone")
    with socket:
        table = on_a_terminal("connections", url=server.url)
        assert session in table
        assert "transport" in table
        assert "{" not in table
        assert "\x1b[31m" not in table, "a client steers the operator's terminal"
        line = on_a_terminal("connections", "--json", url=server.url)
        assert json.loads(line)["id"] == session
    table = on_a_terminal("nodes", url=server.url)
    assert re.search(r"ready", table)
    assert str(server.process.pid) in table


def test_a_connection_is_ended(server: ServerProcess) -> None:
    first, session = connect(server, "channels=a")
    second, _ = connect(server, "channels=b")
    with first, second:
        result = run("disconnect", session, TIDEWIRE_URL=server.url)
        assert (result.code, result.out, result.err) == (0, "", "disconnected: 1\n")
        assert first.read_close().close_code == 4403
        result = run("disconnect", "--channel", "b", "--retry", "2.5", TIDEWIRE_URL=server.url)
        assert result.err == "disconnected: 1\n"
        assert second.read_envelope()["retry"] == 2500
    result = run("disconnect", session, TIDEWIRE_URL=server.url)
    assert result.code == 1
    assert "there is no such connection" in result.err


@pytest.mark.parametrize(
    "arguments", [[], ["--transport", "sse"], ["abc", "--user", "1"], ["abc", "--node", "x"]]
)
def test_it_must_be_said_which(arguments: list[str]) -> None:
    result = run("disconnect", *arguments)
    assert result.code == 2
    assert "say which" in result.err


def test_servers_are_printed_one_a_line(server: ServerProcess) -> None:
    result = run("nodes", TIDEWIRE_URL=server.url)
    assert (result.code, result.err) == (0, "")
    [node] = result.lines
    assert node["pid"] == server.process.pid
    assert node["address"] == server.url
    assert node["draining"] is False


def test_what_the_server_does_not_understand_is_said(server: ServerProcess) -> None:
    result = run("connections", "--transport", "pigeon", TIDEWIRE_URL=server.url)
    assert result.code == 1
    assert "transport is one of" in result.err
