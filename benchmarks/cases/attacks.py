"""What each attack of the threat table does to the messages of 100 honest clients."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from tests.attacks.siege import Siege
from tests.attacks.table import ATTACKS

from benchmarks.results import Figure, Outcome

if TYPE_CHECKING:
    from benchmarks.bench import Bench

MOST_RATIO = 3.0
SECONDS = 2.0
"""For how long an attack goes on at the least: a short one is repeated."""
QUIET_SECONDS = 1.0
"""Quiet before each attack."""


def run(bench: Bench) -> Outcome:
    """Latency from publish to receive while each attack goes on, against that of the quiet between
    them: the 99th percentile of each time, and of these the median.

    The server has ``deploy/internet.toml`` and its log in memory, so that no disk is in the
    figures.
    """
    outcome = Outcome()
    quiet: list[float] = []
    under: dict[str, list[float]] = {name: [] for name in ATTACKS}
    rounds = bench.rounds(3, 1)
    with Siege(bench.directory, engine="memory:", alone=True) as siege:
        bench.say("filling the log")
        siege.settle()
        for turn in range(1, rounds + 1):
            for name, attack in ATTACKS.items():
                bench.say(f"{name}, round {turn} of {rounds}")
                quiet.append(siege.quiet(QUIET_SECONDS)["latency"]["p99"])
                report = siege.under(attack, SECONDS)
                under[name].append(report.honest["latency"]["p99"])
                outcome.faults += [f"{name}: {harm}" for harm in report.harm()]
                siege.heal(report)
    base = median(quiet)
    for name, times in under.items():
        p99 = median(times)
        outcome.figures.append(
            Figure(f"p99 under {name}", p99 / base, "× quiet", MOST_RATIO, basis=f"{p99:.1f} ms")
        )
    low, high = min(quiet), max(quiet)
    outcome.notes.append(
        f"quiet p99 {base:.1f} ms, the median of {len(quiet)} seconds ({low:.1f} to {high:.1f})"
    )
    outcome.details = {"quiet": quiet, "under": under}
    return outcome
