"""The log: one ordered sequence of messages, and the engines that keep it."""

from tidewire.log.engine import Engine, Feed
from tidewire.log.memory import MemoryEngine

__all__ = ["Engine", "Feed", "MemoryEngine"]
