"""A loop of their own for the tests of the hub, which they turn by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.hub.world import HeldEngine, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tidewire.log import Engine, MemoryEngine
    from tidewire.model import Flow


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that stands still unless a test turns it."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class MakeWorld(Protocol):
    """What the fixture ``make_world`` gives."""

    def __call__(
        self,
        *,
        recent: int = 10_000,
        size: int = 10_000,
        held: bool = False,
        wrap: Callable[[MemoryEngine], Engine] | None = None,
        flows: Mapping[str, Flow] | None = None,
    ) -> World: ...


@pytest.fixture
def _no_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is never too long for the next session, and pages are shown for good.

    However long the machine halts, as many reads are made, in as many turns.
    """
    monkeypatch.setattr("tidewire.hub.hub.CATCH_UP_SECONDS", 1_000.0)
    monkeypatch.setattr("tidewire.hub.pages.SHOWN_SECONDS", 1_000.0)


@pytest.fixture
def make_world(loop: asyncio.AbstractEventLoop, _no_clock_decides: None) -> Iterator[MakeWorld]:
    """Make worlds that end with the test."""
    worlds: list[World] = []

    def make(
        *,
        recent: int = 10_000,
        size: int = 10_000,
        held: bool = False,
        wrap: Callable[[MemoryEngine], Engine] | None = None,
        flows: Mapping[str, Flow] | None = None,
    ) -> World:
        wrap = HeldEngine if held else wrap
        world = World(loop, recent=recent, size=size, wrap=wrap, flows=flows)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.end()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world with room for everything."""
    return make_world()
