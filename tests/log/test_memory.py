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


async def test_the_background_frees_what_is_withdrawn() -> None:
    logs = Logs(MemoryStorage())
    log = await logs.open()
    await log.append(draft("a", b"x" * 100, ttl=5), draft("a", b"y" * 100, ttl=50), draft())
    engine = log.engine
    assert isinstance(engine, MemoryEngine)
    sizes = []
    for _ in range(3):
        await log.clean()
        sizes.append([message.size for message in engine._channels["a"].window.read(0, 2**53, 9)])
        logs.clock.move(20)
    assert sizes[0][:2] == [100, 100]
    assert sizes[1][:2] == sizes[2][:2] == [0, 100]
    logs.clock.move(20)
    await log.clean()
    assert engine._channels["a"].next_withdrawal == 0
    await logs.close_all()


async def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_KEYS", 3)
    logs = Logs(MemoryStorage())
    log = await logs.open()
    for key in "abcd":
        await log.append(draft(key=key))
    assert log.engine.drops == {"key": 1}
    again = [(await log.append(draft(key=key)))[0].seq for key in "bcda"]
    assert again == [2, 3, 4, 5]
    await logs.close_all()


async def test_the_background_does_not_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round drops a bounded number; the next follows at once while more are left."""
    monkeypatch.setattr(memory, "_SWEEP_ENTRIES", 10)
    logs = Logs(MemoryStorage())
    log = await logs.open(window=10)
    await log.append(*(draft(key=str(number)) for number in range(95)))
    engine = log.engine
    assert isinstance(engine, MemoryEngine)
    logs.clock.move(11)
    await log.clean()
    assert len(engine._keys) == 85
    await until(lambda: not engine._keys)
    await logs.close_all()
