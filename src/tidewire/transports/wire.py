"""What a transport needs of a connection: the line between protocol and sockets."""

from __future__ import annotations

from typing import Protocol

from tidewire.model import TidewireError


class Wire(Protocol):
    """Bytes out, and an end. Nothing here waits."""

    congested: bool

    @property
    def reading(self) -> bool:
        """Whether anything is taken from the client now."""
        ...

    def write(self, data: bytes) -> bool:
        """Send *data* whole; ``False`` when the client takes no more for now."""
        ...

    def interject(self, frame: bytes) -> None:
        """Send a control frame of a WebSocket, ahead of other frames that wait."""
        ...

    def stop_reading(self, reason: int) -> None:
        """Take nothing from the client until ``read_on`` was called for the reason."""
        ...

    def read_on(self, reason: int) -> None:
        """*reason* to stop reading is gone."""
        ...

    def end(self, code: int, reason: str, *, again: bool) -> None:
        """End the stream, saying why; *again*: the client may come back."""
        ...

    def close(self) -> None:
        """Close once everything written has been sent."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...

    def linger(self) -> None:
        """Close this side, and the connection when the client has closed its own."""
        ...


class Responder(Protocol):
    """A request that waits for its answer."""

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer; *headers* are whole lines. An answer to a client that is gone is dropped."""
        ...

    def respond_error(self, error: TidewireError) -> None:
        """Answer with a problem document."""
        ...


PACED = 16  # the reason for which a stream stops reading: so much came that the pace is exceeded
STORING = 8  # the reason for which a stream stops reading: what was uploaded is being written
BUSY = 4  # the reason for which a stream stops reading: too many commands under way
