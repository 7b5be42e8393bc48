"""What each attack of the threat table does to the messages of 100 honest clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hdrh.histogram import HdrHistogram
from tests.attacks.siege import Siege
from tests.attacks.table import ATTACKS

from benchmarks.results import Figure, Outcome

if TYPE_CHECKING:
    from benchmarks.bench import Bench

MOST_RATIO = 3.0
SECONDS = 3.0
"""For how long an attack goes on at the least: a short one is repeated."""
QUIET_SECONDS = 1.0
"""Quiet before each attack."""


def run(bench: Bench) -> Outcome:
    """Latency from publish to receive while each attack goes on, against that of all the quiet
    before and between them.

    The server has ``deploy/internet.toml`` and its log in memory, so that no disk is in the
    figures. The attacker shares two processors with those it attacks, so it yields to them.
    """
    outcome = Outcome()
    quiet, windows = [], {}
    seconds = 0.0 if bench.quick else SECONDS
    with Siege(bench.directory, engine="memory:", nice=19) as siege:
        bench.say("filling the log")
        siege.settle()
        for name, attack in ATTACKS.items():
            bench.say(name)
            quiet.append(siege.quiet(QUIET_SECONDS))
            report = siege.under(attack, seconds)
            windows[name] = report.honest
            outcome.faults += [f"{name}: {fault}" for fault in report.faults(attack)]
            outcome.details[name] = report._asdict() | {"log": len(report.log)}
            siege.heal(report)
    base = _p99(quiet)
    for name, window in windows.items():
        p99 = _p99([window])
        outcome.figures.append(
            Figure(name, p99 / base, "× quiet p99", MOST_RATIO, basis=f"{p99:.2f} ms")
        )
    outcome.notes.append(f"quiet p99 {base:.2f} ms, of {len(quiet)} times {QUIET_SECONDS:g} s")
    outcome.details["quiet"] = quiet
    return outcome


def _p99(windows: list[dict[str, Any]]) -> float:
    """The 99th percentile of all windows together, in ms."""
    total = HdrHistogram.decode(windows[0]["histogram"])
    for window in windows[1:]:
        total.decode_and_add(window["histogram"])
    return float(total.get_value_at_percentile(99)) / 1000
