"""What Redis itself takes for keeping and for waking, without anybody's rules about it.

``python -m benchmarks.bare_redis append PORT SECONDS`` adds to a stream and publishes, 100
messages of 100 bytes to a pipeline, and prints how many a second. ``… wake PORT COUNT RATE``
publishes one by one, and prints how long each took to a subscriber, as percentiles in ms. The
commands are made ahead where they can be, so this costs next to nothing beside the server.
"""

from __future__ import annotations

import json
import socket
import sys
import time

import hiredis

from benchmarks.loadgen.latency import Latencies, summary

HOST = "127.0.0.1"
TOGETHER = 100
PAYLOAD = b"x" * 100


class Client:
    """One connection, which blocks."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def send(self, data: bytes) -> None:
        """Send packed commands."""
        self._socket.sendall(data)

    def read(self, count: int = 1) -> object:
        """Read so many answers; return the last one."""
        answer: object = False
        for _ in range(count):
            while (answer := self._reader.gets()) is False:
                self._reader.feed(self._socket.recv(1 << 20))
            if isinstance(answer, hiredis.HiredisError):
                raise answer
        return answer


def packed(*words: str | int | bytes) -> bytes:
    """A command as Redis reads it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def append(port: int, seconds: float) -> dict[str, float]:
    """Messages a second, kept in a stream of 10,000 and published."""
    client = Client(port)
    one = packed("XADD", "bare", "MAXLEN", "~", 10_000, "*", "m", PAYLOAD)
    one += packed("PUBLISH", "bare", PAYLOAD)
    pipeline = one * TOGETHER
    count, start = 0, time.monotonic()
    while time.monotonic() < start + seconds:
        client.send(pipeline)
        client.read(2 * TOGETHER)
        count += TOGETHER
    return {"rate": count / (time.monotonic() - start)}


def wake(port: int, count: int, rate: float) -> dict[str, float]:
    """From before a publish until its message has been read, in ms."""
    publisher, subscriber = Client(port), Client(port)
    subscriber.send(packed("SUBSCRIBE", "wake"))
    subscriber.read()
    latencies = Latencies()
    start = time.monotonic()
    for turn in range(count):
        time.sleep(max(start + turn / rate - time.monotonic(), 0))
        before = time.monotonic_ns()
        publisher.send(packed("PUBLISH", "wake", PAYLOAD))
        subscriber.read()
        latencies.add(time.monotonic_ns() - before)
        publisher.read()
    return summary(latencies.histogram())


if __name__ == "__main__":
    what, port, *numbers = sys.argv[1:]
    if what == "append":
        found = append(int(port), float(numbers[0]))
    else:
        found = wake(int(port), int(numbers[0]), float(numbers[1]))
    print(json.dumps(found))
