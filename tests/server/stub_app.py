"""A connection's surroundings: an application that does as the test says, and answers to read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tests.server.fake_loop import FakeLoop
from tidewire.model import TidewireError, Unavailable
from tidewire.server.connection import Connection
from tidewire.server.request import HttpLimits
from tidewire.server.turns import Turns
from tidewire.server.wheel import Wheel

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.request import Request

LIMITS = HttpLimits(
    head_size=1_000, target_size=200, head_timeout=10, body_timeout=30, keepalive_timeout=60
)
STALL_TIMEOUT = 20.0
HOST = b"Host: localhost\r\n"


def get(target: bytes, *fields: bytes) -> bytes:
    """A request without a body."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, HOST, lines)


def post(target: bytes, body: bytes, *fields: bytes) -> bytes:
    """A request with a body."""
    lines = b"".join(field + b"\r\n" for field in fields)
    head = b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n%b\r\n"
    return head % (target, HOST, len(body), lines) + body


class Answer(NamedTuple):
    """One answer of HTTP; ``last`` if the connection ends with it."""

    status: int
    body: bytes
    last: bool


def answers_of(data: bytes) -> list[Answer]:
    """The answers that *data* consists of."""
    answers = []
    while data:
        head, blank, data = data.partition(b"\r\n\r\n")
        assert blank, f"{head!r} is no whole head"
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 ")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = int(headers.get(b"content-length", b"0"))
        assert len(data) >= length, "the body is not whole"
        last = headers.get(b"connection") == b"close"
        answers.append(Answer(int(lines[0].split(b" ")[1]), data[:length], last))
        data = data[length:]
    return answers


class Pending:
    """An answer that is still to come; writes down what it is told."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.told: list[str] = []
        self.next_timer = 5.0

    def drain(self) -> None:
        self.told.append("drain")
        self.connection.respond(204, b"", b"")

    def on_timer(self, now: float) -> float:
        self.told.append("timer")
        if not self.next_timer:
            self.connection.respond(204, b"", b"")
        return self.next_timer

    def lost(self) -> None:
        self.told.append("lost")


class Stream:
    """A stream that writes down what it is told."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.told: list[str] = []
        self.received = b""
        self.resumed = asyncio.Event()
        self.fed = asyncio.Event()
        self.next_timer = 5.0

    def feed(self, data: bytes) -> None:
        self.received += data
        self.fed.set()

    def resume(self) -> None:
        self.told.append("resume")
        self.resumed.set()

    def on_timer(self, now: float) -> float:
        self.told.append("timer")
        return self.next_timer

    def end(self, code: int, reason: str, *, again: bool, retry: int | None = None) -> None:
        self.told.append("end")
        self.connection.write(b"bye")
        self.connection.close()

    def lost(self) -> None:
        self.told.append("lost")


class StubApp:
    """Handles a request by its target.

    ``/later`` is answered when the test calls ``connection.respond``; ``/hold`` is a pending
    answer, ``/stream`` a stream, ``/frames`` one of frames; anything else is answered at once with
    its target and body.
    """

    def __init__(self) -> None:
        self.clock = FakeLoop()
        self.loop = self.clock.as_loop
        self.wheel = Wheel(self.loop)
        self.turns = Turns(self.loop, self.loop.time)
        self.limits = LIMITS
        self.stall_timeout = STALL_TIMEOUT
        self.draining = False
        self.full = False
        self.refusals: list[str] = []
        self.stalled = 0
        self.bad_tls = 0
        self.handled: list[bytes] = []
        self.connections: list[Connection] = []
        self.gone = asyncio.Event()
        self.pending: Pending | None = None
        self.stream: Stream | None = None

    def new_connection(self) -> Connection:
        """A protocol for one more socket."""
        return Connection(cast("App", self))

    def admit(self, connection: Connection, file: int) -> TidewireError | None:
        self.connections.append(connection)
        return Unavailable("full") if self.full else None

    def forget(self, connection: Connection) -> None:
        self.connections.remove(connection)
        self.gone.set()

    def count_refusal(self, error: TidewireError) -> None:
        if error.refusal is not None:
            self.refusals.append(error.refusal)

    def count_stalled(self) -> None:
        self.stalled += 1

    def count_bad_tls(self) -> None:
        self.bad_tls += 1

    def body_limit(self, request: Request) -> int:
        return 200_000

    def with_cors(self, request: Request | None, answer: Any) -> Any:
        return answer

    def handle(self, request: Request, connection: Connection) -> None:
        self.handled.append(request.target + request.body)
        if request.target == b"/hold":
            self.pending = Pending(connection)
            connection.hold(self.pending, 5)
        elif request.target == b"/stream":
            self.stream = Stream(connection)
            connection.start_stream(self.stream, b"head;", b"", seconds=5)
        elif request.target == b"/frames":
            self.stream = Stream(connection)
            connection.start_stream(self.stream, b"head;", b"", seconds=5, framed=True)
        elif not request.target.startswith(b"/later"):
            connection.respond(200, b"", request.target + request.body)


class Descriptor(NamedTuple):
    """All that is asked of a socket."""

    number: int

    def fileno(self) -> int:
        return self.number


class FakeTransport(asyncio.Transport):
    """A transport that keeps what is written, and has no descriptor of its own.

    While ``takes`` is false nothing goes out, as with a client that does not read.
    """

    def __init__(self, protocol: Connection) -> None:
        super().__init__()
        self.protocol = protocol
        self.peer = "127.0.0.1"
        self.file: int | None = None  # the number of its descriptor, for who asks
        self.sent = b""
        self.buffer = b""
        self.takes = True
        self.reading = True
        self.ended = False  # this side
        self.closing = False
        self.aborted = False
        self._high: int | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        # With TLS the connection leaves all writing to the transport.
        if name == "socket" and self.file is not None:
            return Descriptor(self.file)
        return {"sslcontext": True, "peername": (self.peer, 1)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end"
        assert not self.aborted
        if self.takes and not self.buffer:
            self.sent += data
            return
        was_empty = not self.buffer
        self.buffer += data
        if was_empty and self._high is not None and len(self.buffer) > self._high:
            self.protocol.pause_writing()

    def take(self, count: int | None = None) -> None:
        """Let *count* bytes of the buffer go out, or all."""
        count = len(self.buffer) if count is None else count
        self.sent += self.buffer[:count]
        self.buffer = self.buffer[count:]
        if not self.buffer:
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True
