"""``tidewire sub`` and ``tidewire history`` against a real server."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.cli.commands import COMMAND, PATIENCE, Running, environment, run, serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server_process import ServerProcess

TRANSPORTS = pytest.mark.parametrize("transport", ["ws", "sse", "longpoll", "poll"])
# Where all have the same code behind them, a stream and a poll stand for the four.
EXAMPLES = pytest.mark.parametrize("transport", ["ws", "poll"])


def publish(server: ServerProcess, channel: str, *data: Any) -> list[str]:
    """Publish a message for each of ``data``; return their ids."""
    body = {"messages": [{"channel": channel, "data": one} for one in data]}
    answer = httpx.post(f"{server.url}/publish", json=body).raise_for_status()
    return [result["id"] for result in answer.json()["results"]]


@TRANSPORTS
def test_messages_of_several_channels_as_they_come(
    transport: str, live: ServerProcess, channel: str
) -> None:
    other = f"{channel}:2"
    with Running(
        "sub", f"{channel},{other}", "-t", transport, "-n", "3", TIDEWIRE_URL=live.url
    ) as sub:
        assert sub.told("connected") == f"connected to {live.url} ({transport})\n"
        published = publish(live, channel, {"n": 1.5}) + publish(live, other, "zwei", None)
        result = sub.end()
    assert result.code == 0
    messages = [line for line in result.lines if line["type"] == "message"]
    assert [one["id"] for one in messages] == published
    assert [(one["channel"], one["data"]) for one in messages] == [
        (channel, {"n": 1.5}),
        (other, "zwei"),
        (other, None),
    ]
    # Streams begin with a line that says so; polls have none.
    controls = [line["type"] for line in result.lines if line["type"] != "message"]
    assert controls == (["ready"] if transport in ("ws", "sse") else [])


@EXAMPLES
def test_since_cursor_and_count(transport: str, live: ServerProcess, channel: str) -> None:
    ids = publish(live, channel, *range(10))
    common = ["sub", channel, "-t", transport, "--messages-only", "--quiet", "--url", live.url]
    last = run(*common, "--since", "-3", "--count", "2")
    assert (last.code, last.err) == (0, "")
    assert last.data == [7, 8]
    assert run(*common, "--cursor", ids[4], "-n", "5").data == [5, 6, 7, 8, 9]


@EXAMPLES
def test_a_cursor_file_goes_on_after_a_kill(
    transport: str, live: ServerProcess, channel: str, tmp_path: Path
) -> None:
    publish(live, channel, *range(5))
    file = str(tmp_path / "cursor")
    arguments = ["sub", channel, "-t", transport, "--since", "start", "--messages-only",
                 "--cursor-file", file, "--url", live.url]  # fmt: skip
    with Running(*arguments) as sub:
        assert [sub.line()["data"] for _ in range(5)] == [0, 1, 2, 3, 4]
        publish(live, channel, 5)
        assert sub.line()["data"] == 5
        # The line was out before its cursor was kept; a later one has made sure of this one's.
        publish(live, channel, 6)
        assert sub.line()["data"] == 6
        sub.process.kill()
        sub.process.wait(PATIENCE)
    publish(live, channel, 7, 8)
    rest = run(*arguments, "-n", "2").data
    assert rest in ([7, 8], [6, 7])  # the last line may come once more, never less


def test_two_subscribers_cannot_share_a_cursor_file(live: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "cursor"
    with Running("sub", "a", "--cursor-file", str(file), TIDEWIRE_URL=live.url) as sub:
        sub.told("connected")
        result = run("sub", "a", "--cursor-file", str(file), TIDEWIRE_URL=live.url)
    assert result.code == 1
    assert result.err == (
        f"tidewire: {file} is in use by another subscriber; take another --cursor-file\n"
    )


@EXAMPLES
def test_a_server_that_restarts_is_found_again(transport: str, tmp_path: Path) -> None:
    """The server is killed and comes back with its log, and with what was published meanwhile."""
    engine = f"sqlite:///{tmp_path}/log.db"
    flags = ["--poll-interval", "0.05"]
    server = serve(tmp_path, *flags, engine=engine)
    port = server.port
    try:
        with Running(
            "sub", "a", "-t", transport, "--messages-only", TIDEWIRE_URL=server.url
        ) as sub:
            sub.told("connected")
            publish(server, "a", 1)
            assert sub.line()["data"] == 1
            server.kill()
            sub.told("next attempt in ")
            elsewhere = serve(tmp_path, engine=engine)
            publish(elsewhere, "a", 2)
            elsewhere.kill()
            server = serve(tmp_path, *flags, engine=engine, port=port)
            publish(server, "a", 3)
            assert [sub.line()["data"], sub.line()["data"]] == [2, 3]
            sub.told("connected")
            assert sub.end(signal.SIGINT).code == 0
    finally:
        server.kill()


@EXAMPLES
def test_a_gap_is_shown_and_said(transport: str, live: ServerProcess, channel: str) -> None:
    publish(live, channel, 1, 2)
    cursor_of_another_log = "AAAAAA-1"
    result = run("sub", channel, "-t", transport, "--cursor", cursor_of_another_log, "-n", "2",
                 TIDEWIRE_URL=live.url)  # fmt: skip
    [gap] = [line for line in result.lines if line["type"] == "gap"]
    assert (gap["channel"], gap["reason"]) == (channel, "reset")
    assert result.data == [1, 2]
    assert f"messages of {channel} are gone (reset)\n" in result.err


def test_cursors_for_each_channel(live: ServerProcess, channel: str) -> None:
    other = f"{channel}:2"
    first = publish(live, channel, 1, 2)
    second = publish(live, other, 3, 4)
    result = run("sub", channel, other, "--cursor", f"{first[1]},{second[0]}", "-n", "1",
                 "--messages-only", TIDEWIRE_URL=live.url)  # fmt: skip
    assert result.data == [4]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number: int, live: ServerProcess) -> None:
    with Running("sub", "a", TIDEWIRE_URL=live.url) as sub:
        sub.told("connected")
        result = sub.end(number)
    assert (result.code, result.err) == (0, "")


@EXAMPLES
def test_it_ends_when_nobody_reads_any_more(
    transport: str, live: ServerProcess, channel: str
) -> None:
    """As with ``| head -1``: at once, though no further message comes that could not be written."""
    publish(live, channel, 1)
    with Running("sub", channel, "--since", "start", "--messages-only", "-t", transport,
                 TIDEWIRE_URL=live.url) as sub:  # fmt: skip
        assert sub.line()["data"] == 1
        assert sub.process.stdout is not None
        sub.process.stdout.close()
        assert sub.process.wait(PATIENCE) == 0
        assert sub.process.stderr is not None
        assert b"Traceback" not in sub.process.stderr.read()


def test_it_ends_when_a_line_cannot_be_written(live: ServerProcess, channel: str) -> None:
    publish(live, channel, *("x" * 1000 for _ in range(3000)))
    command = " ".join([*COMMAND, "sub", channel, "--since", "start", "|", "head", "-2"])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        env=environment(TIDEWIRE_URL=live.url),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 2
    assert done.stderr.decode() == f"connected to {live.url} (ws)\n"


@pytest.mark.parametrize(
    ("redirection", "problem"),
    [
        (">/dev/full", "standard output cannot be written: no space left on device"),
        (">&-", "standard output is closed"),
    ],
)
def test_an_output_that_takes_nothing(
    redirection: str, problem: str, live: ServerProcess, channel: str
) -> None:
    done = subprocess.run(
        ["bash", "-c", " ".join([*COMMAND, "sub", channel, "--quiet", redirection])],
        capture_output=True,
        env=environment(TIDEWIRE_URL=live.url),
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (1, f"tidewire: {problem}\n")


def test_time_limits(live: ServerProcess, channel: str, free_port: int) -> None:
    # So long that there is a connection within it, though the machine stands still for a moment.
    enough = run("sub", channel, "--timeout", "3", TIDEWIRE_URL=live.url)
    assert (enough.code, enough.data) == (0, [])
    missing = run("sub", channel, "--timeout", "3", "-n", "1", "-q", TIDEWIRE_URL=live.url)
    assert missing.code == 1
    assert missing.err == "tidewire: 0 of 1 messages came in 3 s\n"
    url = f"http://127.0.0.1:{free_port}"
    nobody = run("sub", channel, "--timeout", "1", "-q", TIDEWIRE_URL=url)
    assert nobody.code == 1
    assert nobody.err == (
        f"tidewire: {url}: connection refused; there was no connection within 1 s\n"
    )


@pytest.mark.parametrize(
    ("transport", "arguments", "reason"),
    [
        ("ws", ["a b"], "'a b' is not a channel name"),
        ("sse", ["a", "--cursor", "!"], "'!' is not a cursor"),
        ("longpoll", ["a", "--since", "yesterday"], "since='yesterday'"),
    ],
)
def test_a_refusal_says_why(
    transport: str, arguments: list[str], reason: str, live: ServerProcess
) -> None:
    result = run("sub", *arguments, "-t", transport, TIDEWIRE_URL=live.url)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"tidewire: {live.url}: {reason}")
    assert result.err.count("\n") == 1


def test_wrong_calls(tmp_path: Path) -> None:
    cursors = run("sub", "a", "b", "--cursor", "x,y,z")
    assert cursors.code == 2
    assert "3 cursors do not fit 2 channels" in cursors.err
    nowhere = run("sub", "a", "--cursor-file", str(tmp_path / "no" / "file"))
    assert nowhere.code == 1
    assert nowhere.err.endswith("/no/file cannot keep the cursor: no such file or directory\n")


# History


def test_history_in_pages(live: ServerProcess, channel: str) -> None:
    ids = publish(live, channel, *range(1000))
    everything = run("history", channel, TIDEWIRE_URL=live.url)
    assert (everything.code, everything.err) == (0, "")
    assert everything.data == list(range(1000))
    assert [line["id"] for line in everything.lines] == ids
    assert run("history", channel, "--limit", "700", TIDEWIRE_URL=live.url).data == list(range(700))
    last = run("history", channel, "--since", "-2", TIDEWIRE_URL=live.url)
    assert last.data == [998, 999]
    after = run("history", channel, "--cursor", ids[3], "-n", "2", TIDEWIRE_URL=live.url)
    assert after.data == [4, 5]


def test_history_of_nothing_and_of_no_channel(live: ServerProcess, channel: str) -> None:
    nothing = run("history", channel, TIDEWIRE_URL=live.url)
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "")
    refused = run("history", "no such name", TIDEWIRE_URL=live.url)
    assert (refused.code, refused.out) == (1, "")
    assert "'no such name' is not a channel name" in refused.err
