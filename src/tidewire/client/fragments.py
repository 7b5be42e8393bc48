"""Large envelopes come in parts on event streams and polls; here they are put together."""

from __future__ import annotations

from tidewire.client.envelope import Close, Fragment, Message, Received, parse_envelope
from tidewire.client.errors import Interrupted, Refused

MAX_SIZE = 256 << 20
"""Characters of one envelope: far above what a server accepts, so that none exhausts memory."""


class Assembly:
    """The parts of one connection, or of one answer to a poll.

    The parts of an envelope come one after the other and all of them; only then is it there. A
    connection that breaks in between has not brought the message: the subscriber's position is
    still before it, and the next connection brings it whole. So any disorder is an interruption.
    """

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self._max_size = max_size
        self._first: Fragment | None = None
        self._parts: list[str] = []
        self._size = 0

    def take(self, received: Received) -> Received | None:
        """The envelope that is whole with *received*; ``None`` while parts of it are missing.

        Raises:
            Interrupted: if a part is missing, doubled, or of another envelope than those before.
            Refused: if the parts together are not that message, or too large.
        """
        part = received.envelope
        if not isinstance(part, Fragment):
            # A stream may end anywhere; nothing else may come between, or a message is passed over.
            if not isinstance(part, Close):
                self.end()
            return received
        first = self._first or part
        if (part.of, part.count, part.index) != (first.of, first.count, len(self._parts)):
            raise Interrupted(f"a part of message {first.of} is missing")
        self._first = first
        self._parts.append(part.data)
        self._size += max(1, len(part.data))
        if self._size > self._max_size:
            raise Refused(f"message {first.of} has more than {self._max_size} characters")
        if len(self._parts) < first.count:
            return None
        whole = parse_envelope("".join(self._parts).encode())
        self._first = None
        self._parts = []
        self._size = 0
        if not isinstance(whole.envelope, Message) or whole.envelope.id != first.of:
            raise Refused(f"the parts of message {first.of} are another envelope")
        return whole

    def end(self) -> None:
        """Nothing more belongs to what has come.

        Raises:
            Interrupted: if parts are missing.
        """
        if self._first is not None:
            raise Interrupted(f"a part of message {self._first.of} is missing")
