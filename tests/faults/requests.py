"""As much of HTTP/1.1 as it takes to see where a request or an answer ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
UPGRADE = re.compile(rb"\r\nupgrade: *websocket", re.IGNORECASE)


class Requests:
    """Cuts the bytes of a connection into whole requests, until one of them is an upgrade.

    Bodies have a ``Content-Length``, as the clients of these tests send it. ``upgraded`` says
    that what is left, and all that follows, is no HTTP.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self.upgraded = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield the requests that they complete."""
        self._buffer += data
        while not self.upgraded:
            head, end, _ = self._buffer.partition(HEAD_END)
            size = len(head) + len(end) + body_size(head)
            if not end or len(self._buffer) < size:
                return
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self.upgraded = UPGRADE.search(head) is not None
            yield request

    def rest(self) -> bytes:
        """What came after an upgrade, once; before it nothing."""
        rest = b""
        if self.upgraded:
            rest, self._buffer = self._buffer, b""
        return rest


def body_size(head: bytes) -> int:
    """The ``Content-Length`` of a head; 0 without one."""
    length = LENGTH.search(head)
    return int(length[1]) if length else 0


async def answer_of(reader: asyncio.StreamReader) -> None:
    """Read one answer; one without ``Content-Length`` goes on until the connection ends."""
    head = await reader.readuntil(HEAD_END)
    if b" 200 " in head[:16] and not LENGTH.search(head):
        await reader.read()
    await reader.readexactly(body_size(head))
