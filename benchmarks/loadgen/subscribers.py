"""Subscribers on the four transports, all of one stream booked in one ledger.

A subscriber costs as little as Python allows, so that the generator keeps up with a server that
does the same. A fan-out sends the same bytes to everyone. So a chunk that arrives between two
frames, and holds whole messages and nothing else, is read only the first time it is seen and then
found in the stream's memo (reading is pure, see `wire`). Who has received what is still booked one
by one.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from time import monotonic_ns
from typing import TYPE_CHECKING, Literal, TypeAlias, cast
from urllib.parse import quote, urlsplit

from benchmarks.loadgen import credentials, stamp, wire
from benchmarks.loadgen.latency import Latencies
from benchmarks.loadgen.ledger import Ledger

if TYPE_CHECKING:
    from benchmarks.loadgen.stamp import Stamp

Transport: TypeAlias = Literal["ws", "sse", "longpoll", "poll"]

MEMO_LIMIT = 256
_LAST_ID = re.compile(rb'"type":"message","id":"([^"]+)"')


class Stream:
    """One channel of one server on one transport, and what all its subscribers have in common."""

    def __init__(
        self,
        transport: Transport,
        url: str,
        channel: str,
        interval: float = 1.0,
        ack_every: int = 0,
        headers: str = "",
        secret: str = "",
        issue: str = "",
        key: str = "",
    ) -> None:
        address = urlsplit(url)
        if not address.hostname or not address.port:
            raise ValueError(f"no host and port in {url!r}")
        self.transport = transport
        self.host, self.port = address.hostname, address.port
        self.authority = address.netloc
        self.channel = channel
        self.headers = headers
        """Whole lines, added to each request."""
        self.secret = secret
        """With it each subscriber signs a token of its own; "": none has one."""
        self.issue = issue
        """Who comes again with tokens of the same issue has the same ones."""
        self.key = key
        """The key with which publishers show that they may."""
        self.interval = interval
        """Seconds between a short poller's requests."""
        self.ack_every = ack_every
        """Subscribers are consumers that acknowledge every so-manieth message; 0: they are none."""
        self.consumers = itertools.count()
        self.users = itertools.count()
        self.ledger = Ledger()
        self.latencies = Latencies()
        self.sample: bytes | None = None
        """The bytes of the newest chunk that held one message and nothing else."""
        self.unanswered = 0
        """Publishes whose answer has not come yet."""
        self.closing = False
        self.arrived = asyncio.Event()
        self.memo: dict[bytes, tuple[Stamp, ...]] = {}
        """What is in chunks that hold whole messages and nothing else."""
        self._acks: dict[bytes, bytes] = {}
        self._goal = 0
        self._scan = wire.scan_websocket if transport == "ws" else wire.scan_sse

    def subscriber(self) -> Subscriber:
        """A protocol for one more connection."""
        kind = StreamSubscriber if self.transport in ("ws", "sse") else PollSubscriber
        return kind(self)

    def credentials(self) -> str:
        """The header lines that one subscriber shows."""
        if not self.secret:
            return self.headers
        token = credentials.token(self.secret, next(self.users), self.channel, self.issue)
        return f"{self.headers}Authorization: Bearer {token}\r\n"

    def scan(self, raw: bytes, text: bytes, chunk: bytes) -> wire.Scan:
        """Reads a chunk from the given state."""
        scan = self._scan(raw, text, chunk)
        if not (raw or text or scan.others or scan.raw or scan.text):
            if len(self.memo) >= MEMO_LIMIT:
                self.memo.clear()
            self.memo[chunk] = scan.stamps
            if len(scan.stamps) == 1:
                self.sample = chunk
        return scan

    def ack(self, chunk: bytes) -> bytes:
        """The frame that acknowledges the last message of a chunk: the same for everyone."""
        frame = self._acks.get(chunk)
        if frame is None:
            if len(self._acks) >= MEMO_LIMIT:
                self._acks.clear()
            found = _LAST_ID.findall(chunk)
            command = b'{"type":"ack","id":"%b"}' % found[-1] if found else b""
            frame = self._acks[chunk] = wire.frame(command) if found else b""
        return frame

    def expect(self, messages: int) -> None:
        """From now on `arrived` is set once that many more messages are received and all is
        answered.
        """
        self._goal = self.ledger.received + messages
        self.arrived.clear()

    def check(self) -> None:
        """To be called whenever something arrived."""
        if self.ledger.received >= self._goal and not self.unanswered:
            self.arrived.set()


