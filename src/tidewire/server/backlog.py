"""What a client of a WebSocket has yet to be sent while it takes no more.

A large message may be on its way to a slow client for minutes. Meanwhile pings and pongs must come
through, or each side takes the other for dead; a WebSocket lets control frames stand between the
frames of a message (RFC 6455 section 5.4). So the bytes are kept here, shared with all others who
get them and never copied, and go to the transport a piece at a time.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections import deque

PIECE = 128 << 10
"""Bytes of one piece: about what the kernel keeps unsent of a connection (TCP_NOTSENT_LOWAT)."""


class Backlog:
    """Whole frames, of which the first may have been sent in part.

    ``size`` counts all bytes, ``behind`` those that were added behind the first ones.
    """

    __slots__ = ("_border", "_control", "_parts", "_sent", "behind", "size")

    def __init__(self, data: bytes, sent: int, border: int) -> None:
        """Begin with *data*, of which *sent* bytes are with the kernel.

        At *border* a frame begins: 0, or behind the head of an HTTP answer.
        """
        self._parts = deque((memoryview(data),))
        self._sent = sent  # of the first part
        self._border = border  # of a frame in the first part, behind which none is known yet
        self._control: dict[int, bytes] = {}
        self.size = len(data) - sent
        self.behind = 0

    def __bool__(self) -> bool:
        return self.size > 0

    def put(self, data: bytes) -> None:
        """Add whole frames, to be sent after all the others."""
        self._parts.append(memoryview(data))
        self.size += len(data)
        self.behind += len(data)

    def interject(self, frame: bytes) -> None:
        """Send a control frame as soon as a frame ends, before what waits.

        One that was not sent yet gives way to a newer one of its kind: only the latest ping must be
        answered (section 5.5.3).
        """
        kind = frame[0]
        self.size += len(frame) - len(self._control.pop(kind, b""))
        self._control[kind] = frame

    def take(self) -> bytes | memoryview:
        """The next piece; there must be one."""
        piece: bytes | memoryview
        if self._control and self._next_border() == self._sent:
            piece = b"".join(self._control.values())
            self._control.clear()
        else:
            first = self._parts[0]
            end = min(self._sent + PIECE, len(first))
            if self._control:
                end = min(end, self._border)
            piece = first[self._sent : end]
            self._sent = end
            if end == len(first):
                self._parts.popleft()
                self._sent = self._border = 0
        self.size -= len(piece)
        return piece

    def _next_border(self) -> int:
        """Where the next frame begins, at the earliest where the next piece does.

        Looked for only when a control frame waits: most messages are sent before one does.
        """
        if not self._parts:
            return self._sent
        first = self._parts[0]
        while self._border < self._sent:
            head = first[self._border : self._border + 10]
            length, begin = head[1], 2
            if length == 126:
                length, begin = int.from_bytes(head[2:4]), 4
            elif length == 127:
                length, begin = int.from_bytes(head[2:10]), 10
            self._border += begin + length
        return self._border

    def rest(self) -> list[bytes | memoryview]:
        """All that is left, in pieces, in its order."""
        pieces = []
        while self:
            pieces.append(self.take())
        return pieces


def in_kernel(fd: int) -> int:
    """Bytes written to this socket that the client has not acknowledged; none if *fd* is -1."""
    if fd < 0:
        return 0
    try:
        # SIOCOUTQ has TIOCOUTQ's number (tcp(7)).
        queued = fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    left: int = struct.unpack("i", queued)[0]
    return left
