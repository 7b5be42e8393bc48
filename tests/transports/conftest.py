"""A loop of their own for the tests of the transports, which they turn by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.transports.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that stands still unless a test turns it."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def world(loop: asyncio.AbstractEventLoop) -> Iterator[World]:
    """A hub with room for everything."""
    world = World(loop)
    yield world
    world.end()


@pytest.fixture
def small_world(loop: asyncio.AbstractEventLoop) -> Iterator[World]:
    """A hub on a log that keeps three messages of each channel."""
    world = World(loop, size=3)
    yield world
    world.end()
