"""Runs a command while its processes stand still now and then, as they do on a busy machine.

Usage: python -m scripts.halts [--seed N] [--every SECONDS] [--longest SECONDS] COMMAND ...

Every few seconds either all of them or one, drawn at random, are stopped for a while. Ends as the
command does. A test that fails under it takes an unlucky moment for a fault, and one day it will in
an ordinary run; or the server does, and then it is the server that is wrong:

    python -m scripts.halts .venv/bin/python -m pytest tests/acceptance/test_sessions.py
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.meter import family

if TYPE_CHECKING:
    from collections.abc import Iterable

SHORTEST = 0.1
"""Seconds that a halt takes at least."""


def runs(pid: int) -> bool:
    """Whether it is there and not stopped: by a test, which is to wake it itself."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "TtZX"


def halt(pids: Iterable[int], seconds: float) -> None:
    """Have those that run stand still for so long."""
    halted = []
    try:
        for pid in filter(runs, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                halted.append(pid)
        time.sleep(seconds)
    finally:
        for pid in halted:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def main() -> int:
    """Run the command to its end; its exit status, or 128 and the signal that ended it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=None, help="draw the same halts again")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two, on average")
    parser.add_argument("--longest", type=float, default=2.0, help="seconds of the longest")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("a command is needed, such as: .venv/bin/python -m pytest tests/hub")
    seed = arguments.seed if arguments.seed is not None else random.randrange(1_000_000)
    choice = random.Random(seed)
    print(f"halts: --seed {seed}", file=sys.stderr, flush=True)
    with subprocess.Popen(arguments.command) as process:
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(choice.uniform(0, 2 * arguments.every))
                break
            members = family(process.pid)
            seconds = choice.uniform(min(SHORTEST, arguments.longest), arguments.longest)
            halt(members if choice.random() < 0.5 else [choice.choice(members)], seconds)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main())
