"""What is kept, for how long, and in which version: ``pub --ttl``, ``--version`` and ``purge``."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.commands import COMMAND, PATIENCE, Running, environment, run

if TYPE_CHECKING:
    from tests.server_process import ServerProcess


def kept(server: ServerProcess, channel: str) -> list[Any]:
    return run("history", channel, "--messages-only", TIDEWIRE_URL=server.url).data


def test_a_message_lives_as_long_as_it_was_told(live: ServerProcess, channel: str) -> None:
    run("pub", channel, "for long", "--ttl", "3600", TIDEWIRE_URL=live.url)
    run("pub", channel, "hardly", "--ttl", "0.001", TIDEWIRE_URL=live.url)
    gap, message = run("history", channel, TIDEWIRE_URL=live.url).lines
    assert (gap["type"], gap["reason"]) == ("gap", "expired")
    assert message["data"] == "for long"


def test_only_a_newer_version_is_published(live: ServerProcess, channel: str) -> None:
    newest = run("pub", channel, "two", "--version", "2", TIDEWIRE_URL=live.url)
    older = run("pub", channel, "one", "--version", "1", TIDEWIRE_URL=live.url)
    assert (older.code, older.out) == (0, newest.out)
    assert kept(live, channel) == ["two"]


def test_lines_have_no_version(live: ServerProcess, channel: str) -> None:
    result = run("pub", channel, "--version", "1", stdin=b"1\n2\n", TIDEWIRE_URL=live.url)
    assert result.code == 2
    assert "one version is for one message" in result.err


@pytest.mark.parametrize(
    ("flags", "problem"), [(["--ttl", "0"], "ttl"), (["--version", "0"], "version")]
)
def test_a_refusal_says_why(
    flags: list[str], problem: str, live: ServerProcess, channel: str
) -> None:
    result = run("pub", channel, "x", *flags, TIDEWIRE_URL=live.url)
    assert result.code == 1
    assert problem in result.err
    assert "(HTTP 400)" in result.err


def test_purging_empties_a_channel_and_tells_its_readers(live: ServerProcess, channel: str) -> None:
    run("pub", channel, stdin=b"1\n2\n", TIDEWIRE_URL=live.url)
    with Running("sub", channel, TIDEWIRE_URL=live.url) as sub:
        assert sub.line()["type"] == "ready"
        purged = run("purge", channel, "--yes", TIDEWIRE_URL=live.url)
        assert (purged.code, purged.err) == (0, "")
        [answer] = purged.lines
        gap = sub.line()
        assert (gap["type"], gap["reason"], gap["id"]) == ("gap", "expired", answer["id"])
    assert answer["channel"] == channel
    assert kept(live, channel) == []
    assert run("pub", channel, "3", TIDEWIRE_URL=live.url).lines[0]["seq"] == 3


def test_a_forgotten_channel_begins_again(live: ServerProcess, channel: str) -> None:
    run("pub", channel, "1", "--version", "5", TIDEWIRE_URL=live.url)
    assert run("purge", channel, "--forget", "-y", TIDEWIRE_URL=live.url).code == 0
    again = run("pub", channel, "2", "--version", "1", TIDEWIRE_URL=live.url)
    assert again.lines[0]["seq"] == 1
    assert kept(live, channel) == [2]


def test_purging_asks_first(live: ServerProcess, channel: str) -> None:
    run("pub", channel, "1", TIDEWIRE_URL=live.url)
    nobody = run("purge", channel, TIDEWIRE_URL=live.url)
    assert nobody.code == 2
    assert "nobody can be asked here; add --yes" in nobody.err
    for said, code, left in ((b"n\n", 1, [1]), (b"y\n", 0, [])):
        asked, answer = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "purge", channel],
            stdin=answer,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(TIDEWIRE_URL=live.url),
        )
        os.write(asked, said)
        _, err = process.communicate(timeout=PATIENCE)
        os.close(asked)
        os.close(answer)
        assert f"Discard all messages of {channel} on {live.url}?" in err.decode()
        assert process.returncode == code
        assert kept(live, channel) == left
