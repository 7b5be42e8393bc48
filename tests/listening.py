"""Listening on a free port of the loopback interface, and ending that without a trace.

``asyncio.start_server`` alone leaves something behind. A connection that it accepted in the turn of
the loop before its server is closed gets no transport, and its socket is left to be collected
(https://github.com/python/cpython/issues/109564). And tasks that are cancelled before they have
begun cannot drop their connections. Either is a warning, and thereby an error in whichever test
happens to run then.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]

HOST = "127.0.0.1"

UNTIL_SERVED = 2
"""Turns of the loop from when a connection was accepted until its task is there."""


class Listener:
    """Has each connection served by a task, which may leave it to be closed in good order."""

    def __init__(self, serve: Serve, *, tls: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None

    async def open(self) -> None:
        """Accept connections; after ``shut`` on the same port."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse connections from now on; what is open stays open."""
        server, self._server = self._server, None
        if server is None:
            return
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening)
        for _ in range(UNTIL_SERVED):
            await asyncio.sleep(0)
        server.close()

    async def close(self) -> None:
        """Refuse connections, and drop those that are open."""
        await self.shut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._keep(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(partial(self._served, writer))

    async def _keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _served(self, writer: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        writer.transport.abort()
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "a connection was not served", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)
