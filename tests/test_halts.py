"""The script that has a command's processes stand still now and then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOOK_FOR_HALTS = """
import time
last, halts = time.monotonic(), 0
while halts < 3:
    time.sleep(0.01)
    now = time.monotonic()
    halts += now - last > 0.2
    last = now
raise SystemExit(7)
"""
IN_A_CHILD = f"""
import subprocess, sys
raise SystemExit(subprocess.call([sys.executable, "-c", {LOOK_FOR_HALTS!r}]))
"""


def halts(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.halts", *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("program", [LOOK_FOR_HALTS, IN_A_CHILD], ids=["itself", "its child"])
def test_a_command_stands_still_now_and_then(program: str) -> None:
    done = halts("--every", "0.2", "--longest", "0.6", sys.executable, "-c", program)
    assert done.returncode == 7, done.stderr


def test_how_the_command_ended_is_told() -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert halts(sys.executable, "-c", killed).returncode == 128 + 9


def test_the_seed_is_told_and_taken() -> None:
    assert halts("--seed", "5", "true").stderr == "halts: --seed 5\n"


def test_without_a_command() -> None:
    done = halts()
    assert done.returncode == 2
    assert "a command is needed" in done.stderr
