"""The log in a SQLite file: durable, embedded, and shared by the processes of one machine.

What is written is committed in groups: what arrives while one transaction is on its way to the disk
shares the next. It is answered after its commit, so a ``kill -9`` at any moment loses nothing
that was answered. A second thread or two read, beside the writer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from tidewire.log.engine import Broken, Change, Feed
from tidewire.log.sqlite_following import Following
from tidewire.log.sqlite_reader import Reader
from tidewire.log.sqlite_writer import Committed, Work, Writer
from tidewire.log.worker import Worker
from tidewire.model import Draft, EngineUnavailable, Namespaces, Page, Receipt, Since

logger = logging.getLogger("tidewire.log")

READERS = 2
PATIENCE = 3  # turns of the loop
GATHER_SECONDS = 0.001
GROUP = 2_000  # drafts and changes of one transaction
PRUNE_SECONDS = 1.0


class _Waiting(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Work for the next transaction, how much it is, and who waits for its answer."""

    work: Work
    weight: int
    future: Future[Any]


class SqliteEngine:
    """One file; see ``sqlite_file`` for what is in it."""

    def __init__(
        self,
        path: str,
        namespaces: Namespaces,
        *,
        idempotency_window: float = 120,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.epoch = ""
        self._path = path
        self.namespaces = namespaces
        self.drops: Counter[str] = Counter()
        self.wanted: Container[str] | None = None
        self._key_window = idempotency_window
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._committing = False
        self._closing = False
        self._idle: Future[None] | None = None  # waits for the last commit
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}

    async def open(self, feed: Feed, broken: Broken | None = None) -> int:
        self._loop = asyncio.get_running_loop()
        self._feed = feed
        self._writing = Worker("tidewire-log-writer", self._loop)
        try:
            self._writer = await self._writing.submit(
                lambda: Writer(
                    self._path,
                    self.namespaces,
                    idempotency_window=self._key_window,
                    clock=self._clock,
                )
            )
        except EngineUnavailable:
            self._writing.stop()
            raise
        self.epoch = self._writer.epoch
        self._reading = [
            (
                Worker(f"tidewire-log-reader-{number}", self._loop),
                Reader(self._path, self.epoch, self.namespaces, self._clock),
            )
            for number in range(READERS)
        ]
        self._turn = 0
        self._following = Following(
            self._path,
            self._loop,
            self._writing,
            self._writer,
            lambda: self._committing,
            feed,
        )
        self._again(PRUNE_SECONDS, self._prune)
        return self._writer.seen

    async def close(self) -> None:
        self._closing = True
        for timer in self._timers.values():
            timer.cancel()
        if self._committing:
            self._idle = self._loop.create_future()
            await self._idle
        self._following.close()
        self._writing.stop()
        self._writer.close()
        for worker, reader in self._reading:
            worker.stop()
            reader.close()

    # Writing

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        return self._write(lambda group: group.append(drafts), len(drafts))

    def purge(self, channel: str, *, forget: bool) -> Future[Receipt]:
        return self._write(lambda group: group.purge(channel, forget=forget))

    def change(self, table: str, key: str, change: Change, ttl: float) -> Future[bytes | None]:
        return self._write(lambda group: group.change(table, key, change, ttl))

    def _write(self, work: Work, weight: int = 1) -> Future[Any]:
        future: Future[Any] = self._loop.create_future()
        self._waiting.append(_Waiting(work, weight, future))
        if not self._committing:
            self._committing = True
            self._start_gathering()
        return future

    def _start_gathering(self) -> None:
        until = self._loop.time() + GATHER_SECONDS
        self._loop.call_soon(self._gather, len(self._waiting), PATIENCE, until)

    def _gather(self, before: int, patience: int, until: float) -> None:
        """Commit once the loop has brought nothing further for some turns.

        A transaction costs as much as dozens of messages in it: to wait a few turns (some 10 µs
        each when nothing happens) for what the last answers set off saves a quarter of the time.
        Turns that are long, because they hand out a large round, are not waited for.
        """
        now = len(self._waiting)
        if not patience or now >= GROUP or self._loop.time() >= until:
            self._commit()
        elif now > before:
            self._loop.call_soon(self._gather, now, PATIENCE, until)
        else:
            self._loop.call_soon(self._gather, now, patience - 1, until)

    def _commit(self) -> None:
        count = weight = 0
        for waiting in self._waiting:
            weight += waiting.weight
            if count and weight > GROUP:
                break
            count += 1
        group = self._waiting[:count]
        del self._waiting[:count]
        works = [waiting.work for waiting in group]
        commit = self._writing.submit(partial(self._writer.commit, works))
        commit.add_done_callback(partial(self._committed, group))

    def _committed(self, group: list[_Waiting], commit: Future[Committed]) -> None:
        if self._waiting:
            self._start_gathering()
        else:
            self._committing = False
            self._following.idle()
            if self._idle is not None:
                self._idle.set_result(None)
        error = commit.exception()
        if error is not None:
            for waiting in group:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            return
        answers, messages, before = commit.result()
        if messages:
            self._following.committed(messages, before)
        for waiting, answer in zip(group, answers, strict=True):
            if waiting.future.done():
                continue
            if isinstance(answer, Exception):
                waiting.future.set_exception(answer)
            else:
                waiting.future.set_result(answer)

    # Reading

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        worker, reader = self._next_reader()
        return await worker.submit(partial(reader.page, dict(after), upto, limit, max_bytes))

    async def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        worker, reader = self._next_reader()
        return await worker.submit(partial(reader.starts, tuple(channels), since))

    async def newest(self, channels: Iterable[str], upto: int) -> dict[str, tuple[int, int]]:
        worker, reader = self._next_reader()
        return await worker.submit(partial(reader.newest, tuple(channels), upto))

    async def head(self) -> int:
        worker, reader = self._next_reader()
        return await worker.submit(reader.head)

    def _next_reader(self) -> tuple[Worker, Reader]:
        self._turn = (self._turn + 1) % READERS
        return self._reading[self._turn]

    async def get(self, table: str, key: str) -> bytes | None:
        worker, reader = self._next_reader()
        return await worker.submit(partial(reader.get, table, key))

    async def scan(
        self, table: str, prefix: str, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        worker, reader = self._next_reader()
        return await worker.submit(partial(reader.scan, table, prefix, after, limit))

    # In the background

    def _again(self, seconds: float, callback: Callable[[], None]) -> None:
        if not self._closing:
            self._timers[callback] = self._loop.call_later(seconds, callback)

    def _prune(self) -> None:
        self._writing.submit(self._writer.prune).add_done_callback(self._pruned)

    def _pruned(self, pruned: Future[bool]) -> None:
        error = pruned.exception()
        if error is not None:
            logger.warning("%s", error)
        # While more is left it goes on at once, in turns with the appends, and so keeps up.
        more = error is None and pruned.result()
        self._again(0 if more else PRUNE_SECONDS, self._prune)
