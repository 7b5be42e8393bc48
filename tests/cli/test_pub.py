"""``tidewire pub``: arguments, files and lines, and what happens when the server says no."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.cli.commands import COMMAND, PATIENCE, environment, run, serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server_process import ServerProcess


def kept(server: ServerProcess, channel: str) -> list[dict[str, Any]]:
    """The messages of a channel."""
    messages: list[dict[str, Any]] = []
    query = {"channel": channel}
    while True:
        page = httpx.get(f"{server.url}/history", params=query).json()
        messages += page["messages"]
        if not page.get("more"):
            return messages
        query["cursor"] = page["cursor"]


def data(server: ServerProcess, channel: str) -> list[Any]:
    """The data of a channel's messages."""
    return [message["data"] for message in kept(server, channel)]


def test_an_argument_is_published_and_answered(live: ServerProcess, channel: str) -> None:
    published = run("pub", channel, '{"ä": [1.50, null]}', TIDEWIRE_URL=live.url)
    assert (published.code, published.err) == (0, "")
    [receipt] = published.lines
    [message] = kept(live, channel)
    assert message["data"] == {"ä": [1.5, None]}
    assert receipt == {"channel": channel, "id": message["id"], "seq": 1}


def test_text_is_not_taken_for_json_if_so_wished(live: ServerProcess, channel: str) -> None:
    result = run("pub", channel, "--text", "--quiet", "--", "-5", TIDEWIRE_URL=live.url)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert data(live, channel) == ["-5"]


def test_event_headers_and_key(live: ServerProcess, channel: str) -> None:
    flags = ["--event", "greeting", "--header", "lang=en", "--header", "a=b=c", "--key", "k"]
    first = run("pub", channel, "hello", *flags, TIDEWIRE_URL=live.url)
    again = run("pub", channel, "hello", *flags, TIDEWIRE_URL=live.url)
    assert first.code == again.code == 0
    assert first.out == again.out
    [message] = kept(live, channel)
    assert message["event"] == "greeting"
    assert message["headers"] == {"lang": "en", "a": "b=c"}


def test_without_a_key_every_call_publishes(live: ServerProcess, channel: str) -> None:
    for _ in range(2):
        run("pub", channel, "same", TIDEWIRE_URL=live.url)
    assert data(live, channel) == ["same", "same"]


def test_a_binary_file(live: ServerProcess, channel: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\x00\xff")
    assert run("pub", channel, "--file", str(path), TIDEWIRE_URL=live.url).code == 0
    [message] = kept(live, channel)
    assert base64.b64decode(message["data"]) == b"\x89PNG\x00\xff"
    assert message["encoding"] == "base64"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["x", "--file", "y"], "give DATA or --file, not both"),
        (["x", "--header", "y"], "'y' is not of the form NAME=VALUE"),
        (["x", "--url", "nowhere"], "'nowhere' is not the address of a server"),
        (["--file", "/nonexistent"], "/nonexistent cannot be read: no such file or directory"),
        (["--json", "{"], "DATA cannot be published: it is not JSON: "),
    ],
)
def test_what_cannot_be_published_is_a_usage_error(arguments: list[str], problem: str) -> None:
    result = run("pub", "news", *arguments)
    assert (result.code, result.out) == (2, "")
    assert problem in " ".join(result.err.split())


def test_a_refusal_says_why(live: ServerProcess) -> None:
    result = run("pub", "no such name", "x", TIDEWIRE_URL=live.url)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"tidewire: {live.url}: 'no such name' is not a channel name")
    assert result.err.count("\n") == 1


def test_a_server_that_is_not_there_is_given_up(free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    result = run("pub", "news", "x", "--timeout", "0", TIDEWIRE_URL=url)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"tidewire: {url}: connection refused; gave up after 0 s")


# Lines


def test_lines_are_messages(live: ServerProcess, channel: str) -> None:
    stdin = b'plain\n{"a":1}\n\n  \n"quoted"\r\nlast'
    result = run("pub", channel, "-", stdin=stdin, TIDEWIRE_URL=live.url)
    assert result.code == 0
    messages = kept(live, channel)
    assert [one["data"] for one in messages] == ["plain", {"a": 1}, "quoted", "last"]
    assert [line["id"] for line in result.lines] == [one["id"] for one in messages]
    assert result.err.startswith(f"published 4 messages to {channel} in ")


def test_as_text_a_blank_line_is_a_message(live: ServerProcess, channel: str) -> None:
    run("pub", channel, "--text", stdin=b"1\n\n 2\n", TIDEWIRE_URL=live.url)
    assert data(live, channel) == ["1", "", " 2"]


def test_many_lines_keep_their_order(live: ServerProcess, channel: str) -> None:
    stdin = b"".join(b"%d\n" % number for number in range(9_000))
    result = run("pub", channel, "--quiet", stdin=stdin, TIDEWIRE_URL=live.url)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert data(live, channel) == list(range(9_000))


