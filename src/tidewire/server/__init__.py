"""The socket server."""

from tidewire.server.runner import run

__all__ = ["run"]
