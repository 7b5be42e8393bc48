"""Commands for a server that asks who its clients are."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import typer.main
from typer.testing import CliRunner

from tests.acceptance.credentials import KEY, SECRET, token
from tests.cli.commands import COMMAND, PATIENCE, Running, environment, run, serve
from tidewire.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess

NEWS = {"news:*": ["subscribe", "publish", "history"]}
ID = "AAAAAA-1"
COMMANDS = {
    "pub": ["pub", "news:1", "hello"],
    "sub": ["sub", "news:1"],
    "sub sse": ["sub", "news:1", "-t", "sse"],
    "sub longpoll": ["sub", "news:1", "-t", "longpoll"],
    "sub poll": ["sub", "news:1", "-t", "poll"],
    "history": ["history", "news:1"],
    "upload": ["upload", "news:1", __file__],
    "purge": ["purge", "news:1", "--yes"],
    "ack": ["ack", "worker", ID],
    "nack": ["nack", "worker", ID],
    "receipts": ["receipts", "news:1", ID],
    "connections": ["connections"],
    "disconnect": ["disconnect", "--user", "nobody"],
    "nodes": ["nodes"],
    "presence": ["presence", "news:1"],
    "revoke": ["revoke", "--user", "nobody"],
}
EVERY_COMMAND = pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
# Where all have the same code behind them, some stand for the others.
EXAMPLES = pytest.mark.parametrize("name", ["pub", "sub", "sub poll", "history", "upload", "purge"])
FLAGS = {"--token", "--token-file", "--api-key", "--api-key-file"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("guarded")
    flags = ["--poll-interval", "0.05", "--upload-dir", str(directory / "uploads")]
    server = serve(directory, *flags, TIDEWIRE_API_KEY=KEY, TIDEWIRE_TOKEN_SECRET=SECRET)
    try:
        yield server
    finally:
        server.kill()
    assert "Traceback" not in server.log(), server.log()


def test_every_command_for_a_server_takes_credentials() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    flags = {
        name: {flag for parameter in command.params for flag in parameter.opts}
        for name, command in commands.items()
    }
    takers = {name for name, its in flags.items() if "--url" in its}
    assert takers == {arguments[0] for arguments in COMMANDS.values()}
    assert all(flags[name] >= FLAGS for name in takers)


@EVERY_COMMAND
def test_without_any_it_says_what_to_give(arguments: list[str], guarded: ServerProcess) -> None:
    result = run(*arguments, TIDEWIRE_URL=guarded.url)
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"tidewire: {guarded.url}: this server asks who you are: give --token or --api-key "
        "(TIDEWIRE_TOKEN, TIDEWIRE_API_KEY)\n"
    )


@EXAMPLES
def test_what_is_not_good_any_more_is_named_and_not_shown(
    name: str, guarded: ServerProcess
) -> None:
    expired = token("42", NEWS, lasts=-5)
    result = run(*COMMANDS[name], TIDEWIRE_URL=guarded.url, TIDEWIRE_TOKEN=expired)
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"tidewire: {guarded.url}: the token has expired: get a new one (HTTP 401); "
        "the token came from TIDEWIRE_TOKEN\n"
    )


def test_lines_that_nobody_may_publish_are_named(guarded: ServerProcess) -> None:
    wrong = run("pub", "other", "--token", token("42", NEWS), stdin=b"1\n2\n",
                TIDEWIRE_URL=guarded.url)  # fmt: skip
    assert wrong.code == 1
    assert wrong.err.endswith(
        "tidewire: lines 1 to 2: you may not publish to 'other' (HTTP 403); "
        "the token came from --token\n"
    )
    unknown = run("pub", "news:1", "--quiet", stdin=b"1\n", TIDEWIRE_URL=guarded.url)
    assert unknown.err.startswith("tidewire: line 1: this server asks who you are")


def test_each_way_to_give_them(guarded: ServerProcess, tmp_path: Path) -> None:
    good, expired = token("42", NEWS), token("42", NEWS, lasts=-5)
    (tmp_path / "token").write_text(f"{good}\n")
    (tmp_path / "key").write_text(f"{KEY}\n")
    ways: list[tuple[list[str], dict[str, Any]]] = [
        (["--token", good], {}),
        (["--api-key", KEY], {}),
        (["--token-file", str(tmp_path / "token")], {}),
        (["--api-key-file", str(tmp_path / "key")], {}),
        ([], {"TIDEWIRE_TOKEN": good}),
        ([], {"TIDEWIRE_API_KEY": KEY}),
        # A flag comes first, and a token before a key, which may be there for a server.
        (["--api-key", KEY], {"TIDEWIRE_TOKEN": expired}),
        ([], {"TIDEWIRE_TOKEN": good, "TIDEWIRE_API_KEY": "wrong"}),
    ]
    for flags, variables in ways:
        result = run("pub", "news:ways", "1", *flags, TIDEWIRE_URL=guarded.url, **variables)
        assert (result.code, result.err) == (0, ""), (flags, variables)


def test_a_pipe_in_place_of_a_file(guarded: ServerProcess) -> None:
    """It can be read once only, which is enough while the token is good."""
    command = f"{' '.join(COMMAND)} pub news:pipe 1 --token-file <(echo '{token('42', NEWS)}')"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        env=environment(TIDEWIRE_URL=guarded.url),
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_one_of_them_at_a_time() -> None:
    result = run("pub", "news:1", "1", "--token", "secret-1", "--api-key", "secret-2")
    assert result.code == 2
    assert "give one of --token, --token-file, --api-key and --api-key-file" in result.err
    assert "secret-" not in result.err


@pytest.mark.parametrize("given", ["--token", "--api-key"])
def test_what_cannot_be_sent_is_not_shown(given: str) -> None:
    result = run("sub", "news:1", given, "very secret")
    kind = "token" if given == "--token" else "key"
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"tidewire: the {kind} of {given} is none: it is visible ASCII characters without spaces\n"
    )


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = run("sub", "news:1", "--token-file", str(tmp_path / "none"))
    assert missing.code == 2
    assert missing.err.endswith("/none cannot be read: no such file or directory\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    binary = run("sub", "news:1", "--api-key-file", str(tmp_path / "binary"))
    assert binary.code == 2
    assert binary.err.endswith("/binary cannot be read: not text\n")


@pytest.mark.parametrize("command", sorted({arguments[0] for arguments in COMMANDS.values()}))
def test_help_shows_no_secret(command: str) -> None:
    variables = {"TIDEWIRE_TOKEN": "secret-1", "TIDEWIRE_API_KEY": "secret-2", "COLUMNS": "200"}
    result = CliRunner().invoke(app, [command, "--help"], env=variables)
    assert result.exit_code == 0
    assert "also TIDEWIRE_TOKEN" in result.output
    assert "secret-" not in result.output


def test_the_variable_of_a_token_is_no_setting_of_a_server(tmp_path: Path) -> None:
    assert run("config", "--check", cwd=tmp_path, TIDEWIRE_TOKEN="x").code == 0


def test_a_password_in_the_address_is_not_shown(free_port: int) -> None:
    url = f"http://user:secret@127.0.0.1:{free_port}"
    result = run("pub", "news:1", "1", "--timeout", "0", TIDEWIRE_URL=url)
    assert result.code == 1
    assert f"tidewire: http://127.0.0.1:{free_port}: connection refused" in result.err
    assert "secret" not in result.err


# While it runs


@contextmanager
def renewed(path: Path, make: Callable[[], str]) -> Iterator[None]:
    """Inside of the block somebody puts new contents into a file all the time."""
    over = Event()
    new = path.with_suffix(".new")

    def put() -> None:
        new.write_text(make())
        new.rename(path)

    def run() -> None:
        while not over.wait(0.1):
            put()

    put()
    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("transport", ["ws", "sse", "longpoll", "poll"])
def test_a_file_with_tokens_keeps_it_going(
    transport: str, guarded: ServerProcess, tmp_path: Path
) -> None:
    """It is read again before each token expires, which is every five seconds."""
    channel = f"news:file:{transport}"
    file = tmp_path / "token"
    with (
        renewed(file, lambda: token("42", NEWS, lasts=5)),
        Running(
            "sub", channel, "-t", transport, "--messages-only", "--token-file", str(file),
            TIDEWIRE_URL=guarded.url,
        ) as sub,
    ):  # fmt: skip
        sub.told("connected")
        until = time.monotonic() + 7
        number = 0
        while time.monotonic() < until:
            number += 1
            message = {"channel": channel, "data": number}
            headers = {"X-API-Key": KEY}
            httpx.post(f"{guarded.url}/publish", json=message, headers=headers).raise_for_status()
            assert sub.line()["data"] == number
        result = sub.end(signal.SIGTERM)
    assert (result.code, result.out) == (0, "")


# Revoking


def test_a_user_that_is_revoked_is_put_out(guarded: ServerProcess) -> None:
    ann = token("ann", NEWS)
    with Running("sub", "news:1", "--token", ann, TIDEWIRE_URL=guarded.url) as sub:
        sub.told("connected")
        revoked = run("revoke", "--user", "ann", "--api-key", KEY, TIDEWIRE_URL=guarded.url)
        assert (revoked.code, revoked.out, revoked.err) == (0, "", "revoked: user ann\n")
        result = sub.end()
    assert result.code == 1
    assert "4401 this connection is no longer welcome; the token came from --token" in result.err
    again = run("sub", "news:1", "--token", ann, TIDEWIRE_URL=guarded.url)
    assert again.err.startswith(f"tidewire: {guarded.url}: this token is no longer good")


@pytest.mark.parametrize("what", ["--token-id", "--session"])
def test_one_token_or_one_session(what: str, guarded: ServerProcess) -> None:
    mine = token("bob", NEWS, jti=f"bob{what}")
    with Running("sub", "news:1", "--token", mine, TIDEWIRE_URL=guarded.url) as sub:
        name = sub.line()["session"] if what == "--session" else f"bob{what}"
        sub.told("connected")
        revoked = run("revoke", what, name, "-q", "--api-key", KEY, TIDEWIRE_URL=guarded.url)
        assert (revoked.code, revoked.err) == (0, "")
        assert sub.end().code == 1


@pytest.mark.parametrize("arguments", [[], ["--user", "a", "--session", "b"]])
def test_one_thing_is_revoked_at_a_time(arguments: list[str]) -> None:
    result = run("revoke", *arguments)
    assert result.code == 2
    assert "say what to revoke by one of --user, --session and --token-id" in result.err


def test_a_user_revokes_nobody(guarded: ServerProcess) -> None:
    result = run("revoke", "--user", "a", "--token", token("42", NEWS), TIDEWIRE_URL=guarded.url)
    assert result.code == 1
    assert "keys of back ends that have the scope for it (HTTP 403)" in result.err


def test_receipts_name_the_user_whose_consumer_it_is(guarded: ServerProcess) -> None:
    published = run("pub", "news:read", "1", "--api-key", KEY, TIDEWIRE_URL=guarded.url)
    [receipt] = published.lines
    for user in ("ann-2", "bob-2"):
        flags = ["--consumer", "reader", "--since", "start", "-n", "1", "-q"]
        flags += ["--token", token(user, NEWS)]
        assert run("sub", "news:read", *flags, TIDEWIRE_URL=guarded.url).code == 0
    result = run("receipts", "news:read", receipt["id"], "--api-key", KEY, TIDEWIRE_URL=guarded.url)
    assert [json.loads(line) for line in result.out.splitlines()] == [
        {"consumer": "reader", "acknowledged": True, "user": "ann-2"},
        {"consumer": "reader", "acknowledged": True, "user": "bob-2"},
    ]
    assert result.err == "acknowledged by 2, not yet by 0\n"
