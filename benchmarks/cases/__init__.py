"""The cases, by name and in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.cases import (
    access,
    acks,
    attacks,
    catch_up,
    chat,
    crowd,
    fanout,
    idle_memory,
    javascript,
    latency,
    polls,
    publish,
    redis,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.results import Outcome


class Case(NamedTuple):
    """Something to measure."""

    title: str
    run: Callable[[Bench], Outcome]
    long: bool = False
    """It runs only when it is named."""


CASES: dict[str, Case] = {
    "ws_fanout": Case("WebSocket fan-out", fanout.websocket),
    "sse_fanout": Case("SSE fan-out", fanout.sse),
    "idle_memory": Case("Memory of idle connections", idle_memory.run),
    "polls": Case("Short polls", polls.run),
    "publish": Case("Publishing over HTTP", publish.run),
    "chat": Case("Chat over WebSocket", chat.run),
    "latency": Case("Latency", latency.run),
    "redis": Case("Two nodes on Redis", redis.run),
    "acks": Case("Acknowledgement", acks.run),
    "catch_up": Case("Catching up beside live traffic", catch_up.run),
    "access": Case("Limits and tokens", access.run),
    "crowd": Case("A lobby of 100,000", crowd.run, long=True),
    "storm": Case("20,000 come back at once", crowd.storm, long=True),
    "javascript": Case("The JavaScript client in Chromium", javascript.run, long=True),
    "attacks": Case("Live traffic under attack", attacks.run, long=True),
}