def test_a_line_is_published_before_the_next_one_is_written(
    live: ServerProcess, channel: str
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "pub", channel],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TIDEWIRE_URL=live.url),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(3):
        process.stdin.write(b"%d\n" % number)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["seq"] == number + 1
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_an_interrupt_says_how_far_it_came(live: ServerProcess, channel: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "pub", channel],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TIDEWIRE_URL=live.url),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"1\n2\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    _, err = process.communicate()
    assert err.startswith(b"published 2 messages to ")


def test_lines_with_a_key_are_published_once(live: ServerProcess, channel: str) -> None:
    first = run("pub", channel, "--key", "k", stdin=b"a\nb\n", TIDEWIRE_URL=live.url)
    again = run("pub", channel, "--key", "k", stdin=b"a\nb\nc\n", TIDEWIRE_URL=live.url)
    assert again.lines[:2] == first.lines
    assert data(live, channel) == ["a", "b", "c"]


def test_a_line_that_is_no_message_is_named(live: ServerProcess, channel: str) -> None:
    result = run("pub", channel, "--json", stdin=b"1\n2\n{\n4\n", TIDEWIRE_URL=live.url)
    assert result.code == 1
    summary, failure = result.err.splitlines()
    assert summary.startswith(f"published 2 messages to {channel} in ")
    assert failure.startswith("tidewire: line 3: it is not JSON: ")
    assert data(live, channel) == [1, 2]


def test_a_line_that_the_server_refuses_is_named(tmp_path: Path) -> None:
    server = serve(tmp_path, "--max-message-size", "64", "--max-batch-size", "600")
    try:
        lines = [b"%03d" % number for number in range(40)]
        lines[25] = b"x" * 100
        result = run("pub", "a", "--text", stdin=b"\n".join(lines), TIDEWIRE_URL=server.url)
        assert result.code == 1
        # Neither the batches, too large as they are at first, nor the one line stop those before.
        assert data(server, "a") == [f"{n:03}" for n in range(25)]
        assert "tidewire: line 26: " in result.err
        assert "published 25 messages to a in " in result.err
    finally:
        server.kill()


def test_a_reader_of_the_answers_may_leave(live: ServerProcess, channel: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "pub", channel],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TIDEWIRE_URL=live.url),
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(b"1\n2\n3\n", timeout=PATIENCE)
    assert process.returncode == 0
    assert err.startswith(b"published 3 messages")
    assert data(live, channel) == [1, 2, 3]


def test_people_see_a_progress_bar(live: ServerProcess, channel: str, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(b"%d\n" % number for number in range(5_000)))
    ours, theirs = pty.openpty()
    with lines.open("rb") as stdin:
        process = subprocess.Popen(
            [*COMMAND, "pub", channel],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=environment(TIDEWIRE_URL=live.url, TERM="xterm"),
        )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        pass  # what a terminal says when its other side is closed
    finally:
        os.close(ours)
    assert process.wait(PATIENCE) == 0
    assert b"100%" in shown
    assert b"5,000 messages" in shown
    assert b"published 5,000 messages" in shown.splitlines()[-1]


# To whom


def published(live: ServerProcess, *arguments: str) -> list[str]:
    """Where the messages went, by the receipts."""
    result = run("pub", *arguments, TIDEWIRE_URL=live.url)
    assert result.code == 0, result.err
    return [receipt["channel"] for receipt in result.lines]


def test_to_users_and_to_all(live: ServerProcess) -> None:
    assert published(live, "--user", "42", "hello") == ["user:#42"]
    assert published(live, "hello", "--user", "42", "--device", "tv") == ["user:tv#42"]
    assert published(live, "--user", "42", "--user", "43", "hello") == ["user:#42", "user:#43"]
    assert published(live, "--channel", "a", "--channel", "b", "hello") == ["a", "b"]
    assert published(live, "--channel", "a", "hello") == ["a"]
    assert published(live, "--all", "hello") == ["@all"]
    assert data(live, "user:#42") == ["hello", "hello"]


def test_lines_to_some(live: ServerProcess) -> None:
    flags = ["--user", "51", "--user", "52", "--text"]
    result = run("pub", *flags, stdin=b"a\nb\n", TIDEWIRE_URL=live.url)
    assert result.code == 0
    assert [one["channel"] for one in result.lines] == ["user:#51", "user:#52"] * 2
    assert "published 2 messages to users 51, 52" in result.err
    assert data(live, "user:#52") == ["a", "b"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--user", "42", "--all", "hello"],
        ["news", "hello", "--all"],
        ["news", "hello", "--device", "tv"],
        ["hello", "--user", "1", "--user", "2", "--device", "tv"],
    ],
)
def test_it_goes_one_way(live: ServerProcess, arguments: list[str]) -> None:
    result = run("pub", *arguments, TIDEWIRE_URL=live.url)
    assert result.code == 2
    assert "Traceback" not in result.err