class Subscriber(asyncio.Protocol):
    """One connection. `ready` is done once the server has said where its subscription starts."""

    __slots__ = ("_account", "_record", "_stream", "_transport", "ready")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._account = stream.ledger.join()
        self._record = stream.latencies.add
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.begin(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        stream = self._stream
        if not stream.closing:
            stream.ledger.closed += 1
            self.fail(f"the connection ended: {exc or 'closed by the server'}")
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self.receive(data, monotonic_ns())

    def begin(self, transport: asyncio.Transport) -> None:
        """Sends the first request."""
        raise NotImplementedError

    def receive(self, data: bytes, now: int) -> None:
        """Takes bytes that arrived at `now`, in ns of the monotonic clock."""
        raise NotImplementedError

    def succeed(self) -> None:
        """The subscription stands."""
        if self.ready is not None and not self.ready.done():
            self.ready.set_result(None)
        self.ready = None

    def fail(self, why: str) -> None:
        """Books a fault and ends the connection."""
        self._stream.ledger.fault(why)
        if self.ready is not None and not self.ready.done():
            self.ready.set_exception(ConnectionError(why))
        self.close()

    def close(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def enter(self, stamps: tuple[Stamp, ...], now: int) -> None:
        """Books messages that arrived at `now`."""
        book, record = self._account.enter, self._record
        for number, sent in stamps:
            book(number)
            record(now - sent)
        self._stream.check()


class StreamSubscriber(Subscriber):
    """WebSocket or SSE: one request, then a stream."""

    __slots__ = ("_between", "_head", "_memo", "_raw", "_text", "_unacked")

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._head: bytes | None = b""  # bytes of the answer's head so far; None once it is read
        self._raw = self._text = b""
        self._memo = stream.memo
        self._unacked = 0
        self._between = False  # whether the next byte starts a frame: nothing is left over

    def begin(self, transport: asyncio.Transport) -> None:
        stream = self._stream
        target = f"/{stream.transport}?channels={quote(stream.channel, safe='')}"
        if stream.ack_every:
            target += f"&consumer=bench-{next(stream.consumers)}"
        headers = wire.UPGRADE if stream.transport == "ws" else wire.EVENT_STREAM
        transport.write(wire.get(stream.authority, target, headers + stream.credentials()))

    def receive(self, data: bytes, now: int) -> None:
        if self._between and (stamps := self._memo.get(data)) is not None:
            self.enter(stamps, now)
            if self._stream.ack_every:
                self._acknowledge(data, len(stamps))
        else:
            self._read_on(data, now)

    def _read_on(self, data: bytes, now: int) -> None:
        try:
            if self._head is not None:
                data = self._read_head(self._head + data)
                if not data:
                    return
            scan = self._stream.scan(self._raw, self._text, data)
        except (wire.WireError, ValueError) as error:
            self.fail(str(error))
            return
        self._raw, self._text = scan.raw, scan.text
        self._between = not (scan.raw or scan.text)
        if scan.stamps:
            self.enter(scan.stamps, now)
            if self._stream.ack_every:
                self._acknowledge(data, len(scan.stamps))
        for kind, content in scan.others:
            self._other(kind, content)

    def _acknowledge(self, data: bytes, messages: int) -> None:
        self._unacked += messages
        if self._unacked >= self._stream.ack_every and (frame := self._stream.ack(data)):
            self._unacked = 0
            if self._transport is not None:
                self._transport.write(frame)

    def _read_head(self, data: bytes) -> bytes:
        """Reads the answer's head; returns what follows it."""
        found = wire.read_answer(data)
        if found is None:
            self._head = data
            return b""
        self._head = None
        answer, end = found
        wanted = 101 if self._stream.transport == "ws" else 200
        if answer.status != wanted:
            raise wire.WireError(f"status {answer.status}: {data[end : end + 200]!r}")
        if wanted == 200 and answer.headers.get("transfer-encoding", "").lower() != "chunked":
            raise wire.WireError("an event stream that is not chunked")
        return data[end:]

    def _other(self, kind: wire.Kind, content: bytes) -> None:
        if kind == "envelope":
            if b'"type":"ready"' in content:
                self.succeed()
            elif b'"type":"gap"' in content:
                self._stream.ledger.gaps += 1
            elif b'"type":"error"' in content:
                self._stream.ledger.fault(f"a command was refused: {content[:200]!r}")
            elif b'"type":"close"' in content:
                self.fail(f"the server closed the stream: {content[:200]!r}")
        elif kind == "ping":
            if self._transport is not None:
                self._transport.write(wire.frame(content, wire.PONG))
        else:
            self.fail(f"the stream ended: {content[:200]!r}")


class PollSubscriber(Subscriber):
    """Long or short polling on one keep-alive connection, starting with a short poll that gives the
    cursor.
    """

    __slots__ = ("_cursor", "_data", "_etag", "_timer")

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._data = b""
        self._cursor = ""
        self._etag = ""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        self._ask("poll")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def receive(self, data: bytes, now: int) -> None:
        self._data += data
        try:
            found = wire.read_answer(self._data)
            if found is None:
                return
            answer, start = found
            end = start + answer.length
            if len(self._data) < end:
                return
            body, self._data = self._data[start:end], self._data[end:]
            self._read(answer, body, now)
        except (wire.WireError, ValueError) as error:
            self.fail(str(error))
            return
        self.succeed()
        if self._stream.transport == "longpoll":
            self._ask("longpoll")
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._stream.interval, self._ask, "poll")

    def _read(self, answer: wire.Answer, body: bytes, now: int) -> None:
        if answer.status == 204:
            self._cursor = answer.headers["tidewire-cursor"]
        elif answer.status == 200:
            scan: list[Stamp] = []
            at = stamp.find(body)
            while at >= 0:
                scan.append(stamp.read(body, at))
                at = stamp.find(body, at + stamp.WIDTH)
            self._cursor = _cursor(body)
            self._etag = answer.headers.get("etag", "")
            if b'"gaps":[]' not in body:
                self._stream.ledger.gaps += 1
            self.enter(tuple(scan), now)
        elif answer.status != 304:
            raise wire.WireError(f"status {answer.status}: {body[:200]!r}")

    def _ask(self, kind: str) -> None:
        if self._transport is None:
            return
        stream = self._stream
        target = f"/{kind}?channels={quote(stream.channel, safe='')}"
        headers = stream.headers
        if self._cursor:
            target += f"&cursor={quote(self._cursor, safe='')}"
            if kind == "longpoll":
                target += "&wait=30"
            elif self._etag:
                headers += f"If-None-Match: {self._etag}\r\n"
        self._transport.write(wire.get(stream.authority, target, headers))


def _cursor(body: bytes) -> str:
    """The cursor of a poll's answer."""
    at = body.rfind(b'"cursor":"')
    if at < 0:
        raise wire.WireError(f"no cursor in {body[:200]!r}")
    start = at + len(b'"cursor":"')
    return body[start : body.index(b'"', start)].decode()
