"""Catching up: 1,000 clients that are each 10,000 messages behind, beside live traffic."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hdrh.histogram import HdrHistogram

from benchmarks.cases.requests import ask
from benchmarks.loadgen import wire
from benchmarks.processes import LoadGenerator, ProcessError, Server
from benchmarks.results import Figure, Outcome, check

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.loadgen.generator import Window

MOST_RATIO = 2.0
CLIENTS = 1_000
BEHIND = 10_000
LIVE = 100
RATE = 100.0
BATCH = 1_000
SECONDS = 120
ARRIVING = 1_000  # clients a second: a thousand in one moment are a storm, another matter
TARGET = "/sse?channels=past&since=start"


def run(bench: Bench) -> Outcome:
    """Event streams that start at the oldest message, while 100 WebSocket subscribers of another
    channel are measured: without them first, then until all have caught up.
    """
    outcome = Outcome()
    clients = CLIENTS // 10 if bench.quick else CLIENTS
    # A heartbeat in one of the streams would change its number of bytes.
    with (
        bench.tidewire("memory:", "--sse-heartbeat", "600") as server,
        LoadGenerator() as generator,
    ):
        bench.say(f"publishing {BEHIND} messages")
        size = _stream_size(server, _publish(server))
        generator.open("live", "ws", server, LIVE, kernel_times=True)

        def measure(seconds: int) -> Window:
            window = generator.publish("live", "http", int(seconds * RATE), RATE)
            check(outcome, "live", window)
            return window

        bench.say("live traffic alone")
        measure(1)  # warms up
        quiet = measure(bench.rounds(5, 3))
        bench.say(f"{clients} clients catch up")
        numbers = (server.port, clients, ARRIVING, size, SECONDS)
        # Elsewhere the clients would run on machines of their own: here they yield to the server.
        command = ("nice", "-n", "19", str(bench.drain_program), *map(str, numbers))
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as drain:
            assert drain.stdin is not None
            drain.stdin.write(_request(server))
            drain.stdin.close()
            busy = []
            while drain.poll() is None:
                busy.append(measure(1))
            # The second in which they all left at once is not of catching up.
            busy = busy[:-1] or busy
            assert drain.stdout is not None
            taken: dict[str, Any] = json.loads(drain.stdout.read())
    if taken["done"] != clients or taken["over"]:
        outcome.faults.append(f"not everyone got {size} bytes: {taken}")
    before, during = quiet.latency["p99"], _p99(busy)
    outcome.figures = [
        Figure(
            f"p99 of live traffic, {clients:,} clients catching up",
            during / before,
            "× quiet",
            MOST_RATIO,
            basis=f"{during:.2f} against {before:.2f} ms",
        ),
        Figure(
            f"messages to those {BEHIND:,} behind",
            clients * BEHIND / taken["last"],
            "/s",
            basis=f"all had them after {taken['last']:.1f} s, the first after {taken['first']:.1f}",
        ),
    ]
    outcome.details = {
        "quiet": asdict(quiet),
        "busy": [asdict(window) for window in busy],
        "drain": taken,
    }
    return outcome


def _publish(server: Server) -> bytes:
    """Fills the channel; returns the newest message's id."""
    message = {"channel": "past", "data": "x" * 100}
    body = json.dumps({"messages": [message] * BATCH}).encode()
    newest = b""
    for _ in range(BEHIND // BATCH):
        answer, text, _ = ask(server, wire.post("127.0.0.1", "/publish", body))
        if answer.status != 200:
            raise ProcessError(f"publishing: {answer.status} {text[:200]!r}")
        newest = json.loads(text)["results"][-1]["id"].encode()
    return newest


def _request(server: Server) -> bytes:
    return wire.get(f"127.0.0.1:{server.port}", TARGET, wire.EVENT_STREAM)


def _stream_size(server: Server, newest: bytes) -> int:
    """Bytes of one whole stream up to the end of the newest message: the same for every client."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(_request(server))
        data = bytearray()
        while (at := data.find(b"id: %b\n" % newest)) < 0 or (
            end := data.find(b"\n\n\r\n", at)
        ) < 0:
            got = connection.recv(1 << 20)
            if not got:
                raise ProcessError("the stream ended before its newest message")
            data += got
    return end + 4


def _p99(windows: list[Window]) -> float:
    """The 99th percentile of all windows together, in ms."""
    total = HdrHistogram.decode(windows[0].histogram)
    for window in windows[1:]:
        total.decode_and_add(window.histogram)
    return float(total.get_value_at_percentile(99)) / 1000
