"""``GET /metrics``: what Prometheus is told of the server, all its workers together.

Nothing is counted for it alone. The server's own counters, and its tables, are read at the moment
of the scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from tidewire.access.breaker import REASONS as BREAKER_REASONS
from tidewire.server.line import Everything, Family
from tidewire.server.merging import families_of, merged, metrics_of
from tidewire.server.request import Request
from tidewire.transports.long_poll import LongPoll
from tidewire.transports.sse import EventStream
from tidewire.transports.websocket import WebSocket

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

# Told from the start, so that what watches them sees the first one come.
_REASONS = (
    "dead_lettered",
    "disconnected",
    "expired",
    "hole",
    "key",
    "redelivered",
    "reset",
    "skipped",
    "slow",
    "stalled",
    "tls",
    "unanswered",
)

_REFUSALS = (
    "body_size",
    "byte_rate",
    "connection_rate",
    "connections",
    "connections_per_ip",
    "connections_per_user",
    "control_rate",
    "credentials",
    "files",
    "fragments",
    "head_size",
    "host",
    "memory",
    "message_rate",
    "message_size",
    "origin",
    "poll_rate",
    "publish_rate",
    "refresh_rate",
    "rights",
    "slow_body",
    "slow_head",
    "target_size",
)

_TRANSPORTS = {WebSocket: "websocket", EventStream: "sse", LongPoll: "longpoll"}


class Siblings(Protocol):
    """The workers of one server."""

    async def everything(self) -> Everything:
        """What all of them tell, this one included; raises ``Unavailable``."""
        ...


class Metrics:
    """The metrics of one worker's *app*."""

    def __init__(self, app: App) -> None:
        #: The workers of this server; ``None``: it has this one.
        self.siblings: Siblings | None = None
        self._registry = _registry_of(_Counters(app))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def families(self) -> list[Family]:
        """What this worker tells its supervisor."""
        return families_of(self._registry.collect())

    def answer(self, accept: str) -> tuple[bytes, str]:
        """The text for a scraper with this ``Accept`` header, and its content type."""
        return _text(_registry_of(_Workers({"1": True}, 0), self._registry), accept)

    @staticmethod
    def answer_for_all(everything: Everything, accept: str) -> tuple[bytes, str]:
        """As ``answer``, for all workers."""
        up = dict.fromkeys(everything.workers, True) | dict.fromkeys(everything.silent, False)
        told = merged(everything.workers, everything.retired)
        return _text(_registry_of(_Workers(up, everything.restarts), _Told(told)), accept)


def _registry_of(*collectors: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


def _text(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Told(Collector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from metrics_of(self._families)


class _Workers(Collector):
    """The workers themselves: whether each has answered, and how many had to be replaced."""

    def __init__(self, up: dict[str, bool], restarts: int) -> None:
        self._up = up
        self._restarts = restarts

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "tidewire_workers", "Workers whose figures are in this answer.", sum(self._up.values())
        )
        each = GaugeMetricFamily(
            "tidewire_worker_up", "0 for a worker that did not answer in time.", labels=["worker"]
        )
        for worker, up in sorted(self._up.items()):
            each.add_metric([worker], up)
        yield each
        yield CounterMetricFamily(
            "tidewire_worker_restarts", "Workers that ended and were replaced.", self._restarts
        )


class _Counters(Collector):
    def __init__(self, app: App) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        app, hub = self._app, self._app.hub
        connections = GaugeMetricFamily(
            "tidewire_connections", "Open connections by what they are.", labels=["transport"]
        )
        for transport, count in by_transport(app).items():
            connections.add_metric([transport], count)
        yield connections
        sessions = GaugeMetricFamily(
            "tidewire_sessions", "Subscribers by where they are in the log.", labels=["state"]
        )
        sessions.add_metric(["live"], hub.live_sessions)
        sessions.add_metric(["catching_up"], len(hub.behind))
        yield sessions
        if self._app.presence is not None:
            yield GaugeMetricFamily(
                "tidewire_members",
                "Members of channels with presence, on this server.",
                self._app.presence.attendees,
            )
        yield CounterMetricFamily(
            "tidewire_messages", "Messages that came from the log.", hub.messages
        )
        yield GaugeMetricFamily(
            "tidewire_position",
            "Id of the newest message handed out.",
            hub.position,
        )
        yield CounterMetricFamily(
            "tidewire_slow", "How often a client took its bytes too slowly.", hub.slow_sessions
        )
        yield CounterMetricFamily(
            "tidewire_acks", "Acknowledgements of durable consumers.", app.consumers.records.acks
        )
        drops = CounterMetricFamily(
            "tidewire_drops",
            "What did not go its usual way, by reason; see the documentation.",
            labels=["reason"],
        )
        counts = dict.fromkeys(_REASONS, 0) | hub.drops | hub.engine.drops
        for reason, count in sorted(counts.items()):
            drops.add_metric([reason], count)
        yield drops
        refusals = CounterMetricFamily(
            "tidewire_refusals",
            "What a limit or a rule has refused, by reason; see the documentation.",
            labels=["reason"],
        )
        for reason, count in sorted((dict.fromkeys(_REFUSALS, 0) | app.refusals).items()):
            refusals.add_metric([reason], count)
        yield refusals
        breaker = GaugeMetricFamily(
            "tidewire_breaker",
            "1 while new clients are refused because this runs out.",
            labels=["reason"],
        )
        app.doors.look()
        for cause in BREAKER_REASONS:
            breaker.add_metric([cause], app.doors.breaker.is_open(cause))
        yield breaker


def by_transport(app: App) -> Counter[str]:
    """How many connections there are, by what they are now."""
    counts = Counter(dict.fromkeys((*_TRANSPORTS.values(), "http"), 0))
    for connection in app.connections:
        kind = type(connection.stream or connection.pending)
        counts[_TRANSPORTS.get(kind, "http")] += 1
    return counts


def metrics(app: App, request: Request, connection: Connection) -> None:
    """``GET /metrics``: the text format of Prometheus, or OpenMetrics for who asks for it."""
    siblings = app.metrics.siblings
    if siblings is None:
        _respond(connection, app.metrics.answer(request.header(b"accept") or ""))
    else:
        app.answer_later(request, connection, _answer_for_all(siblings, request, connection))


async def _answer_for_all(siblings: Siblings, request: Request, connection: Connection) -> None:
    accept = request.header(b"accept") or ""
    answer = Metrics.answer_for_all(await siblings.everything(), accept)
    if connection.current is request:
        _respond(connection, answer)


def _respond(connection: Connection, answer: tuple[bytes, str]) -> None:
    body, content_type = answer
    headers = f"Content-Type: {content_type}\r\nCache-Control: no-store\r\n".encode()
    connection.respond(200, headers, body)
