"""The demo's producer, run as `make demo` runs it, against a real server."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

SCRIPT = Path(__file__).parents[2] / "examples" / "live_traffic.py"
PATIENCE = 30
"""Seconds for what takes a moment, on a loaded machine."""
CHANNELS = ("market:demo", "ai:demo", "sale:demo", "alerts:demo")


class StartTraffic:
    """Starts producers and ends them with the test."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[str]] = []

    def __call__(self, url: str, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--url", url, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        return process


@pytest.fixture
def traffic() -> Iterator[StartTraffic]:
    """Start a producer on a server's address."""
    start = StartTraffic()
    yield start
    for process in start.running:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    """The next line that the producer prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def messages(server: ServerProcess, channel: str) -> list[dict[str, Any]]:
    """Everything that a channel holds, oldest first."""
    found: list[dict[str, Any]] = []
    where = {"since": "start"}
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        while True:
            page = client.get("/poll", params={"channels": channel, **where}).json()
            if not page["messages"]:
                return found
            found += page["messages"]
            where = {"cursor": page["cursor"]}


def assert_told_once_in_order(server: ServerProcess) -> None:
    """What each channel tells makes sense only if nothing is lost, repeated or swapped."""
    for channel in CHANNELS:
        numbers = [m["seq"] for m in messages(server, channel)]
        assert numbers == list(range(1, len(numbers) + 1))
    quotes = [m["data"] for m in messages(server, "market:demo")]
    for before, after in pairwise(quotes):
        assert round(before["price"] + after["change"], 2) == after["price"]
    tokens = [m["data"] for m in messages(server, "ai:demo")]
    for before, after in pairwise(tokens):
        following = before["answer"], before["index"] + 1
        if before.get("done"):
            following = before["answer"] + 1, 0
        assert (after["answer"], after["index"]) == following
        assert ("question" in after) == (after["index"] == 0)
    stocks = [m["data"] for m in messages(server, "sale:demo")]
    for before, after in pairwise(stocks):
        assert after["stock"] < before["stock"] or (before["stock"] == 0 and after["stock"] == 500)
    alerts = [m["data"] for m in messages(server, "alerts:demo")]
    for before, after in pairwise(alerts):
        assert (before["level"] == "resolved") != (after["level"] == "resolved")


def wait_for_quotes(server: ServerProcess, count: int) -> None:
    """Wait until the channel of quotes holds at least so many."""
    wait_until(lambda: len(messages(server, "market:demo")) >= count)


def test_it_feeds_every_channel(start: StartServer, traffic: StartTraffic) -> None:
    """All four channels come to life, each telling a story in order."""
    server = start()
    traffic(server.url, "--speed", "20")
    for channel in CHANNELS:
        wait_until(lambda name=channel: len(messages(server, name)) >= 8)  # type: ignore[misc]
    assert_told_once_in_order(server)


def test_it_outlives_the_server(start: StartServer, traffic: StartTraffic) -> None:
    """A server killed in the middle loses nothing that it was told and hears nothing twice."""
    server = start(engine="sqlite:///log.db")
    traffic(server.url, "--speed", "20")
    for _ in range(3):
        told = len(messages(server, "market:demo"))
        wait_for_quotes(server, told + 20)
        server.kill()
        server = start(engine="sqlite:///log.db", port=server.port)
    told = len(messages(server, "market:demo"))
    assert told >= 60
    wait_for_quotes(server, told + 20)
    assert_told_once_in_order(server)


def test_it_waits_for_the_server(start: StartServer, traffic: StartTraffic) -> None:
    """Started first, it waits; the server may take its time."""
    server = start()
    server.kill()
    process = traffic(server.url, "--speed", "20")
    assert next_line(process) == f"waiting for {server.url}"
    server = start(port=server.port)
    wait_until(lambda: messages(server, "market:demo"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_it_stops_cleanly(
    start: StartServer, traffic: StartTraffic, number: signal.Signals
) -> None:
    """A signal ends it at once, with status 0 and no traceback."""
    server = start()
    process = traffic(server.url)
    wait_until(lambda: messages(server, "market:demo"))
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert output.splitlines()[-1] == "stopped"
    assert "Traceback" not in output


def test_it_stops_cleanly_while_it_waits(traffic: StartTraffic) -> None:
    """Without a server too."""
    process = traffic("http://127.0.0.1:9")
    assert next_line(process) == "waiting for http://127.0.0.1:9"
    process.terminate()
    output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, "stopped\n")


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "fast"])
def test_a_wrong_speed_is_refused(traffic: StartTraffic, speed: str) -> None:
    """The command line is checked before anything starts."""
    process = traffic("http://127.0.0.1:9", "--speed", speed)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "--speed" in output
