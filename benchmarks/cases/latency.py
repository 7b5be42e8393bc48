"""Publish-to-receive latency of 1,000 subscribers of one channel at 100 messages a second."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.processes import LoadGenerator
from benchmarks.results import Figure, Outcome, check

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.loadgen.generator import Window

MOST_MS = 5.0
SUBSCRIBERS = 1000
RATE = 100.0


def run(bench: Bench) -> Outcome:
    """WebSocket subscribers; a message is received when it stands in its subscriber's socket."""
    outcome = Outcome()
    with bench.tidewire() as tidewire, bench.floor() as floor, LoadGenerator() as generator:
        for name, server in (("tidewire", tidewire), ("floor", floor)):
            generator.open(name, "ws", server, SUBSCRIBERS, kernel_times=True)
        generator.publish("tidewire", "http", 3, RATE)

        def measure(name: str) -> Window:
            window = generator.publish(
                name,
                "http" if name == "tidewire" else "floor",
                bench.rounds(200, 150),
                RATE,
                like="tidewire",
            )
            check(outcome, name, window)
            return window

        windows = bench.in_turn(
            ("floor", "tidewire"), bench.rounds(6, 2), measure, f"{RATE:g} messages/s"
        )
    for name, relation in (("tidewire", MOST_MS), ("floor", None)):
        percentiles = {
            p: median(w.latency[p] for w in windows[name]) for p in ("p50", "p90", "p99", "p99.9")
        }
        outcome.figures.append(
            Figure(
                f"p99 publish to receive, {name}",
                percentiles["p99"],
                "ms",
                relation,
                "<",
                ", ".join(f"{p} {value:.2f}" for p, value in percentiles.items()),
            )
        )
        outcome.details[name] = [asdict(w) for w in windows[name]]
    return outcome
