"""The supervisor's end of the line to a worker. Nothing here blocks."""

from __future__ import annotations

import socket

from tidewire.server.line import Incoming, Message, to_bytes
from tidewire.server.listening import StartError

PIECE = 256 << 10


class Station:
    """The worker *pid* of a *slot*, at the other end of *line*."""

    def __init__(self, pid: int, slot: int, line: socket.socket) -> None:
        self.pid = pid
        self.slot = slot
        self.failure: StartError | None = None
        """Why it could not start."""
        self._line = line
        self._line.setblocking(False)
        self._incoming = Incoming()
        self._outgoing = bytearray()

    def fileno(self) -> int:
        """The line's descriptor."""
        return self._line.fileno()

    @property
    def is_open(self) -> bool:
        """Whether neither end has hung up."""
        return self._line.fileno() >= 0

    @property
    def has_more(self) -> bool:
        """Whether something waits until the line takes it."""
        return bool(self._outgoing)

    def say(self, message: Message) -> None:
        """Send a message, now or when the line takes it."""
        self._outgoing += to_bytes(message)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the line takes it."""
        try:
            while self._outgoing:
                sent = self._line.send(self._outgoing[:PIECE])
                del self._outgoing[:sent]
        except BlockingIOError:
            return
        except OSError:  # the worker has ended: the system will say so
            self._outgoing.clear()

    def receive(self) -> list[Message] | None:
        """What has come; ``None`` when the worker has hung up.

        Raises:
            ValueError: if it talks nonsense.
        """
        messages: list[Message] = []
        while True:
            try:
                data = self._line.recv(PIECE)
            except BlockingIOError:
                return messages
            except OSError:
                data = b""
            if not data:
                return messages or None
            messages += self._incoming.feed(data)

    def close(self) -> None:
        """Hang up."""
        self._line.close()
