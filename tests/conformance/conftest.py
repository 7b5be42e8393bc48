"""Fixtures of the conformance tests: clients that are not Tidewire's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.listeners import start_listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.listeners import Listener


@pytest.fixture(scope="module")
def client(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """The listener of that ``name``, which each module chooses; it goes from stream to stream."""
    listener = start_listener(name, tmp_path_factory.mktemp("client"))
    yield listener
    listener.quit()
