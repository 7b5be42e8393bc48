"""What a connection may do: the line between the transports and access."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tidewire.access.caller import OPEN, Caller, Right


class Gate(Protocol):
    """Of one connection. ``caller`` is who it is now: it may show a new token."""

    caller: Caller

    def check(self, right: Right, channels: Iterable[str]) -> None:
        """Let the caller do this in *channels*.

        Raises:
            Unauthorized, Forbidden: if it may not.
        """
        ...

    async def renew(self, token: str, channels: Iterable[str]) -> float | None:
        """Have the caller stay by a new *token*, following *channels*; Unix seconds, until when.

        Raises:
            Unauthorized: if the token is not good.
            Forbidden: if it is somebody else's, or does not let follow all *channels*.
            Unavailable: if that cannot be found out now.
        """
        ...


class OpenGate:
    """Everybody may do everything."""

    caller = OPEN

    def check(self, right: Right, channels: Iterable[str]) -> None:
        pass

    async def renew(self, token: str, channels: Iterable[str]) -> float | None:
        return None


OPEN_GATE = OpenGate()
