"""The log: one ordered sequence of messages, and the engines that keep it."""

from tidewire.log.engine import Broken, Engine, Feed
from tidewire.log.memory import MemoryEngine

__all__ = ["Broken", "Engine", "Feed", "MemoryEngine"]
