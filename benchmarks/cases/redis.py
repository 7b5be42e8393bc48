"""Two nodes with their log on Redis: how much they take, and how fast a message gets across."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.redis_server import RedisServer, RedisStartError

from benchmarks.cases.requests import CONNECTIONS, publish_request
from benchmarks.meter import cpu_ns
from benchmarks.processes import LoadGenerator, ProcessError, http_load
from benchmarks.results import Figure, Outcome, check, ratios

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.processes import Server

BATCH = 100
MOST_MS = 3.0
PUBLISHES_PER_SECOND = 40_000
RATE = 1_000.0


@contextmanager
def nodes(bench: Bench) -> Iterator[tuple[RedisServer, list[Server]]]:
    """A Redis that keeps nothing on disk, and two servers with one log there."""
    try:
        redis = RedisServer(bench.directory / "redis")
    except RedisStartError as error:
        raise ProcessError(str(error)) from error
    try:
        with bench.tidewire(redis.engine()) as first, bench.tidewire(redis.engine()) as second:
            yield redis, [first, second]
    finally:
        redis.kill()


def bare(redis: RedisServer, what: str, *numbers: float) -> dict[str, float]:
    """What Redis does for a client without rules; see `bare_redis.py`."""
    command = [sys.executable, "-m", "benchmarks.bare_redis", what, str(redis.port)]
    done = subprocess.run([*command, *map(str, numbers)], stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def run(bench: Bench) -> Outcome:
    """Publishing through both nodes at once, and the way from one to a subscriber of the other."""
    outcome = Outcome()
    with nodes(bench) as (redis, servers):
        _throughput(bench, outcome, redis, servers)
        _latency(bench, outcome, redis, servers)
    return outcome


def _throughput(bench: Bench, outcome: Outcome, redis: RedisServer, servers: list[Server]) -> None:
    seconds = 1.5 if bench.quick else 3.0
    batches = {"single": 1, f"batches of {BATCH}": BATCH}

    def through_both(batch: int) -> dict[str, Any]:
        request = publish_request(batch)
        pids = {"redis": redis.process.pid, **{str(n): s.pid for n, s in enumerate(servers)}}
        before = {name: cpu_ns(pid) for name, pid in pids.items()}
        with ThreadPoolExecutor() as pool:
            loads = list(
                pool.map(
                    lambda server: http_load(
                        bench.http_load_program, server, request, CONNECTIONS, seconds
                    ),
                    servers,
                )
            )
        for load in loads:
            if load.broken or set(load.statuses) != {"200"}:
                outcome.faults.append(f"{load.broken} broken connections, {load.statuses}")
        busy = {name: (cpu_ns(pid) - before[name]) / 1e9 / seconds for name, pid in pids.items()}
        return {"rate": batch * sum(load.rate for load in loads), "busy": busy}

    def measure(name: str) -> dict[str, Any]:
        if name == "bare":
            return bare(redis, "append", seconds)
        return through_both(batches[name])

    rounds = bench.in_turn(("bare", *batches), bench.rounds(5, 2), measure, "two nodes on Redis")
    outcome.details["publishing"] = rounds
    floor = [found["rate"] for found in rounds["bare"]]
    for name in batches:
        rates = [found["rate"] for found in rounds[name]]
        busy = {
            key: median(found["busy"][key] for found in rounds[name]) for key in ["redis", "0", "1"]
        }
        outcome.figures += [
            Figure(
                f"publishes through two nodes, {name}",
                median(rates),
                "messages/s",
                None if name == "single" else PUBLISHES_PER_SECOND,
                ">=",
                f"cores busy: Redis {busy['redis']:.2f}, nodes {busy['0']:.2f} and {busy['1']:.2f}",
            ),
            Figure(
                f"the same beside XADD and PUBLISH in pipelines of {BATCH}",
                ratios(rates, floor),
                "× bare",
                basis=f"bare {median(floor):,.0f}/s",
            ),
        ]


def _latency(bench: Bench, outcome: Outcome, redis: RedisServer, servers: list[Server]) -> None:
    here, there = servers
    publishes = bench.rounds(3_000, 1_500)
    with LoadGenerator() as generator:
        generator.open("across", "ws", there, 1, kernel_times=True)

        def measure(name: str) -> dict[str, float]:
            if name == "bare":
                return bare(redis, "wake", publishes, RATE)
            window = generator.publish("across", "http", publishes, RATE, at=here.url)
            check(outcome, "across nodes", window)
            outcome.details.setdefault("across", []).append(asdict(window))
            return window.latency

        rounds = bench.in_turn(
            ("bare", "across"), bench.rounds(5, 2), measure, f"{RATE:g} messages/s across nodes"
        )
    outcome.details["waking"] = rounds["bare"]
    for name, title in (
        ("across", "p99 from a publish at one node to a subscriber of the other"),
        ("bare", "p99 of a bare PUBLISH to its subscriber"),
    ):
        percentiles = {
            p: median(found[p] for found in rounds[name]) for p in ("p50", "p99", "p99.9")
        }
        outcome.figures.append(
            Figure(
                title,
                percentiles["p99"],
                "ms",
                MOST_MS if name == "across" else None,
                "<",
                ", ".join(f"{p} {value:.2f}" for p, value in percentiles.items()),
            )
        )
