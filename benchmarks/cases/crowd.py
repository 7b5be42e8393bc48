"""A lobby: from 1,000 to 100,000 connections on one machine, a broadcast to all, and a storm."""

from __future__ import annotations

import json
import time
import urllib.request
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.crowds import Crowd, Report
from benchmarks.meter import cpu_ns, family, proportional_kib
from benchmarks.results import Figure, Outcome, VoidError

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.processes import Server

CHANNEL = "lobby"
WORKERS = 6
SIZES = (1_000, 10_000, 100_000)
QUICK_SIZES = (1_000, 10_000)
PER_WORKER = 19_000
RATE = 5_000.0
"""Connections opened a second: a crowd that comes by itself, not a storm."""
MOST_KIB = 6.0
MOST_GROWTH = 1.3
STORM = 20_000
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One message to everybody; times in seconds from its publish."""

    first: float
    last: float
    cpu_us: float
    """CPU time of all server processes, for each message that was delivered."""


def run(bench: Bench) -> Outcome:
    """Memory, time and CPU at each size."""
    outcome = Outcome()
    sizes = QUICK_SIZES if bench.quick else SIZES
    options = ("--workers", str(WORKERS), "--max-connections", str(PER_WORKER))
    engine = f"sqlite:///{bench.directory}/lobby.db"
    cpu: list[float] = []
    with (
        bench.tidewire(engine, *options) as server,
        Crowd(bench.crowd_program, server, CHANNEL, sizes[-1]) as crowd,
    ):
        servers = family(server.pid)
        empty = _settled(servers)
        have = 0
        for size in sizes:
            bench.say(f"opening {size} connections")
            before = sum(map(cpu_ns, servers))
            opened = crowd.open(size - have, rate=RATE, seconds=PATIENCE)
            setup = (sum(map(cpu_ns, servers)) - before) / 1000 / (size - have)
            have = size
            _check(outcome, opened, f"{size} connections")
            memory = _settled(servers)
            rounds = max(3, min(30, 300_000 // size))
            broadcasts = []
            for number in range(rounds + 1):
                bench.say(f"{size} connections, broadcast {number} of {rounds}")
                broadcast = _broadcast(outcome, server, servers, crowd)
                if number:  # the first one warms up
                    broadcasts.append(broadcast)
                time.sleep(0.2)
            cpu.append(median(b.cpu_us for b in broadcasts))
            outcome.figures += [
                Figure(
                    f"{size} connections: servers' memory for each, all in",
                    memory / size,
                    "KiB",
                    MOST_KIB if size == 100_000 else None,
                    basis=f"{memory / 1024:.0f} MiB of {len(servers)} processes, "
                    f"{empty / 1024:.0f} MiB without connections",
                ),
                Figure(
                    f"{size} connections: set up",
                    opened.last - opened.begun,
                    "s",
                    basis=f"{setup:.0f} µs of the servers' CPU for each",
                ),
                Figure(
                    f"{size} connections: a broadcast reaches all",
                    median(b.last for b in broadcasts),
                    "s",
                    basis=f"the first after {median(b.first for b in broadcasts) * 1000:.1f} ms, "
                    f"{cpu[-1]:.2f} µs of the servers' CPU for each",
                ),
            ]
            outcome.details[str(size)] = {
                "memory_kib": memory,
                "opened": asdict(opened),
                "broadcasts": [asdict(broadcast) for broadcast in broadcasts],
            }
        outcome.figures.append(
            Figure(
                f"CPU per delivered message, {sizes[-1]} connections against {sizes[0]}",
                cpu[-1] / cpu[0],
                "×",
                MOST_GROWTH,
                basis=f"{cpu[-1]:.2f} against {cpu[0]:.2f} µs",
            )
        )
    return outcome


def storm(bench: Bench) -> Outcome:
    """20,000 clients lose their connections, and come back at once with their cursors."""
    outcome = Outcome()
    options = ("--workers", str(WORKERS), "--max-connections", str(PER_WORKER))
    engine = f"sqlite:///{bench.directory}/storm.db"
    with (
        bench.tidewire(engine, *options) as server,
        Crowd(bench.crowd_program, server, CHANNEL, STORM) as crowd,
    ):
        servers = family(server.pid)
        bench.say(f"opening {STORM} connections")
        _check(outcome, crowd.open(STORM, rate=RATE, seconds=PATIENCE), "opening")
        seq = publish(server)
        _check(outcome, crowd.wait(seq, seconds=PATIENCE), "the first message", seq=True)
        times: list[float] = []
        cpu: list[float] = []
        put_off = 0
        for number in range(bench.rounds(5, 2)):
            bench.say(f"storm {number + 1}")
            crowd.drop()
            for _ in range(10):
                seq = publish(server)
            before = sum(map(cpu_ns, servers))
            back = crowd.back(seconds=PATIENCE)
            caught_up = crowd.wait(seq, seconds=PATIENCE)
            cpu.append((sum(map(cpu_ns, servers)) - before) / 1000 / STORM)
            put_off = caught_up.refused
            _check(outcome, caught_up, f"storm {number + 1}", seq=True)
            times.append(max(back.last, caught_up.last) - back.begun)
            outcome.details[f"storm {number + 1}"] = {"back": asdict(back), "cpu_us": cpu[-1]}
        outcome.figures = [
            Figure(
                f"{STORM} clients come back at once, until all have everything",
                median(times),
                "s",
                basis=f"{min(times):.1f} to {max(times):.1f} s, {median(cpu):.0f} µs of the "
                f"servers' CPU for each, {put_off} put off",
            )
        ]
    return outcome


def _broadcast(outcome: Outcome, server: Server, servers: list[int], crowd: Crowd) -> Broadcast:
    before = sum(map(cpu_ns, servers))
    published = time.time()
    seq = publish(server)
    report = crowd.wait(seq, seconds=PATIENCE)
    used = (sum(map(cpu_ns, servers)) - before) / 1000 / report.clients
    _check(outcome, report, "a broadcast", seq=True)
    return Broadcast(report.first - published, report.last - published, used)


def publish(server: Server) -> int:
    """Publish 100 bytes to the lobby; return their ``seq``."""
    body = json.dumps({"channel": CHANNEL, "data": "x" * 98}).encode()
    request = urllib.request.Request(
        f"{server.url}/publish", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        seq: int = json.load(answer)["seq"]
    return seq


def _check(outcome: Outcome, report: Report, what: str, *, seq: bool = False) -> None:
    if report.ready < report.clients:
        raise VoidError(f"{what}: {report.ready} of {report.clients} clients are ready")
    if seq and report.have < report.clients:
        raise VoidError(f"{what}: {report.have} of {report.clients} clients have it")
    for name in ("missing", "repeated", "gaps"):
        if count := getattr(report, name):
            outcome.faults.append(f"{what}: {count} {name}")


def _settled(servers: list[int]) -> int:
    """The servers' memory once it has stopped changing by more than 1 % in a second."""
    last = proportional_kib(servers)
    for _ in range(20):
        time.sleep(1)
        current = proportional_kib(servers)
        if abs(current - last) <= last / 100:
            return current
        last = current
    return last
