"""What the load generator can be told to do: open subscribers, publish to them, close them."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.loadgen import kernel_clock, latency
from benchmarks.loadgen.publishers import (
    FloorPublisher,
    HttpPublisher,
    Publisher,
    Way,
    WebSocketPublisher,
    typical_frame,
)
from benchmarks.loadgen.subscribers import Stream, Subscriber, Transport

if TYPE_CHECKING:
    from benchmarks.loadgen.ledger import Ledger

IN_FLIGHT = 64
"""Connections being opened at the same time: far below any listen backlog."""
OPEN_SECONDS = 30
"""Seconds until a connection that is not subscribed yet counts as failed."""
LINGER = 0.05
"""Seconds to wait for duplicates after everything has arrived."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted from the first publish of a window to the last message received."""

    expected: int
    received: int
    missing: int
    duplicates: int
    out_of_order: int
    gaps: int
    closed: int
    unanswered: int
    faults: list[str]
    publishes: int
    overlaps: int
    """Publishes made before everyone had the one before: too fast for one of the two sides."""
    latest: float
    """By how many seconds the latest publish missed its time."""
    seconds: float
    generator_cpu: float
    """CPU seconds of the generator itself."""
    frame_bytes: int
    """Bytes on the wire of one message; 0 when none came alone."""
    latency: dict[str, float]
    """Publish-to-receive latency in ms."""
    histogram: str
    """The same, in µs, as an encoded HDR histogram."""


class Generator:
    """Streams by name, each with its subscribers."""

    def __init__(self) -> None:
        self._streams: dict[str, tuple[Stream, list[Subscriber]]] = {}

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carries out one command: `do` names the method, the other members are its arguments."""
        arguments = dict(command)
        name = arguments.pop("do")
        if name not in ("open", "publish", "close"):
            raise ValueError(f"unknown command {name!r}")
        answer: dict[str, Any] = await getattr(self, name)(**arguments)
        return answer

    async def open(
        self,
        stream: str,
        transport: Transport,
        url: str,
        channel: str,
        count: int,
        interval: float = 1.0,
        kernel_times: bool = False,
        ack_every: int = 0,
        secret: str = "",
        issue: str = "",
        key: str = "",
    ) -> dict[str, Any]:
        """Opens `count` more subscribers, a bounded number at a time; returns once all of them
        stand.

        With `kernel_times` a message's receive time is when it stood in the subscriber's socket,
        else when the generator read it. With a `secret` each shows a token of its own, and who
        publishes to them shows the `key`. Raises `ConnectionError` when one of them does not.
        """
        if stream not in self._streams:
            shown = {"secret": secret, "issue": issue, "key": key}
            made = Stream(transport, url, channel, interval, ack_every, **shown)
            self._streams[stream] = (made, [])
        target, subscribers = self._streams[stream]
        start = time.monotonic()
        gate = asyncio.Semaphore(IN_FLIGHT)
        loop = asyncio.get_running_loop()

        async def connect() -> Subscriber:
            async with gate:
                subscriber = target.subscriber()
                if kernel_times:
                    await kernel_clock.connect(subscriber, target.host, target.port)
                else:
                    await loop.create_connection(lambda: subscriber, target.host, target.port)
                if subscriber.ready is not None:
                    await asyncio.wait_for(subscriber.ready, OPEN_SECONDS)
                return subscriber

        subscribers += await asyncio.gather(*(connect() for _ in range(count)))
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection over thousands of connections would show up as latency
        return {"opened": count, "seconds": time.monotonic() - start}

    async def publish(
        self,
        stream: str,
        way: Way,
        publishes: int,
        rate: float,
        batch: int = 1,
        size: int = 100,
        like: str | None = None,
        patience: float = 10.0,
        at: str | None = None,
    ) -> dict[str, Any]:
        """Publishes `publishes` times, `rate` times a second, `batch` messages of `size` characters
        each.

        Returns the `Window`: once everything has arrived, or `patience` seconds after the last
        publish. The floor repeats the bytes of the stream named by `like`, or a typical frame.
        `at` is another server of the same log to publish at.
        """
        target, _ = self._streams[stream]
        publisher = await self._publisher(target, way, size, like, at)
        ledger = target.ledger
        before = replace(ledger, faults=[])
        target.latencies.clear()
        target.expect(publishes * batch * ledger.subscribers)
        overlaps, latest = 0, 0.0
        cpu, start = time.process_time(), time.monotonic()
        for turn in range(publishes):
            due = start + turn / rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
            latest = max(latest, time.monotonic() - due)
            overlaps += ledger.missing > before.missing
            publisher.publish(ledger.publish(batch), batch)
        with suppress(TimeoutError):  # what is missing is told by the ledger
            await asyncio.wait_for(target.arrived.wait(), patience)
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
        await asyncio.sleep(LINGER)
        publisher.close()
        histogram = target.latencies.histogram()
        unanswered, target.unanswered = target.unanswered, 0
        return asdict(
            Window(
                **_difference(ledger, before),
                unanswered=unanswered,
                publishes=publishes,
                overlaps=overlaps,
                latest=latest,
                seconds=seconds,
                generator_cpu=cpu,
                frame_bytes=len(target.sample or b""),
                latency=latency.summary(histogram),
                histogram=histogram.encode().decode(),
            )
        )

    async def close(self, stream: str) -> dict[str, Any]:
        """Closes the subscribers of a stream."""
        target, subscribers = self._streams.pop(stream)
        target.closing = True
        for subscriber in subscribers:
            subscriber.close()
        gc.enable()
        gc.unfreeze()
        await asyncio.sleep(LINGER)
        return {"closed": len(subscribers)}

    async def _publisher(
        self, target: Stream, way: Way, size: int, like: str | None, at: str | None
    ) -> Publisher:
        publisher: Publisher
        if way == "http":
            publisher = HttpPublisher(target, size)
        elif way == "ws":
            publisher = WebSocketPublisher(target, size)
        else:
            template = self._streams[like][0].sample if like else None
            if template is None:
                template = typical_frame(target.transport, target.channel, size)
            publisher = FloorPublisher(target, size, template, together=way == "floor-together")
        loop = asyncio.get_running_loop()
        host, port = target.host, target.port
        if at is not None:
            host, port = urlsplit(at).hostname or host, urlsplit(at).port or port
        await loop.create_connection(lambda: publisher, host, port)
        await asyncio.wait_for(publisher.ready, 10)
        return publisher


def _difference(now: Ledger, before: Ledger) -> dict[str, Any]:
    """What a window added to the ledger."""
    return {
        "expected": now.expected - before.expected,
        "received": now.received - before.received,
        "missing": now.missing - before.missing,
        "duplicates": now.duplicates - before.duplicates,
        "out_of_order": now.out_of_order - before.out_of_order,
        "gaps": now.gaps - before.gaps,
        "closed": now.closed - before.closed,
        "faults": list(now.faults),
    }
