"""Ways and publishers at work in a thread, while the test waits for its browser."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tests.faults.proxy import Fault
from tests.javascript.publishing import Publisher
from tests.javascript.ways import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.server_process import ServerProcess

WITHIN = 30.0
"""Seconds for one thing to be done."""


class Background:
    """An event loop of its own; ``close`` ends all that was begun in it."""

    def __init__(self) -> None:
        # It cancels what is still at work in the end, and waits for that.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._over.wait())

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function, or await a coroutine function, in the loop."""

        async def call() -> Any:
            result = function(*arguments)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(WITHIN)

    def way(self, server: ServerProcess, kind: type[Fault] = Fault, *, armed: bool = False) -> Way:
        """A new way to the server, well at first unless it is ``armed``."""
        way = Way(server.address, kind, seed="one way")
        self.do(self._stack.enter_async_context, way)
        if armed:
            self.do(way.arm)
        return way

    @contextmanager
    def publishing(self, publisher: Publisher) -> Iterator[None]:
        """Publish all the time; a last message when it is over."""
        task = asyncio.run_coroutine_threadsafe(publisher.keep_on(), self._loop)
        try:
            yield
        finally:
            self.do(publisher.enough)
            task.result(WITHIN)
        self.do(publisher.publish, 1)

    def close(self) -> None:
        """End everything."""
        try:
            self.do(self._stack.aclose)
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(WITHIN)
        assert not self._thread.is_alive()
