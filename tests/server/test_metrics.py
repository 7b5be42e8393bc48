"""``/metrics``: what the worker says of itself, in a form that Prometheus's own parser reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

if TYPE_CHECKING:
    from tests.server.conftest import Server

Values = dict[tuple[str, str], float]


def scrape(server: Server) -> Values:
    """The value of each of our samples, by name and by its label's value."""
    reply = server.get("/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert reply.headers["cache-control"] == "no-store"
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in parse_text(reply.body.decode())
        for sample in family.samples
        if sample.name.startswith("tidewire_")
    }


def test_connections_by_transport(app_server: Server) -> None:
    for target in ("/sse?channels=a", "/sse?channels=a", "/longpoll?channels=a"):
        app_server.client().send(target)
    found = scrape(app_server)
    transports = {label: count for (name, label), count in found.items() if "connections" in name}
    assert transports == {"websocket": 0, "sse": 2, "longpoll": 1, "http": 1}
    assert found["tidewire_sessions", "live"] == 3
    assert found["tidewire_sessions", "catching_up"] == 0


def test_messages_and_the_position(app_server: Server) -> None:
    before = scrape(app_server)
    app_server.publish("a")
    app_server.publish("b")
    after = scrape(app_server)
    assert before["tidewire_messages_total", ""] == 0
    assert after["tidewire_messages_total", ""] == 2
    assert after["tidewire_position", ""] == app_server.hub.position


def test_acknowledgements(app_server: Server) -> None:
    app_server.app.consumers.records.acknowledge("nobody", [1], single=False).exception()
    assert scrape(app_server)["tidewire_acks_total", ""] == 1


def test_drops_by_reason(app_server: Server) -> None:
    assert scrape(app_server)["tidewire_drops_total", "stalled"] == 0
    app_server.app.count_stalled()
    app_server.hub.drops["slow"] += 2
    found = scrape(app_server)
    assert found["tidewire_drops_total", "stalled"] == 1
    assert found["tidewire_drops_total", "slow"] == 2


def test_refusals_by_reason(app_server: Server) -> None:
    before = scrape(app_server)
    assert before["tidewire_refusals_total", "slow_head"] == 0
    assert app_server.get("/publish?channel=a", method="POST", body=b"x" * (2 << 20)).status == 413
    assert app_server.get("/healthz", method="POST", body=b"x" * (1 << 20)).status == 413
    assert app_server.get("/" + "a" * 10_000).status == 414
    assert app_server.get("/poll?channels=a", {"X": "y" * 20_000}).status == 431
    assert app_server.get("/poll?channels=a", {"Origin": "https://evil.example"}).status == 403
    assert app_server.get("/poll?channels=a", {"Host": "evil.example"}).status == 403
    after = scrape(app_server)
    counted = {
        label: count - before[name, label]
        for (name, label), count in after.items()
        if name == "tidewire_refusals_total" and count != before[name, label]
    }
    assert counted == {
        "message_size": 1,
        "body_size": 1,
        "target_size": 1,
        "head_size": 1,
        "origin": 1,
        "host": 1,
    }


def test_a_scraper_may_ask_for_openmetrics(app_server: Server) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    reply = app_server.get("/metrics", headers=accept)
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    families = parse_openmetrics(reply.body.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert {"tidewire_connections", "tidewire_drops", "process_resident_memory_bytes"} <= names
