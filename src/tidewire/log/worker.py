"""A thread for blocking work, with answers on the event loop.

Lighter than an executor: one queue, one wake-up of the loop for each answer, no lock held while
the work runs.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import Future
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from tidewire.model import EngineUnavailable

T = TypeVar("T")


class Worker:
    """Runs what it is given, one after the other, on a thread of its own."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run *job* on the thread; the future gets its result or its exception.

        After ``stop`` it gets ``EngineUnavailable``.
        """
        future: Future[T] = self._loop.create_future()
        if self._stopped:
            future.set_exception(EngineUnavailable("the log is closed"))
        else:
            self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """Finish what was given, and wait for the thread to end."""
        self._stopped = True
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                result = job()
            except BaseException as error:  # whatever it is, the loop must learn of it
                self._answer(future.set_exception, error, future)
            else:
                self._answer(future.set_result, result, future)

    def _answer(self, settle: Callable[[Any], None], value: object, future: Future[Any]) -> None:
        def deliver() -> None:
            if not future.cancelled():
                settle(value)

        try:
            self._loop.call_soon_threadsafe(deliver)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
