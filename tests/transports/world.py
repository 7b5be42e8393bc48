"""A hub on a log in memory, without sockets and without time: each test moves the loop itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tidewire.hub import Hub, SessionRecords
from tidewire.log import MemoryEngine
from tidewire.model import Draft, Message, Namespaces, Receipt, Retention, TidewireError

if TYPE_CHECKING:
    from collections.abc import Container, Coroutine, Generator, Iterable, Mapping, Sequence

    from tidewire.hub import Opening
    from tidewire.model import Page, Since, Subscription

Result = TypeVar("Result")

EPOCH = "epoch1"
FIRST_ID = 1_000_000
FOREVER_US = 1000 * 365 * 86_400 * 1_000_000


def message(
    data: bytes = b"1",
    *,
    id: int = FIRST_ID,
    seq: int = 1,
    event: str | None = None,
    headers: bytes | None = None,
    binary: bool = False,
) -> Message:
    """A message as a log would hand it out."""
    return Message(EPOCH, id, "news", seq, id // 1000, data, event, headers, binary)


class SlowEngine:
    """A log in memory whose answers wait while ``holds`` is set, each for its own release.

    What is appended is in the log at once; only the answer waits.
    """

    def __init__(self, log: MemoryEngine) -> None:
        self._log = log
        self.epoch = log.epoch
        self.drops = log.drops
        self.namespaces = log.namespaces
        self.wanted: Container[str] | None = None
        self.open = log.open
        self.close = log.close
        self.newest = log.newest
        self.purge = log.purge
        self.change = log.change
        self.get = log.get
        self.scan = log.scan
        self.ahead = 0  # by how much another process has moved the log's head on, unseen yet
        self.holds = False
        self.held: list[asyncio.Future[None]] = []
        self.appends: list[tuple[asyncio.Future[list[Receipt]], list[Receipt]]] = []

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        done = self._log.append(drafts)
        if not self.holds:
            return done
        future: asyncio.Future[list[Receipt]] = done.get_loop().create_future()
        self.appends.append((future, done.result()))
        return future

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        await self._wait()
        return await self._log.read(after, upto, limit, max_bytes)

    async def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        await self._wait()
        return await self._log.starts(channels, since)

    async def head(self) -> int:
        return await self._log.head() + self.ahead

    async def _wait(self) -> None:
        if self.holds:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.held.append(gate)
            await gate

    def release(self, error: Exception | None = None) -> None:
        """Let the oldest read or start go on, or fail."""
        gate = self.held.pop(0)
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)

    def confirm(self, error: Exception | None = None) -> None:
        """Answer the oldest append."""
        future, receipts = self.appends.pop(0)
        if error is None:
            future.set_result(receipts)
        else:
            future.set_exception(error)


class World:
    """One hub. *size* bounds the messages that the log keeps of each channel.

    The clock of the log stands still at ``now``: the first id is ``FIRST_ID``, and each one after
    it is the next number.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, size: int = 10_000) -> None:
        self.loop = loop
        self.trouble: list[object] = []
        loop.set_exception_handler(lambda _, context: self.trouble.append(context))
        loop.set_task_factory(self._task)
        self.now = FIRST_ID / 1_000_000
        self.log = MemoryEngine(
            Namespaces(Retention(size, FOREVER_US)), clock=lambda: self.now, idempotency_window=60
        )
        self.log.epoch = EPOCH
        self.engine = SlowEngine(self.log)
        self.hub = Hub(self.engine)
        self.sessions = SessionRecords(self.engine, 300, lambda: self.now)
        self.do(self.hub.start())

    def _task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Result] | Generator[Any, None, Result],
    ) -> asyncio.Task[Result]:
        """A task whose failure is noted, unless it is one that clients are told."""
        task = asyncio.Task(work, loop=loop)

        def look(done: asyncio.Task[Result]) -> None:
            if not done.cancelled() and not isinstance(done.exception(), TidewireError | None):
                self.trouble.append(done.exception())

        task.add_done_callback(look)
        return task

    def do(self, work: Coroutine[object, object, Result]) -> Result:
        """Run *work* to its end."""
        return self.loop.run_until_complete(work)

    def turn(self, count: int = 20) -> None:
        """Let the loop run what is ready, *count* times: enough for all here to come to rest."""
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def publish(
        self, channel: str = "news", data: bytes = b"1", *, event: str | None = None
    ) -> int:
        """Publish a message and hand it out; return its id."""
        id = self.log.append([Draft(channel, data, event)]).result()[0].id
        self.turn()
        return id

    def forget(self) -> None:
        """Make the hub's memory forget its messages, so that the engine is asked."""
        self.hub.recent = type(self.hub.recent)(self.hub.position, self.log.namespaces)

    def open(self, wanted: Subscription) -> Opening:
        """The opening of *wanted*."""
        return self.do(self.hub.open(wanted, self.hub.position))

    def end(self) -> None:
        """Stop the hub; nothing may have failed unseen."""
        for gate in self.engine.held:
            gate.cancel()
        self.do(self.hub.stop())
        assert not self.trouble


class FakeWire:
    """A connection that writes down what is done to it. While ``takes`` is false it is full."""

    def __init__(self) -> None:
        self.congested = False
        self.takes = True
        self.written: list[bytes] = []
        self.done: list[str] = []
        self.reading = True

    def write(self, data: bytes) -> bool:
        assert data, "an empty write"
        assert not self.done, f"written to after {self.done}"
        self.written.append(data)
        return self.takes

    def interject(self, frame: bytes) -> None:
        self.write(frame)

    def take(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self.written)
        self.written.clear()
        return data

    def stop_reading(self, reason: int) -> None:
        assert reason
        self.reading = False

    def read_on(self, reason: int) -> None:
        assert reason
        self.reading = True

    def end(self, code: int, reason: str, *, again: bool) -> None:
        self.done.append(f"end {code} {reason}")

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def linger(self) -> None:
        self.done.append("linger")


class Response(NamedTuple):
    """An answer that was given."""

    status: int
    headers: bytes
    body: bytes


class FakeResponder:
    """A request that waits for its one answer."""

    def __init__(self) -> None:
        self.answer: Response | None = None
        self.refusal: TidewireError | None = None

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        assert self.answer is None, "answered twice"
        self.answer = Response(status, headers, body)

    def respond_error(self, error: TidewireError) -> None:
        assert self.answer is None, "answered twice"
        self.refusal = error
