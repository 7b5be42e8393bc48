"""The addresses of operators: health, metrics, and the document itself."""

from __future__ import annotations

from tidewire.server.openapi.operations import (
    NOT_KEPT,
    Operation,
    Paths,
    answer,
    as_head,
    exactly,
)
from tidewire.server.openapi.values import record
from tidewire.settings import Settings

_HEALTH = Operation(
    "getHealthz",
    "nothing",
    "200 while the process lives",
    {200: answer("It lives.", record({"status": {"const": "ok"}}), NOT_KEPT)},
)
_READY = Operation(
    "getReadyz",
    "nothing",
    "200 when requests can be served",
    {200: answer("They can.", record({"status": {"const": "ready"}}), NOT_KEPT)},
)
_METRICS = Operation(
    "getMetrics",
    "metrics",
    "Counters, for Prometheus",
    {200: answer("The text format of Prometheus.", {"type": "string"}, NOT_KEPT, "text/plain")},
    "OpenMetrics for who asks for it.",
)
_METRICS.answers[200]["content"]["application/openmetrics-text"] = {"schema": {"type": "string"}}
_DOCUMENT = Operation(
    "getOpenapi",
    "nothing",
    "This document",
    {200: answer("OpenAPI 3.1.", {"type": "object"}, {"Cache-Control": exactly("no-cache")})},
)


def paths(settings: Settings) -> Paths:
    """The operations on these addresses."""
    return {
        path: {"get": operation, "head": as_head(operation)}
        for path, operation in {
            "/healthz": _HEALTH,
            "/readyz": _READY,
            "/metrics": _METRICS,
            "/openapi.json": _DOCUMENT,
        }.items()
    }
