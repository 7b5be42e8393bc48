"""``make demo``: one address, live traffic behind it, and nothing left when it ends."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = Path(__file__).parent.parent / "scripts" / "demo.py"
PATIENCE = 30.0
"""Seconds within which something that must happen has happened, on a loaded machine."""


class Demo:
    """The running demo: its own process, and handles on the two that it started."""

    def __init__(self, directory: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TIDEWIRE_")}
        self.process = subprocess.Popen(
            [sys.executable, str(DEMO), "--engine", "memory:", "--port", "0"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "")
        self.url = next(match[1] for line in lines if (match := re.search(r"Open (\S+)", line)))
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.children = [os.pidfd_open(int(child)) for child in children]

    def wait(self) -> int:
        """Wait for the end of all processes; return the exit code of the demo itself."""
        code = self.process.wait(PATIENCE)
        for child in self.children:
            ended, _, _ = select.select([child], [], [], PATIENCE)
            assert ended, "a process outlived the demo"
        return code

    def close(self) -> None:
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
            os.close(child)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    demo.close()


def test_shows_a_page_and_live_traffic(demo: Demo) -> None:
    assert len(demo.children) == 2
    with httpx.Client(base_url=demo.url, timeout=PATIENCE, trust_env=False) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        wanted = {"channels": "market:demo", "since": "start", "wait": "20"}
        answer = client.get("/longpoll", params=wanted)
        assert answer.json()["messages"][0]["data"]["symbol"] == "TIDE"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_both_processes(demo: Demo, number: signal.Signals) -> None:
    demo.process.send_signal(number)
    assert demo.wait() == 0


def test_nothing_outlives_a_killed_demo(demo: Demo) -> None:
    demo.process.kill()
    assert demo.wait() == -signal.SIGKILL


def test_ends_with_the_server(demo: Demo) -> None:
    """If either process dies, the other is stopped, and the demo fails."""
    signal.pidfd_send_signal(demo.children[0], signal.SIGKILL)
    assert demo.wait() == 1
