"""Publishing over HTTP keep-alive from 32 connections, with history and without subscribers."""

from __future__ import annotations

import os
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.cases.requests import CONNECTIONS, ask, basis, in_turn, publish_request, rates, seen
from benchmarks.processes import serving
from benchmarks.results import Figure, Outcome, ratios

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.cases.requests import Round

MEMORY_SHARE = 0.30
SQLITE_SHARE = 0.20
BATCH = 100
BATCHED_PER_SECOND = 100_000


def run(bench: Bench) -> Outcome:
    """Single messages in memory and in SQLite beside the bare protocol, and batches of 100 in
    memory.
    """
    outcome = Outcome()
    single, batch = publish_request(1), publish_request(BATCH)
    bare_module = (sys.executable, "-m", "benchmarks.servers.bare_http")
    with (
        bench.tidewire() as memory,
        bench.tidewire(f"sqlite:///{bench.directory / 'publish.db'}") as sqlite,
    ):
        _, _, answer = ask(memory, single)
        with serving(bare_module, bench.directory, answer) as bare:
            servers = {"bare": bare, "memory": memory, "sqlite": sqlite}
            rounds = in_turn(
                bench,
                outcome,
                "single publishes",
                {name: (server, single) for name, server in servers.items()},
                200,
                bench.rounds(5, 2),
            )
        batches = in_turn(
            bench,
            outcome,
            f"batches of {BATCH}",
            {"memory": (memory, batch), "sqlite": (sqlite, batch)},
            200,
            bench.rounds(3, 1),
        )
    sync = _sync_ms(bench.directory)
    outcome.details["fdatasync_ms"] = sync
    outcome.figures = [
        Figure(
            "publishing in memory",
            ratios(rates(rounds["memory"]), rates(rounds["bare"])),
            "× bare",
            MEMORY_SHARE,
            ">=",
            basis(rounds, "memory", "bare"),
        ),
        Figure(
            "publishing durably in SQLite",
            ratios(seen(rounds["sqlite"]), seen(rounds["bare"])),
            "× bare",
            SQLITE_SHARE,
            ">=",
            basis(rounds, "sqlite", "bare"),
        ),
        Figure(
            f"messages in batches of {BATCH}, in memory",
            BATCH * median(rates(batches["memory"])),
            "messages/s",
            BATCHED_PER_SECOND,
            ">=",
            f"of one core ({BATCH * median(seen(batches['memory'])):,.0f}/s seen)",
        ),
        Figure(
            f"messages in batches of {BATCH}, in SQLite",
            BATCH * median(seen(batches["sqlite"])),
            "messages/s",
            basis="seen",
        ),
    ]
    outcome.notes = [
        f"limited by, {what}: {_limit(measured, sync)}"
        for what, measured in {
            "bare": rounds["bare"],
            "memory": rounds["memory"],
            "SQLite": rounds["sqlite"],
            f"memory in batches of {BATCH}": batches["memory"],
            f"SQLite in batches of {BATCH}": batches["sqlite"],
        }.items()
    ]
    return outcome


def _limit(rounds: list[Round], sync: float) -> str:
    busy = median(r.busy for r in rounds)
    if busy >= 0.9:
        return f"the server's CPU ({busy:.0%} of a core)"
    return (
        f"waiting ({busy:.0%} of a core busy): {CONNECTIONS} requests at a time, and one flush "
        f"of this disk takes {sync:.2f} ms"
    )


def _sync_ms(directory: Path) -> float:
    """Median time in ms that this disk takes to make 4 KiB appended to a file durable."""
    times = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            start = time.monotonic()
            os.fdatasync(file.fileno())
            times.append((time.monotonic() - start) * 1000)
    return median(times)
