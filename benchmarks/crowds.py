"""Many clients at once, in as many processes as their descriptors need; see crowd.c."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from benchmarks.processes import ProcessError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Server

MOST = 19_000
"""Clients of one process: a connection is a descriptor, and has a port of the source address."""


@dataclass(frozen=True, slots=True)
class Report:
    """What all processes of a crowd have counted; times are Unix seconds."""

    clients: int
    ready: int
    have: int
    begun: float
    first: float
    last: float
    messages: int
    missing: int
    repeated: int
    gaps: int
    broken: int
    refused: int


class Crowd:
    """Processes that hold up to *most* clients of a channel of one server."""

    def __init__(self, program: Path, server: Server, channel: str, most: int) -> None:
        self._processes = [
            subprocess.Popen(
                (str(program), str(server.port), channel, str(source)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for source in range(1, 2 + (most - 1) // MOST)
        ]
        self._counts = [0] * len(self._processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.communicate()

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes]

    def open(self, count: int, *, rate: float, seconds: float) -> Report:
        """Open *count* clients more, *rate* a second (0: at once); wait until all are ready."""
        commands = []
        for index, process_count in enumerate(self._counts):
            share = count // len(self._counts) + (index < count % len(self._counts))
            self._counts[index] = process_count + share
            commands.append(f"open {share} {rate * share / count} {seconds}")
        return self._ask(commands)

    def drop(self) -> Report:
        """Close all connections."""
        return self._ask(["drop"] * len(self._counts))

    def back(self, *, seconds: float) -> Report:
        """Connect all again at once, each with its cursor; wait until all are ready."""
        return self._ask([f"back 0 {seconds}"] * len(self._counts))

    def wait(self, seq: int, *, seconds: float) -> Report:
        """Wait until every client has the message *seq*."""
        return self._ask([f"wait {seq} {seconds}"] * len(self._counts))

    def _ask(self, commands: list[str]) -> Report:
        answers: list[dict[str, float]] = [{} for _ in commands]

        def ask(index: int) -> None:
            process = self._processes[index]
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(commands[index] + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            answers[index] = json.loads(line) if line else {}

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(commands))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not all(answers):
            raise ProcessError(f"a client process ended while it did {commands[0]!r}")

        def total(name: str) -> int:
            return sum(int(answer[name]) for answer in answers)

        return Report(
            clients=total("clients"),
            ready=total("ready"),
            have=total("have"),
            begun=min(answer["begun"] for answer in answers),
            first=min((answer["first"] for answer in answers if answer["first"]), default=0.0),
            last=max(answer["last"] for answer in answers),
            messages=total("messages"),
            missing=total("missing"),
            repeated=total("repeated"),
            gaps=total("gaps"),
            broken=total("broken"),
            refused=total("refused"),
        )
