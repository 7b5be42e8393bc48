"""Acknowledgement: what it adds to the cost of a delivered message, and what a consumer costs."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.meter import cpu_ns
from benchmarks.processes import LoadGenerator
from benchmarks.results import Figure, Outcome, check, ratios

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.loadgen.generator import Window

CONSUMERS = 1_000
RATE = 40.0
MOST_RATIO = 1.3
MOST_BYTES = 1024
PLAIN = "plain"
EVERY = {PLAIN: 0, "every 16th": 16, "every 4th": 4, "each": 1}
"""Our clients acknowledge ten times a second at most: at this rate every fourth message."""


@dataclass(frozen=True, slots=True)
class Round:
    """One window of one kind of subscribers."""

    us_per_message: float
    window: Window


def run(bench: Bench) -> Outcome:
    """WebSocket consumers of one channel, beside as many plain subscribers, on both engines."""
    outcome = Outcome()
    for engine in ("memory:", "sqlite:"):
        kinds = {kind: _measure(bench, outcome, engine, every) for kind, every in EVERY.items()}
        plain = kinds.pop(PLAIN)
        for kind, rounds in kinds.items():
            outcome.figures.append(
                Figure(
                    f"delivered message, {kind} acknowledged, {engine}",
                    ratios((r.us_per_message for r in rounds), (r.us_per_message for r in plain)),
                    "× plain",
                    MOST_RATIO if kind == "every 16th" else None,
                    basis=f"{_us(rounds)} against {_us(plain)} µs",
                )
            )
        outcome.details[engine] = {
            kind: [asdict(r) for r in rounds] for kind, rounds in (kinds | {PLAIN: plain}).items()
        }
    outcome.figures.append(_state(bench.directory / "acks-16.db"))
    return outcome


def _measure(bench: Bench, outcome: Outcome, engine: str, every: int) -> list[Round]:
    """Windows of one kind of subscribers, alone on a server with a new log."""
    rounds = []
    if engine == "sqlite:":
        engine = f"sqlite:///{bench.directory}/acks-{every}.db"
    # What the machine is too slow to acknowledge in time must not come again within the run.
    with bench.tidewire(engine, "--ack-wait", "600") as server, LoadGenerator() as generator:
        what = f"acknowledging every {every}" if every else "no acknowledgement"
        bench.say(f"{engine.partition(':')[0]}, {what}")
        generator.open("consumers", "ws", server, CONSUMERS, ack_every=every)
        for turn in range(bench.rounds(5, 2) + 1):
            before = cpu_ns(server.pid)
            window = generator.publish("consumers", "http", bench.rounds(80, 40), RATE)
            used = cpu_ns(server.pid) - before
            check(outcome, what, window)
            if turn:  # the first warms up
                rounds.append(Round(used / 1000 / max(window.received, 1), window))
    return rounds


def _us(rounds: list[Round]) -> str:
    return f"{median(r.us_per_message for r in rounds):.2f}"


def _state(path: Path) -> Figure:
    """The size of the consumers' records, as they stand in the file."""
    with sqlite3.connect(path) as file:
        ((count, most, mean),) = file.execute(
            "SELECT count(*), max(length(key) + length(value)), avg(length(key) + length(value)) "
            "FROM records WHERE kind = 'consumers'"
        )
    return Figure(
        "a consumer's record",
        most,
        "bytes",
        MOST_BYTES,
        basis=f"{count} consumers, {mean:.0f} bytes on average",
    )
