"""Fan-out: the server's CPU time per message delivered to one of 5,000 subscribers, beside the C
floor's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.meter import cpu_ns
from benchmarks.processes import LoadGenerator, Server
from benchmarks.results import Figure, Outcome, check, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.loadgen.generator import Window
    from benchmarks.loadgen.publishers import Way
    from benchmarks.loadgen.subscribers import Transport

SINGLES_RATIO = 1.35
BURST_RATIO = 0.25
BURST = 10
SINGLES_PER_SECOND = 60_000
"""Deliveries per second: about a third of what one core can do, so that the readers keep up."""
BURSTS_PER_SECOND = 80_000


@dataclass(frozen=True, slots=True)
class Round:
    """One window on one server."""

    us_per_message: float
    window: Window


def websocket(bench: Bench) -> Outcome:
    """Fan-out over WebSocket."""
    return _fan_out(bench, "ws")


def sse(bench: Bench) -> Outcome:
    """Fan-out over Server-Sent Events."""
    return _fan_out(bench, "sse")


def _fan_out(bench: Bench, transport: Transport) -> Outcome:
    outcome = Outcome()
    count = bench.subscribers
    with bench.tidewire() as tidewire, bench.floor() as floor, LoadGenerator() as generator:
        bench.say(f"opening 2 × {count} connections")
        generator.open("tidewire", transport, tidewire, count)
        generator.open("floor", transport, floor, count)
        # From here on the generator knows what a frame looks like, for the floor to imitate.
        generator.publish("tidewire", "http", 3, SINGLES_PER_SECOND / count)

        def rounds(
            names: Sequence[str], turns: int, publishes: int, rate: float, batch: int, what: str
        ) -> dict[str, list[Round]]:
            def measure(name: str) -> Round:
                server: Server = tidewire if name == "tidewire" else floor
                stream = "tidewire" if name == "tidewire" else "floor"
                way: Way = {"tidewire": "http", "floor": "floor"}.get(name, "floor-together")  # type: ignore[assignment]
                before = cpu_ns(server.pid)
                window = generator.publish(
                    stream, way, publishes, rate, batch=batch, like="tidewire"
                )
                used = cpu_ns(server.pid) - before
                check(outcome, f"{name}, {what}", window)
                return Round(used / 1000 / max(window.received, 1), window)

            return bench.in_turn(names, turns, measure, what)

        singles = rounds(
            ("floor", "tidewire"),
            bench.rounds(10, 3),
            bench.rounds(12, 8),
            SINGLES_PER_SECOND / count,
            1,
            "single messages",
        )
        bursts = rounds(
            ("floor", "floor-together", "tidewire"),
            bench.rounds(6, 2),
            bench.rounds(2, 1),
            BURSTS_PER_SECOND / count / BURST,
            BURST,
            f"bursts of {BURST}",
        )
    outcome.figures = [
        Figure(
            "CPU per delivered message",
            _ratio(singles, "floor"),
            "× floor",
            SINGLES_RATIO,
            basis=f"{_us(singles, 'tidewire')} against {_us(singles, 'floor')} µs",
        ),
        Figure(
            f"burst of {BURST}, against {BURST} single writes",
            _ratio(bursts, "floor"),
            "× floor",
            BURST_RATIO,
            basis=f"{_us(bursts, 'tidewire')} against {_us(bursts, 'floor')} µs a message",
        ),
        Figure(
            f"burst of {BURST}, against {BURST} writes in a row to one socket",
            _ratio(bursts, "floor-together"),
            "× floor",
            basis=f"{_us(bursts, 'tidewire')} against {_us(bursts, 'floor-together')} µs a message",
        ),
    ]
    outcome.details = {"singles": _details(singles), "bursts": _details(bursts)}
    return outcome


def _ratio(rounds: dict[str, list[Round]], base: str) -> float:
    return ratios(
        (r.us_per_message for r in rounds["tidewire"]), (r.us_per_message for r in rounds[base])
    )


def _us(rounds: dict[str, list[Round]], name: str) -> str:
    return f"{median(r.us_per_message for r in rounds[name]):.2f}"


def _details(rounds: dict[str, list[Round]]) -> dict[str, Any]:
    return {name: [asdict(r) for r in results] for name, results in rounds.items()}
