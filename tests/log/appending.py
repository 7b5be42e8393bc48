"""Processes that append to one log, and what must hold of what they are told."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

Told = tuple[str, int, int, str]
"""Channel, id, ``seq`` and data of one message."""


class Appending:
    """One such process; *answers* and *total* as it takes them."""

    def __init__(self, log: str, name: str, answers: int, total: int = 0) -> None:
        command = [sys.executable, "-m", "tests.log.appending_process"]
        self.process = subprocess.Popen(
            [*command, log, name, str(answers), str(total)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def begin(self) -> None:
        """Let it append."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def rest(self) -> Iterator[list[Told]]:
        """What it still printed in whole lines, until it ended."""
        while (line := self.line()).endswith("\n"):
            yield told(line)

    def kill(self) -> None:
        """As ``kill -9``."""
        self.process.kill()

    def end(self) -> int:
        """Wait for it, and return its exit code."""
        return self.process.wait(30)


def told(line: str) -> list[Told]:
    """A line that it prints."""
    return [(channel, id, seq, data) for channel, id, seq, data in json.loads(line)]


def check_counts(messages: list[Told]) -> None:
    """Ids grow, and ``seq`` has no hole in any channel."""
    ids = [id for _, id, _, _ in messages]
    assert all(one < other for one, other in itertools.pairwise(ids))
    for channel in {channel for channel, _, _, _ in messages}:
        seqs = [seq for name, _, seq, _ in messages if name == channel]
        assert seqs == list(range(1, len(seqs) + 1))


def check_whole(messages: list[Told], answered: list[Told], most: int) -> None:
    """All that was *answered* is there; of the rest whole appends only, at most so many."""
    assert set(answered) <= set(messages)
    unanswered = set(messages) - set(answered)
    appends = {tuple(data.strip('"').split()[:3]) for _, _, _, data in unanswered}
    assert len(appends) <= most
    for name, task, step in appends:
        batch = [d for _, _, _, d in messages if d.startswith(f'"{name} {task} {step} ')]
        assert len(batch) == 1 + int(step) % 3
