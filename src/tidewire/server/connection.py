"""One TCP connection: HTTP/1.1 (RFC 9112) until a stream takes it over.

The socket's bytes go through a ``RequestReader``; the application handles the requests one at a
time, in order, and what is pipelined behind waits. A handler answers with ``respond``, now or
later, or calls ``start_stream``: then the reader is dropped, and all that the client sends goes
to the stream.

Writing
-------
``write`` calls the kernel at once, without the transport: one system call and no copy. Only what
the kernel does not take goes to the transport's buffer, and from then on until that
buffer is empty the connection is *congested*: the file descriptor is hidden (-1), so every write
takes the slow path, reading is paused, and the stream's session reads on from the log later. The
transport closes its descriptor only after ``connection_lost``, where it is hidden for good: the
kernel cannot have given its number to another connection by then.

What is left of a large message is the same bytes for all its receivers: the transport gets a view
of them. A WebSocket feeds it in pieces (``Backlog``), so that control frames get between; it reads
on meanwhile, as long as few answers wait.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tidewire.model import TidewireError
from tidewire.server.backlog import PIECE, Backlog, in_kernel
from tidewire.server.http1 import HEAD, IDLE, RequestReader, TimedOut
from tidewire.server.journal import refusals
from tidewire.server.request import Request
from tidewire.server.response import answer, problem
from tidewire.server.stream import Lingering, Pending, Stream

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.staying import Stay

MAX_PIPELINED = 32
LINGER_SECONDS = 2.0
MOST_BEHIND = 64 << 10  # bytes of answers that may wait behind a large message
LARGE_BODY = 64 << 10
MUCH = 4 << 10  # bytes of one read, which may be many requests
PIECES_A_TURN = 8  # to a client that takes them as fast as they come

# Why nothing is read
CONGESTED, PIPELINED, BUSY, HELD = 1, 2, 4, 8

_os_write = os.write
_numbers = itertools.count(1)


class Connection(asyncio.Protocol):
    """The protocol object of one socket."""

    __slots__ = (
        "_backlog",
        "_border",
        "_framed",
        "_handling",
        "_paused",
        "_queue",
        "_reader",
        "_served",
        "_stalled_left",
        "_stalled_since",
        "_timed",
        "_unread",
        "app",
        "client",
        "congested",
        "counted",
        "current",
        "draining",
        "fd",
        "number",
        "pending",
        "proxied",
        "refused",
        "since",
        "socket_fd",
        "stay",
        "stream",
        "tick",
        "transport",
    )

    def __init__(self, app: App) -> None:
        self.app = app
        self.number = next(_numbers)
        self.since = int(time.time() * 1000)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.fd = self.socket_fd = -1
        self.tick = 0
        self.stream: Stream | None = None
        self.pending: Pending | None = None
        self.current: Request | None = None
        self.stay: Stay | None = None  # where callers have to show who they are
        self.congested = False
        self.draining = False
        self.refused: TidewireError | None = None  # why nothing but its first request is read
        self.counted: str | None = None  # the address that it is counted under
        self.client: str | None = None  # the address of a stream's client, where a proxy tells it
        self.proxied = False  # it is a proxy's: each request is counted under its client's address
        self._paused = False  # the transport has bytes that the kernel did not take
        self._framed = False  # the stream consists of WebSocket frames
        self._border = 0  # of the first frame in what is written
        self._backlog: Backlog | None = None
        self._handling = self._served = False
        self._unread = 0
        self._reader: RequestReader | None = None
        self._queue: deque[Request] | None = None
        self._timed = IDLE  # the part of a request whose time runs

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        # Pause at the first byte that the kernel did not take; resume when all are gone.
        transport.set_write_buffer_limits(high=0)
        socket = transport.get_extra_info("socket")
        file = -1 if socket is None else socket.fileno()
        if transport.get_extra_info("sslcontext") is None:
            self.fd = self.socket_fd = file
        self.draining = self.app.draining
        self.refused = self.app.admit(self, file)
        self.app.wheel.set(self, self.app.limits.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fd = self.socket_fd = -1
        self.app.wheel.clear(self)
        self.app.forget(self)
        stream, self.stream = self.stream, None
        pending, self.pending = self.pending, None
        if stream is not None:
            stream.lost()
        if pending is not None:
            pending.lost()
        self._leave()
        self._drop_reader()
        self._queue = self._backlog = None

    def eof_received(self) -> bool:
        # A held poll or a stream whose client has closed its side has nobody to go on for; an
        # answer that is being made is still sent, and those to what was pipelined behind.
        last = self._queue[-1] if self._queue else self.current
        if last is None or self.pending is not None or self.stream is not None:
            return False
        last.keep_alive = False
        return True

    def pause_writing(self) -> None:
        self._paused = True
        if not self.congested:
            self._congest()
            self.stop_reading(CONGESTED)
            self.app.wheel.set(self, self.app.stall_timeout / 4)

    def _congest(self) -> None:
        self.congested = True
        self.fd = -1
        self._stalled_since = self.app.loop.time()
        self._stalled_left = self._unsent()

    def resume_writing(self) -> None:
        self._paused = False
        if self._backlog is None:
            self._ease()
        else:
            self._feed()

    def _ease(self) -> None:
        """All that was written is with the kernel."""
        self.congested = False
        if not self.transport.is_closing():
            self.fd = self.socket_fd
            self.read_on(CONGESTED)
            idle = self.stream is None and self.pending is None
            self.app.wheel.set(self, self.app.limits.keepalive_timeout if idle else 0)
            if self.stream is not None:
                self.stream.resume()
            elif not self._handling:
                self._go_on()

    def data_received(self, data: bytes) -> None:
        if self.stream is not None:
            self.stream.feed(data)
            return
        # Bytes of requests: each that they complete is handled if its turn has come.
        reader = self._reader
        if reader is None:
            limit = self.app.body_limit if self.refused is None else self._refuse_body
            reader = self._reader = RequestReader(self.app.limits, limit)
        if self.current is not None:
            reader.keep()  # the request being answered must not get the next one's body
        if (not self._served or len(data) > MUCH) and self.app.turns.are_full():
            reader.hold(data)
            self.wait_for_turn()
        else:
            self._take(reader, reader.feed(data))

    def wait_for_turn(self) -> None:
        """Take nothing more from the client until all others had their turn."""
        self.stop_reading(HELD)
        if self._unread == HELD:
            self.app.turns.add(self)

    def read_more(self) -> None:
        """It is this connection's turn: read on, or take in what had come with much else."""
        if self._unread != HELD or self.transport.is_closing():
            return  # ``read_on`` asks for another turn
        reader = self._reader
        if reader is None:
            self.read_on(HELD)
            return
        if self.current is not None:
            reader.keep()
        requests = reader.go_on()
        if not reader.held:
            self.read_on(HELD)
        self._take(reader, requests)

    def _take(self, reader: RequestReader, requests: Sequence[Request]) -> None:
        """Handle *requests*, and see to what is behind them."""
        for request in requests:
            if self.transport.is_closing():
                return
            if self._is_free():
                self._handle(request)
            elif self.stream is None:
                reader.keep()
                self._enqueue(request)
        if self.stream is not None:
            # What is behind the request for a stream is the stream's or, without upgrade, nobody's.
            if reader.rest:
                self.stream.feed(reader.rest)
            return
        if reader.held:
            self.wait_for_turn()
            return
        if reader.state != self._timed or (requests and reader.state != IDLE):
            self._wait_for_rest(reader)
        if reader.failure is not None:
            self._fail(reader.failure)
        elif reader.rest is not None and self._is_free():
            self.close()  # an upgrade that was refused: the bytes behind it are nobody's

    def _refuse_body(self, request: Request) -> int:
        assert self.refused is not None
        raise self.refused

    def _drop_reader(self) -> None:
        """There will be no more requests."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
            self.read_on(HELD)

    def _is_free(self) -> bool:
        """Whether the next request may be handled: all before it are answered and under way."""
        return (
            self.current is None and self.stream is None and not self._queue and not self.congested
        )

    def _wait_for_rest(self, reader: RequestReader) -> None:
        """Bound the time for the rest of a request, once for each part and not from each byte.

        While an earlier request has no answer its time does not run: ``_go_on`` starts it.
        """
        self._timed = reader.state
        if reader.state != IDLE and self._is_free():
            limits = self.app.limits
            seconds = limits.head_timeout if reader.state == HEAD else limits.body_timeout
            self.app.wheel.set(self, seconds)
            if reader.wants_continue:
                reader.wants_continue = False
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def reading(self) -> bool:
        """Whether anything is taken from the client now."""
        return not self._unread

    def stop_reading(self, reason: int) -> None:
        """Read nothing until ``read_on`` was called for every reason given."""
        if not self._unread and not self.transport.is_closing():
            self.transport.pause_reading()
        self._unread |= reason

    def read_on(self, reason: int) -> None:
        """*reason* is gone."""
        if self._unread & reason:
            self._unread &= ~reason
            if self._unread == HELD:
                self.app.turns.add(self)
            elif not self._unread and not self.transport.is_closing():
                self.transport.resume_reading()

    # Requests, one at a time

    def _handle(self, request: Request) -> None:
        """Handle *request*, and those behind it as far as they are answered at once."""
        self._handling = self._served = True
        self.current = request
        self.app.handle(request, self)
        while self._queue and (following := self._following()) is not None:
            self.current = following
            self.app.handle(following, self)
        self._handling = False

    def _enqueue(self, request: Request) -> None:
        """Keep a pipelined request until its turn."""
        if self._queue is None:
            self._queue = deque()
        self._queue.append(request)
        if len(self._queue) >= MAX_PIPELINED:
            self.stop_reading(PIPELINED)

    def _following(self) -> Request | None:
        """The next request that was pipelined, if its turn has come and answers are taken."""
        if self.current is not None or self.congested or not self._queue:
            return None
        request = self._queue.popleft()
        if not self._queue:
            self.read_on(PIPELINED)
        return request

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer the current request. *headers* are whole lines."""
        request = self.current
        if request is None or self.transport.is_closing():
            return
        keep_alive = (
            request.keep_alive
            and not request.upgrade
            and not self.draining
            and self.refused is None
        )
        head = request.method == b"HEAD"
        if len(body) <= LARGE_BODY or head:
            self.write(answer(status, headers, body, keep_alive=keep_alive, head=head))
        else:  # no copy of it
            self.write(answer(status, headers, body, keep_alive=keep_alive, head=True))
            self.write(body)
        self.current = self.pending = None
        if self.stay is not None or self.proxied:
            self._leave()
        if not keep_alive:
            self._queue = None
            self.close()
        elif not self._handling:
            self._answered()

    def _answered(self) -> None:
        """An answer was given later than its handler returned: go on with what waits."""
        # If it is on the wheel that will do: it is seen there that a request was served meanwhile,
        # or, of a congested one, whether the client takes the answer.
        if not self.tick:
            self.app.wheel.set(self, self.app.limits.keepalive_timeout)
        self._go_on()

    def _go_on(self) -> None:
        """Handle what waits; then see to what could not be read, or not yet whole."""
        if (following := self._following()) is not None:
            self._handle(following)
        reader = self._reader
        if reader is None or not self._is_free() or self.transport.is_closing() or reader.held:
            return
        if reader.failure is not None:
            self._fail(reader.failure)
        elif reader.rest is not None:
            self.close()
        elif reader.state != IDLE:
            self._wait_for_rest(reader)

    def respond_whole(self, data: bytes) -> None:
        """Answer the current request, which keeps the connection alive, with ready-made bytes."""
        self.write(data)
        self.current = self.pending = None
        if self.proxied:
            self.app.doors.served(self)
        if not self._handling:
            self._answered()

    def respond_error(self, error: TidewireError) -> None:
        """Answer the current request with a problem document."""
        self.app.count_refusal(error)
        instance = refusals.tell(self, self.current, error)
        self.respond(*self.app.with_cors(self.current, problem(error, instance)))

    def turn_out(self, error: TidewireError, code: int = 4401, retry: int | None = None) -> None:
        """The client may stay no longer: end its stream, or answer its held poll with *error*.

        *retry*: in so many ms it may come back.
        """
        pending, self.pending = self.pending, None
        if self.stream is not None:
            refusals.tell(self, None, error)
            self.stream.end(code, error.detail, again=retry is not None, retry=retry)
        elif pending is not None:
            pending.lost()
            self.respond_error(error)

    def _leave(self) -> None:
        stay, self.stay = self.stay, None
        if stay is not None:
            stay.end()
        if self.proxied:
            self.app.doors.served(self)

    def hold(self, pending: Pending, seconds: float) -> None:
        """Keep the current request open; the wheel asks *pending* in *seconds*."""
        self.pending = pending
        self.app.wheel.set(self, seconds)

    def start_stream(
        self, stream: Stream, head: bytes, first: bytes, *, seconds: float, framed: bool = False
    ) -> bool:
        """Send *head* and *first*, and become *stream*, whose timer is first due in *seconds*.

        *framed*: all behind the head is WebSocket frames, each write whole ones.
        """
        self.stream = stream
        self._drop_reader()
        self._queue = self.current = self.pending = None
        self.app.wheel.set(self, seconds)
        self._framed = framed
        self._border = len(head)
        taken = self.write(head + first)
        self._border = 0
        return taken

    # Bytes out

    def write(self, data: bytes) -> bool:
        """Send *data* whole; ``False`` when the client takes no more for now."""
        try:
            sent = _os_write(self.fd, data)
        except OSError:
            sent = 0
        if sent == len(data):
            return True
        return self._write_rest(data, sent)

    def _write_rest(self, data: bytes, sent: int) -> bool:
        # The kernel took a part, or nothing, or the descriptor is hidden; a connection that has
        # failed ends in connection_lost, and what is written meanwhile is of no use to anyone.
        if not self.transport.is_closing():
            if self._backlog is not None:
                self._backlog.put(data)
                self._stalled_left += len(data)
                if self._backlog.behind > MOST_BEHIND:
                    self.stop_reading(CONGESTED)
            elif self._framed and len(data) - sent > PIECE and not self.congested:
                self._backlog = Backlog(data, sent, self._border)
                self._congest()
                self.app.wheel.set(self, 0)  # from now on it watches the client's progress too
                self._feed(1)
            else:
                self.transport.write(memoryview(data)[sent:] if sent else data)
        return not self.congested

    def interject(self, frame: bytes) -> None:
        """Send a control frame of a WebSocket, ahead of what waits."""
        if self._backlog is None:
            self.write(frame)
        else:
            before = self._backlog.size
            self._backlog.interject(frame)
            self._stalled_left += self._backlog.size - before

    def _feed(self, pieces: int = PIECES_A_TURN) -> None:
        """Give the transport what waits, as long as the kernel takes it, up to so many pieces."""
        backlog = self._backlog
        if backlog is None or self.transport.is_closing():
            return
        for _ in range(pieces):
            if not backlog or self._paused:
                break
            self.transport.write(backlog.take())
        if not self._paused:
            if backlog:
                self.app.loop.call_soon(self._feed)
            else:
                self._backlog = None
                self._ease()

    def _hand_over(self) -> None:
        """Leave all that waits to the transport: nothing will be written after it."""
        backlog, self._backlog = self._backlog, None
        if backlog is not None and not self.transport.is_closing():
            for piece in backlog.rest():
                self.transport.write(piece)

    def close(self) -> None:
        """Close once everything written has been sent."""
        self._hand_over()
        self.fd = -1
        self.transport.close()

    def end(self, code: int, reason: str, *, again: bool) -> None:
        """End the stream. See ``Stream.end``."""
        if self.stream is not None:
            self.stream.end(code, reason, again=again)

    def abort(self) -> None:
        """Close at once."""
        self.fd = -1
        self.transport.abort()

    def _fail(self, error: TidewireError) -> None:
        """Answer a request that could not be read, and close without losing the answer.

        A close with unread bytes in the kernel makes it send a reset, which can overtake the
        answer: so only this side is closed, and what still comes is thrown away for a while.
        """
        if self.current is not None or self._queue or self.transport.is_closing():
            return  # not yet: ``_go_on`` comes back to it
        self.app.count_refusal(error)
        refusals.tell(self, None, error)
        self.write(answer(*problem(error), keep_alive=False))
        self.linger()

    def linger(self) -> None:
        """Close this side now, the connection when the client has closed its own."""
        self._hand_over()
        self._framed = False
        self._drop_reader()
        self.stream = Lingering(self)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.app.wheel.set(self, LINGER_SECONDS)

    def drain(self) -> bool:
        """The server is going away. Whether a stream or a held poll is to be sent away for it."""
        self.draining = True
        if self.stream is not None or self.pending is not None:
            return True
        if self.current is None:
            self.close()
        else:
            self.current.keep_alive = False
        return False

    def send_away(self, retry: int) -> None:
        """End the stream, whose client is to come back in *retry* ms, or answer the held poll."""
        if self.stream is not None:
            self.stream.end(1012, "the server restarts", again=True, retry=retry)
        elif self.pending is not None:
            self.pending.drain()

    # Time

    def on_timer(self, now: float) -> None:
        if self.congested:
            self._check_stall(now)
            return
        waiting = self.stream or self.pending
        if waiting is not None:
            delay = waiting.on_timer(now)
            if delay > 0 and not self.transport.is_closing():
                self.app.wheel.set(self, delay)
        elif self.current is not None:
            return  # an answer is being made; it sets the next time
        elif self._reader is not None and self._reader.state != IDLE:
            part = "head" if self._reader.state == HEAD else "body"
            detail = f"the request's {part} took too long to come"
            self._fail(TimedOut(detail, refusal=f"slow_{part}"))
        elif self._served:
            self._served = False
            self.app.wheel.set(self, self.app.limits.keepalive_timeout)
        else:
            self.close()

    def _check_stall(self, now: float) -> None:
        delay = self.app.stall_timeout / 4
        left = self._unsent()
        if left < self._stalled_left:
            self._stalled_left = left
            self._stalled_since = now
        elif now - self._stalled_since >= self.app.stall_timeout:
            self.app.count_stalled()
            self.abort()
            return
        if self._backlog is not None and self.stream is not None:  # its control frames get through
            delay = min(delay, self.stream.on_timer(now) or delay)
        self.app.wheel.set(self, delay)  # closing or not: who takes nothing holds up the close too

    def _unsent(self) -> int:
        """Bytes that the client has not acknowledged yet, here and in the kernel."""
        left = self.transport.get_write_buffer_size() + in_kernel(self.socket_fd)
        return left if self._backlog is None else left + self._backlog.size
