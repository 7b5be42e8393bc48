"""What the cases about plain HTTP requests share: one request over and over, several servers in
turn.

Requests per second are those of one core: answers by the server's own CPU time. On an idle machine
that is what a client sees that keeps one server process busy; it needs no infinitely fast client,
and other work on the machine hardly changes it. What the client did see is kept too, and counts
where a server waits for a disk.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.loadgen import wire
from benchmarks.meter import cpu_ns
from benchmarks.processes import HttpLoad, ProcessError, Server, http_load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.bench import Bench
    from benchmarks.results import Outcome

CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Round:
    """One window of requests to one server."""

    seen: float
    """Answers per second of the clock."""
    us_per_request: float
    """CPU time of the server per request."""
    busy: float
    """CPU time of the server per second: 1.0 is one core."""
    load: HttpLoad

    @property
    def rate(self) -> float:
        """Answers per second of the server's CPU time: what one core can do."""
        return 1e6 / self.us_per_request


def ask(server: Server, request: bytes) -> tuple[wire.Answer, bytes, bytes]:
    """Sends one request; returns the answer's head, its body, and its bytes as they came."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        data = b""
        while (found := wire.read_answer(data)) is None or len(data) < found[1] + found[0].length:
            got = connection.recv(65536)
            if not got:
                raise ProcessError(f"no whole answer to {request[:80]!r}: {data[:200]!r}")
            data += got
    answer, start = found
    return answer, data[start:], data


def in_turn(
    bench: Bench,
    outcome: Outcome,
    what: str,
    targets: Mapping[str, tuple[Server, bytes]],
    status: int,
    rounds: int,
) -> dict[str, list[Round]]:
    """Loads each server in turn with its request; every answer must have the given status."""
    seconds = 0.8 if bench.quick else 1.2

    def measure(name: str) -> Round:
        server, request = targets[name]
        before = cpu_ns(server.pid)
        load = http_load(bench.http_load_program, server, request, CONNECTIONS, seconds)
        used = cpu_ns(server.pid) - before
        if load.broken or set(load.statuses) != {str(status)}:
            outcome.faults.append(
                f"{name}, {what}: {load.broken} broken connections, statuses {load.statuses}"
            )
        return Round(load.rate, used / 1000 / max(load.answers, 1), used / 1e9 / load.seconds, load)

    results = bench.in_turn(tuple(targets), rounds, measure, what)
    outcome.details[what] = {
        name: [asdict(r) for r in measured] for name, measured in results.items()
    }
    return results


def rates(rounds: list[Round]) -> list[float]:
    """Requests per second of one core, of every round."""
    return [r.rate for r in rounds]


def seen(rounds: list[Round]) -> list[float]:
    """Requests per second of the clock, of every round."""
    return [r.seen for r in rounds]


def basis(rounds: Mapping[str, list[Round]], *names: str) -> str:
    """The absolute values behind a ratio, in words."""
    return " against ".join(
        f"{median(rates(rounds[name])):,.0f}/s ({median(seen(rounds[name])):,.0f}/s seen)"
        for name in names
    )


def publish_body(count: int, size: int = 100) -> Any:
    """The JSON value to publish: one message, or a batch when `count` is above 1."""
    message = {"channel": "bench", "data": "x" * size}
    return message if count == 1 else {"messages": [message] * count}


def publish_request(count: int) -> bytes:
    """The request that publishes one message, or a batch."""
    body = json.dumps(publish_body(count), separators=(",", ":")).encode()
    return wire.post("127.0.0.1", "/publish", body)
