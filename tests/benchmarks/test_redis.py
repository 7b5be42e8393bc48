"""What the case for Redis measures with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.cases.redis import bare
from benchmarks.processes import TIDEWIRE, LoadGenerator, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.redis_server import RedisServer


def test_what_redis_does_without_rules(redis: RedisServer) -> None:
    assert bare(redis, "append", 0.1)["rate"] > 10
    assert 0 < redis.ask("XLEN", "bare") < 11_000
    found = bare(redis, "wake", 50, 1_000)
    assert found["count"] == 50
    assert 0 < found["p50"] <= found["p99"]


def test_publishing_at_one_server_for_subscribers_of_another(
    redis_log: Callable[[], str], tmp_path: Path
) -> None:
    command = (*TIDEWIRE, "--engine", redis_log(), "--port", "0")
    with (
        serving(command, tmp_path) as here,
        serving(command, tmp_path) as there,
        LoadGenerator() as generator,
    ):
        generator.open("across", "ws", there, 3)
        window = generator.publish("across", "http", 20, 200.0, batch=2, at=here.url)
        assert (window.expected, window.received) == (120, 120)
        assert (window.missing, window.duplicates, window.out_of_order) == (0, 0, 0)
