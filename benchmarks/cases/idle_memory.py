"""Resident memory of the server per idle subscribed connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.meter import settled_resident_kib
from benchmarks.processes import LoadGenerator
from benchmarks.results import Figure, Outcome

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.loadgen.subscribers import Transport

MOST_KIB = 4.0
WARM_UP = 200
NAMES: dict[Transport, str] = {"ws": "WebSocket", "sse": "SSE"}


def run(bench: Bench) -> Outcome:
    """Growth of the resident memory from 200 subscribers to 5,200, once it has settled."""
    outcome = Outcome()
    for transport, name in NAMES.items():
        with bench.tidewire() as server, LoadGenerator() as generator:
            bench.say(f"{name}: the first {WARM_UP} connections")
            generator.open(transport, transport, server, WARM_UP)
            before = settled_resident_kib(server.pid)
            bench.say(f"{name}: {bench.subscribers} more")
            generator.open(transport, transport, server, bench.subscribers)
            after = settled_resident_kib(server.pid)
            outcome.figures.append(
                Figure(
                    f"memory per idle {name} connection",
                    (after - before) / bench.subscribers,
                    "KiB",
                    MOST_KIB,
                    basis=f"{before / 1024:.1f} MiB at {WARM_UP}, {after / 1024:.1f} MiB at "
                    f"{WARM_UP + bench.subscribers}",
                )
            )
            outcome.details[transport] = {"before_kib": before, "after_kib": after}
    return outcome
