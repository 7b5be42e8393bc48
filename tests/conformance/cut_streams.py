"""A server of one answer, recorded from a real one and cut at a chosen byte each time."""

from __future__ import annotations

import queue
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.acceptance.raw_http import RawConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 30.0
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def record(address: tuple[str, int], target: str, end: bytes) -> bytes:
    """The bytes of an answer, its head included, up to and including ``end``."""
    with RawConnection(address) as connection:
        connection.request("GET", target, {"Accept": "text/event-stream"})
        return connection.read_until(end)


class CutStreams:
    """Answers requests for ``/sse`` with the first bytes of ``whole``, as many as the next of
    ``cuts``, and ends the connection there. Other requests find an empty page.
    """

    def __init__(self, whole: bytes, cuts: Sequence[int]) -> None:
        self._whole = whole
        self._cuts = iter(cuts)
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def asked(self) -> str:
        """The ``Last-Event-ID`` of the next request for ``/sse``; empty if it has none."""
        return self._asked.get(timeout=PATIENCE)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                got = connection.recv(65_536)
                if not got:
                    return
                head += got
            first, *lines = head.decode("latin-1").split("\r\n")
            if "/sse" not in first:
                connection.sendall(EMPTY)
                return
            pairs = (line.partition(": ") for line in lines)
            fields = {name.lower(): value for name, _, value in pairs}
            self._asked.put(fields.get("last-event-id", ""))
            # After the last cut a client is left without an answer: it is not to come again.
            cut = next(self._cuts, None)
            if cut is None:
                connection.recv(1)
            else:
                connection.sendall(self._whole[:cut])
