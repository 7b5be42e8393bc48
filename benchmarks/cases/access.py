"""What access costs: limits and tokens, against a server that has none and asks nobody."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.cases.fanout import SINGLES_PER_SECOND
from benchmarks.meter import cpu_ns
from benchmarks.processes import LoadGenerator, Server
from benchmarks.results import Figure, Outcome, check, ratios

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.loadgen.generator import Window

SET_UP_RATIO = 1.10
FAN_OUT_RATIO = 1.03
CONNECTIONS = 1_000
"""Opened at a time."""
SECRET = "a secret of the benchmark, longer than 32 bytes"
KEY = "a key of the benchmark that publishers show"

NO_LIMITS = ("--max-control-rate", "0")
LIMITS = (
    *("--max-connections-per-ip", "100000", "--max-connections-per-user", "100"),
    *("--max-connection-rate", "100000", "--max-memory", str(16 << 30)),
    *("--max-control-rate", "50", "--max-message-rate", "1000", "--max-byte-rate", "10000000"),
    *("--trusted-proxies", "10.0.0.0/8,fd00::/8"),
)
TOKENS = ("--token-secret", SECRET, "--api-key", KEY)
SHOWN = {"secret": SECRET, "key": KEY}
"""What subscribers and publishers show where there are tokens."""
SIDES = {
    "limits": "all limits on",
    "known": "limits, and tokens that it knows",
    "new": "limits, and tokens that it sees for the first time",
}
WITHOUT = "none"


@dataclass(frozen=True, slots=True)
class Round:
    """CPU time of a server per connection, or per message of a window."""

    us: float
    window: Window | None = None


Rounds: TypeAlias = "dict[str, list[Round]]"


def run(bench: Bench) -> Outcome:
    """WebSockets that subscribe with their URL, and messages to them."""
    outcome = Outcome()
    with (
        bench.tidewire("memory:", *NO_LIMITS) as none,
        bench.tidewire("memory:", *LIMITS) as limits,
        bench.tidewire("memory:", *LIMITS, *TOKENS) as tokens,
        LoadGenerator() as generator,
    ):
        set_ups = _set_ups(
            bench, generator, {WITHOUT: none, "limits": limits, "known": tokens, "new": tokens}
        )
        deliveries = _deliveries(
            bench, outcome, generator, {WITHOUT: none, "limits": limits, "known": tokens}
        )
    outcome.figures = [
        *_figures(set_ups, "CPU to set up a connection", SET_UP_RATIO),
        *_figures(deliveries, "CPU per delivered message", FAN_OUT_RATIO),
    ]
    outcome.details = {"set_up": _details(set_ups), "fan_out": _details(deliveries)}
    return outcome


def _set_ups(bench: Bench, generator: LoadGenerator, servers: dict[str, Server]) -> Rounds:
    issues = itertools.count()

    def measure(name: str) -> Round:
        server = servers[name]
        shown = {}
        if name in ("known", "new"):
            shown = SHOWN | {"issue": "first" if name == "known" else f"later-{next(issues)}"}
        before = cpu_ns(server.pid)
        generator.open(name, "ws", server, CONNECTIONS, **shown)
        used = cpu_ns(server.pid) - before
        generator.close(name)
        return Round(used / 1000 / CONNECTIONS)

    return bench.in_turn(tuple(servers), bench.rounds(16, 4), measure, "connections")


def _deliveries(
    bench: Bench, outcome: Outcome, generator: LoadGenerator, servers: dict[str, Server]
) -> Rounds:
    count = bench.subscribers // 2  # three servers have as many
    for name, server in servers.items():
        generator.open(name, "ws", server, count, **(SHOWN if name == "known" else {}))

    def measure(name: str) -> Round:
        server = servers[name]
        before = cpu_ns(server.pid)
        rate = SINGLES_PER_SECOND / count
        window = generator.publish(name, "http", bench.rounds(24, 12), rate)
        used = cpu_ns(server.pid) - before
        check(outcome, name, window)
        return Round(used / 1000 / max(window.received, 1), window)

    return bench.in_turn(tuple(servers), bench.rounds(12, 4), measure, "messages")


def _figures(rounds: Rounds, what: str, target: float) -> list[Figure]:
    without = [r.us for r in rounds[WITHOUT]]
    figures = []
    for name, has in SIDES.items():
        if name in rounds:
            with_it = [r.us for r in rounds[name]]
            basis = f"{median(with_it):.2f} against {median(without):.2f} µs"
            figures.append(
                Figure(f"{what}, {has}", ratios(with_it, without), "× without", target, basis=basis)
            )
    return figures


def _details(rounds: Rounds) -> dict[str, list[dict[str, Any]]]:
    return {name: [asdict(r) for r in results] for name, results in rounds.items()}
