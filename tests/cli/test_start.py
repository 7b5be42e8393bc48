"""The first things people see: help, versions, settings, and what stops a server from starting."""

from __future__ import annotations

import json
import platform
import signal
import socket
import sqlite3
import tomllib
from typing import TYPE_CHECKING

import httpx
import pytest

import tidewire
from tests.cli.commands import run, serve
from tidewire.settings import Settings
from tidewire.settings.describe import flag_name

if TYPE_CHECKING:
    from pathlib import Path

# Help and versions


def test_alone_it_shows_help_with_an_example() -> None:
    result = run()
    assert (result.code, result.err) == (0, "")
    for line in ("tidewire serve", "tidewire sub news", 'tidewire pub news "Hello, world"'):
        assert line in result.out
    for command in ("serve", "pub", "sub", "history", "config", "version"):
        assert f"│ {command} " in result.out


def test_every_setting_has_a_flag() -> None:
    result = run("serve", "--help")
    assert result.code == 0
    for name in Settings.model_fields:
        assert f" {flag_name(name)} " in result.out
    for panel in ("Where it listens", "The log", "Limits", "Time", "Other"):
        assert f"─ {panel} ─" in result.out


@pytest.mark.parametrize("arguments", [["nope"], ["serve", "--prot", "1"], ["sub"], ["pub"]])
def test_a_wrong_call_is_a_usage_error(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert "Usage:" in result.err


def test_a_near_flag_is_suggested() -> None:
    assert "--port" in run("serve", "--prot", "1").err


def test_versions() -> None:
    assert run("--version").out == f"tidewire {tidewire.__version__}\n"
    assert run("version").out.splitlines()[:2] == [
        f"tidewire {tidewire.__version__}",
        f"python {platform.python_version()}",
    ]
    versions = json.loads(run("version", "--json").out)
    assert set(versions) == {"tidewire", "python", "uvloop", "httptools", "sqlite"}
    assert versions["sqlite"] == sqlite3.sqlite_version


# Settings


def test_the_default_file_can_be_used_as_it_is(tmp_path: Path) -> None:
    result = run("config", "--defaults")
    assert result.code == 0
    (tmp_path / "tidewire.toml").write_text(result.out)
    assert run("config", "--check", cwd=tmp_path).code == 0
    assert Settings.model_validate(tomllib.loads(result.out)) == Settings()


def test_config_says_where_each_setting_comes_from(tmp_path: Path) -> None:
    (tmp_path / "tidewire.toml").write_text("poll_interval = 5\n")
    result = run("config", "--port", "1", cwd=tmp_path, TIDEWIRE_SSE_RETRY="7")
    assert result.code == 0
    lines = {line.split(" = ")[0]: line for line in result.out.splitlines()}
    assert lines["port"].split() == ["port", "=", "1", "#", "--port"]
    assert lines["sse_retry"].split() == ["sse_retry", "=", "7", "#", "TIDEWIRE_SSE_RETRY"]
    assert lines["poll_interval"].endswith(f"# {tmp_path}/tidewire.toml")
    assert lines["host"].endswith("# default")
    assert tomllib.loads(result.out)["poll_interval"] == 5


def test_config_check(tmp_path: Path) -> None:
    assert run("config", "--check", cwd=tmp_path).out == "the settings hold; 0 of them were given\n"
    result = run("config", "--check", cwd=tmp_path, TIDEWIRE_PORT="x", TIDEWIRE_PROT="1")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "tidewire: 2 things are wrong with the settings:\n"
        "  TIDEWIRE_PROT: unknown variable; did you mean TIDEWIRE_PORT?\n"
        '  port: "x" (from TIDEWIRE_PORT) is not allowed; it takes a whole number from 0 to 65535\n'
    )


def test_config_takes_one_wish_at_a_time() -> None:
    assert "not both" in run("config", "--defaults", "--check").err


# Serving


def test_it_says_where_it_listens_and_is_ready(tmp_path: Path) -> None:
    server = serve(tmp_path)
    try:
        assert server.log().splitlines()[0].startswith(f"tidewire listening on {server.url}")
        assert httpx.get(f"{server.url}/readyz").status_code == 200
    finally:
        server.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: int, tmp_path: Path) -> None:
    server = serve(tmp_path)
    server.process.send_signal(number)
    assert server.wait() == 0
    assert "Traceback" not in server.log()


def test_settings_reach_the_server_from_every_source(tmp_path: Path) -> None:
    (tmp_path / "tidewire.toml").write_text('path_prefix = "/file"\nmin_poll_interval = 7\n')
    server = serve(tmp_path, "--path-prefix", "/flag", TIDEWIRE_POLL_INTERVAL="7")
    try:
        answer = httpx.get(f"{server.url}/flag/poll?channels=a")
        assert answer.json()["interval"] == 7000
        assert httpx.get(f"{server.url}/flag/poll?channels=a").status_code == 429
    finally:
        server.kill()


def test_the_log_is_kept_below_the_working_directory(tmp_path: Path) -> None:
    server = serve(tmp_path, engine="sqlite:///tidewire-data/log.db")
    assert (tmp_path / "tidewire-data" / "log.db").exists()
    server.kill()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--port", "99999"], "port: 99999 (from --port) is not allowed; "),
        (["--host", "0.0.0.0"], 'host: "0.0.0.0" (from --host): other machines could '),
        (["--engine", "mysql://h"], 'engine: "mysql://h" (from --engine) is not allowed '),
        (["--engine", "memory:", "--workers", "2"], "workers: 2 (from --workers): a log in "),
        (["--config", "missing.toml"], "/missing.toml: cannot be read: No such file or directory"),
    ],
)
def test_wrong_settings_stop_the_start(arguments: list[str], problem: str, tmp_path: Path) -> None:
    result = run("serve", *arguments, cwd=tmp_path)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("tidewire: ")
    assert problem in result.err
    assert not list(tmp_path.iterdir())


def test_insecure_allows_other_addresses(tmp_path: Path) -> None:
    server = serve(tmp_path, "--host", "0.0.0.0", "--insecure")
    assert server.host == "0.0.0.0"
    server.kill()


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--port", str(port), "--engine", "memory:", cwd=tmp_path)
    assert result.code == 1
    assert result.err == (
        f"tidewire: port {port} of 127.0.0.1 is in use; end the program that has it, "
        "or choose another with --port (0 picks a free one)\n"
    )


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    result = run("serve", "--host", "192.0.2.1", "--insecure", "--engine", "memory:", cwd=tmp_path)
    assert result.code == 1
    assert result.err == (
        "tidewire: this machine has no address 192.0.2.1; set --host to one that it has\n"
    )


@pytest.mark.parametrize("kind", ["folder", "file", "not a database"])
def test_a_database_that_cannot_be_used(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"this is a text, and not a database at all. " * 100)
    if kind == "file":
        path = path / "log.db"
    result = run("serve", "--engine", f"sqlite:///{path}", "--port", "0")
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("tidewire: ")
    assert str(tmp_path) in result.err
    assert result.err.endswith("; choose another place with --engine\n")
    assert result.err.count("\n") == 1
