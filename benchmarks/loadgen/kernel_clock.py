"""A connection whose bytes carry the time at which the kernel received them.

One process that plays a thousand subscribers reads them one after another, and on a machine with
two cores that takes as long as the server's fan-out itself: the last subscriber would look late
only because the generator had not come to it yet. The kernel's own receive time (SO_TIMESTAMPNS)
leaves that out: it is when the message stood in the subscriber's socket, ready to be read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from time import CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.loadgen.subscribers import Subscriber

SO_TIMESTAMPNS = 35  # Linux; not in Python's socket module
_TIMESPEC = struct.Struct("@qq")
_ROOM = socket.CMSG_SPACE(_TIMESPEC.size)
_MOST = 64 << 10


class TimedConnection(asyncio.Transport):
    """The few methods of a transport that a subscriber uses, over a socket that is read with its
    timestamps.
    """

    __slots__ = ("_ahead", "_loop", "_socket", "_subscriber")

    def __init__(self, connected: socket.socket, subscriber: Subscriber) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._subscriber = subscriber
        self._ahead = clock_gettime_ns(CLOCK_REALTIME) - clock_gettime_ns(CLOCK_MONOTONIC)
        connected.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._loop.add_reader(connected.fileno(), self._readable)
        subscriber.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a request or a pong; both always fit into an empty socket buffer."""
        self._socket.sendall(data)

    def abort(self) -> None:
        """Ends the connection."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._subscriber.connection_lost(None)

    def _readable(self) -> None:
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_MOST, _ROOM)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self.abort()
            return
        if ancillary:
            seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
            arrived = seconds * 1_000_000_000 + nanoseconds - self._ahead
        else:
            # The kernel begins to stamp a moment after the first socket on the machine has asked
            # for it: what came before is only known to have been there by now.
            arrived = clock_gettime_ns(CLOCK_MONOTONIC)
        self._subscriber.receive(data, arrived)


async def connect(subscriber: Subscriber, host: str, port: int, source: str | None = None) -> None:
    """Connects a subscriber to a server on this machine, over a `TimedConnection`.

    `source` is the address that it comes from, if that matters.
    """
    connected = socket.socket()
    connected.setblocking(False)
    if source is not None:
        connected.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(connected, (host, port))
    TimedConnection(connected, subscriber)
