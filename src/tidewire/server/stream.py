"""What a connection can become: a stream, a held request, or one that has said its last word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tidewire.server.connection import Connection


class Stream(Protocol):
    """What a connection has become after its last HTTP answer's head."""

    def feed(self, data: bytes) -> None:
        """The client sent *data*."""
        ...

    def resume(self) -> None:
        """All that was written is with the kernel."""
        ...

    def on_timer(self, now: float) -> float:
        """The wheel's entry is due; return the seconds until the next."""
        ...

    def end(self, code: int, reason: str, *, again: bool, retry: int | None = None) -> None:
        """Say why to the client, and end once that is sent.

        *again*: it may come back, in *retry* ms where that is given.
        """
        ...

    def lost(self) -> None:
        """The connection is gone."""
        ...


class Pending(Protocol):
    """An answer that is still to come and can be called off."""

    def drain(self) -> None:
        """Answer now."""
        ...

    def on_timer(self, now: float) -> float:
        """The wheel's entry is due; return the seconds until the next."""
        ...

    def lost(self) -> None:
        """The client is gone: there is nobody to answer."""
        ...


class Lingering:
    """A connection that has said its last word."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._left = 16 << 20

    def feed(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._connection.abort()
        else:
            self._connection.wait_for_turn()

    def resume(self) -> None:
        pass

    def on_timer(self, now: float) -> float:
        self._connection.close()
        return 0

    def end(self, code: int, reason: str, *, again: bool, retry: int | None = None) -> None:
        self._connection.close()

    def lost(self) -> None:
        pass
