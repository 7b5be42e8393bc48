"""The engines of the fault runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ENGINES = ("memory", "sqlite")
"""Those that need nothing else, each with one server."""

REDIS = "redis of two nodes"


def engine_url(engine: str, directory: Path) -> str:
    """What ``--engine`` takes for a log of its own in ``directory``."""
    return "memory:" if engine == "memory" else f"sqlite:///{directory}/log.db"
