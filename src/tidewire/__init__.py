"""Tidewire: publish once; WebSocket, SSE, long and short polling clients miss nothing."""

__version__ = "0.1.0"
