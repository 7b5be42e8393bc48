"""What the four transports have in common for a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tidewire.client.envelope import Event
    from tidewire.client.position import Position


class Transport(Protocol):
    """One way to subscribe. A transport keeps no position and never reconnects by itself."""

    def attempt(self, position: Position) -> AsyncGenerator[Event, None]:
        """Connect once and yield what comes, from *position* on; it is read, never changed.

        The caller has moved the position past an event when it asks for the next.

        Raises:
            Interrupted: when the connection fails or ends and another may go on.
            Refused: when the server wants no other.
        """
        ...
