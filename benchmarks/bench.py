"""What every case is given: how much to measure, the programs to measure with, and where to say how
far it is.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from benchmarks.processes import TIDEWIRE, Server, compiled, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.progress import Progress, TaskID

T = TypeVar("T")


@dataclass
class Bench:
    """One run of the benchmarks."""

    quick: bool
    subscribers: int
    directory: Path
    """An empty directory on a real disk, removed after the run."""
    progress: Progress
    task: TaskID

    @cached_property
    def floor_program(self) -> Path:
        """The C fan-out server, compiled when first asked for."""
        return compiled("floor", self.directory)

    @cached_property
    def http_load_program(self) -> Path:
        """The C load client, compiled when first asked for."""
        return compiled("http_load", self.directory)

    @cached_property
    def drain_program(self) -> Path:
        """The C client that only takes and counts, compiled when first asked for."""
        return compiled("drain", self.directory)

    @cached_property
    def crowd_program(self) -> Path:
        """The C client that holds and checks many streams, compiled when first asked for."""
        return compiled("crowd", self.directory)

    def rounds(self, full: int, quick: int) -> int:
        """How many rounds count."""
        return quick if self.quick else full

    @contextmanager
    def tidewire(self, engine: str = "memory:", *options: str) -> Iterator[Server]:
        """A Tidewire server with one worker and default settings, but for the *options*."""
        command = (*TIDEWIRE, "--engine", engine, "--port", "0", *options)
        with serving(command, self.directory) as server:
            yield server

    @contextmanager
    def floor(self) -> Iterator[Server]:
        """The C fan-out server."""
        with serving((str(self.floor_program),), self.directory) as server:
            yield server

    def say(self, what: str) -> None:
        """Shows what is being done."""
        self.progress.update(self.task, detail=what)

    def in_turn(
        self, names: Sequence[str], rounds: int, measure: Callable[[str], T], what: str
    ) -> dict[str, list[T]]:
        """Measures each of `names` once a round, in turn, and the other way round in every second
        round.

        One more round comes first and is not counted: it warms caches, code and memory.
        """
        results: dict[str, list[T]] = {name: [] for name in names}
        for turn in range(rounds + 1):
            self.say(f"{what}, round {turn} of {rounds}" if turn else f"{what}, warming up")
            for name in names if turn % 2 else reversed(names):
                result = measure(name)
                if turn:
                    results[name].append(result)
        return results
