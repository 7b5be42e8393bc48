"""Starting, draining and stopping the server's process."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tidewire.log import MemoryEngine
from tidewire.log.sqlite import SqliteEngine
from tidewire.server.listening import StartError
from tidewire.server.runner import engine_of, run
from tidewire.settings import NamespaceSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess


def why_not(**settings: object) -> str:
    """What a server that cannot start says."""
    with pytest.raises(StartError) as caught:
        run(Settings.model_validate({"engine": "memory:", "port": 0, **settings}))
    return str(caught.value)


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = why_not(port=port)
    assert f"cannot listen on 127.0.0.1 port {port}" in said
    assert "in use" in said
    assert "--port 0" in said  # what to do


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine(host: str) -> None:
    said = why_not(host=host, insecure=True)
    assert said.startswith(f"host {host!r} is no address of this machine")
    assert "--port" not in said  # another port would not help


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = why_not(engine=f"sqlite:///{tmp_path}/file/log.db")
    assert "file" in said


def test_a_failed_start_leaves_the_port_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    (tmp_path / "file").touch()
    why_not(engine=f"sqlite:///{tmp_path}/file/log.db", port=port)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_engine_that_the_settings_name(tmp_path: Path) -> None:
    short = NamespaceSettings(history_size=5)
    settings = Settings(
        engine="memory:",
        history_size=7,
        history_ttl=60.0,
        namespaces={"short": short, "brief": NamespaceSettings(history_ttl=1.5)},
    )
    engine = engine_of(settings)
    assert isinstance(engine, MemoryEngine)
    kept = [tuple(engine.namespaces.retention(c)) for c in ("a", "short:a", "brief:a")]
    assert kept == [(7, 60_000_000), (5, 60_000_000), (7, 1_500_000)]
    in_file = settings.model_copy(update={"engine": f"sqlite:///{tmp_path}/log.db"})
    assert isinstance(engine_of(in_file), SqliteEngine)
    assert not (tmp_path / "log.db").exists()  # it is not opened yet


def test_loopback_of_ipv6(start: StartServer) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    server = start(host="::1")
    assert f"http://[::1]:{server.port}\n" in server.log()
    assert httpx.get(f"http://[::1]:{server.port}/readyz").status_code == 200


def connect(server: ServerProcess, *requests: str) -> socket.socket:
    """A client that has sent *requests*."""
    client = socket.create_connection(server.address, timeout=15)
    for line in requests:
        client.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client


def read_until(client: socket.socket, mark: bytes) -> bytes:
    """What comes up to *mark*."""
    data = b""
    while mark not in data:
        piece = client.recv(65_536)
        assert piece, data
        data += piece
    return data


def read_to_end(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    data = b""
    while piece := client.recv(65_536):
        data += piece
    return data


def received_to_end(client: socket.socket) -> int:
    """The bytes that come until the server closes, in order or not."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 20):
            count += len(piece)
    return count


@pytest.mark.parametrize("ask", ["terminate", "interrupt"])
def test_a_signal_drains(start: StartServer, ask: str) -> None:
    server = start(drain_timeout=10)
    with (
        connect(server, "GET /sse?channels=a") as stream,
        connect(server, "GET /healthz", "GET /longpoll?channels=a&wait=60") as poll,
        connect(server) as idle,
    ):
        read_until(stream, b"tidewire.ready")
        read_until(poll, b'"ok"}')
        begin = time.monotonic()
        getattr(server, ask)()
        assert b"tidewire.close" in read_to_end(stream)
        last = read_to_end(poll)
        assert last.startswith(b"HTTP/1.1 204 ")
        assert b"Connection: close\r\n" in last
        assert read_to_end(idle) == b""
        assert server.wait() == 0
    assert time.monotonic() - begin < 8  # nobody stayed: there was nothing to wait for
    assert "stopped" in server.log()


def test_a_client_that_takes_nothing_is_cut_when_the_time_is_up(start: StartServer) -> None:
    server = start(drain_timeout=1)
    httpx.post(f"{server.url}/publish", json={"channel": "a", "data": "x" * 1_000_000})
    with connect(server, *["GET /history?channel=a"] * 30) as client:
        read_until(client, b"HTTP/1.1 200 OK")
        server.terminate()
        assert server.wait() == 0
        assert "stopped" in server.log()
        assert received_to_end(client) < 29_000_000


def test_the_end_of_a_bad_request_does_not_hold_up_the_drain(start: StartServer) -> None:
    server = start(drain_timeout=30)
    with connect(server, "POST /nonsense nonsense") as client:
        assert b" 400 " in read_to_end(client)
        server.terminate()
        assert server.wait() == 0


def test_a_second_signal_changes_nothing(start: StartServer) -> None:
    server = start(drain_timeout=5)
    with connect(server, "GET /sse?channels=a") as stream:
        read_until(stream, b"tidewire.ready")
        server.terminate()
        server.terminate()
        assert read_to_end(stream).endswith(b"0\r\n\r\n")
        assert server.wait() == 0
