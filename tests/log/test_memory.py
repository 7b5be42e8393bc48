"""The memory engine: the contract, and what is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import until
from tests.log.contract import EngineContract
from tests.log.harness import Clock, Logs, Storage, draft, drafts
from tidewire.log import Engine, MemoryEngine, memory
from tidewire.model import Namespaces

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryStorage:
    """Nothing but the engine itself."""

    def engine(
        self, namespaces: Namespaces, *, idempotency_window: float, clock: Callable[[], float]
    ) -> Engine:
        return MemoryEngine(namespaces, idempotency_window=idempotency_window, clock=clock)

    async def clean(self, engine: Engine, clock: Clock) -> None:
        assert isinstance(engine, MemoryEngine)
        timer = engine._sweeper
        assert timer is not None
        timer.cancel()
        engine._sweep()


class TestMemory(EngineContract):
    """The contract."""

    @pytest.fixture
    def storages(self) -> Callable[[], Storage]:
        return MemoryStorage


async def test_a_restart_begins_a_new_epoch() -> None:
    logs = Logs(MemoryStorage())
    log = await logs.open()
    await log.append(*drafts(3))
    await logs.close(log)
    again = await logs.open()
    assert again.engine.epoch != log.engine.epoch
    assert again.head_at_open == 0
    assert (await again.read({"a": 0})).messages == []
    await logs.close_all()


async def test_an_append_is_answered_at_once() -> None:
    logs = Logs(MemoryStorage())
    log = await logs.open()
    future = log.engine.append(drafts(2))
    assert future.done()
    assert [receipt.id for receipt in future.result()] == [message.id for message in log.fed]
    await logs.close_all()


async def test_the_background_frees_what_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SWEEP_SECONDS", 0.0)
    logs = Logs(MemoryStorage())
    log = await logs.open(ttl=10)
    await log.append(draft("a", b"x" * 1_000_000))
    await log.append(*(draft(f"channel-{number}") for number in range(5_000)))
    engine = log.engine
    assert isinstance(engine, MemoryEngine)

    def kept() -> int:
        return sum(len(channel.window) for channel in engine._channels.values())

    assert kept() == 5_001
    logs.clock.move(11)
    await until(lambda: kept() == 0)
    await logs.close_all()
