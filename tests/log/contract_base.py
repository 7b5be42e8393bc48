"""The fixtures that all parts of the contract share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.log.harness import Clock, Log, Logs, Storage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Contract:
    """A part of the contract; an engine's test class says what ``storages`` are."""

    @pytest.fixture
    def storages(self) -> Callable[[], Storage]:
        """Make new, empty storage at each call."""
        raise NotImplementedError

    @pytest.fixture
    async def logs(self, storages: Callable[[], Storage]) -> AsyncIterator[Logs]:
        """Open engines on one storage; they are closed when the test is over.

        An engine's callback that fails, on the loop or while it is closed, fails the test.
        """
        trouble: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        logs = Logs(storages())
        yield logs
        await logs.close_all()
        await asyncio.sleep(0)
        assert trouble == []

    @pytest.fixture
    def clock(self, logs: Logs) -> Clock:
        """The clock of all engines of the test."""
        return logs.clock

    @pytest.fixture
    async def log(self, logs: Logs) -> Log:
        """One open engine that keeps all messages."""
        return await logs.open()
