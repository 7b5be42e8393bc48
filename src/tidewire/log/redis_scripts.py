"""The scripts: what is done in Redis itself, in one step.

They are loaded once for each connection and called by their hashes; a server that has forgotten
them (``SCRIPT FLUSH``) is handed the text again.
"""

from __future__ import annotations

import hashlib
from asyncio import Future
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from typing import Final

from tidewire.log.redis_connection import Argument, Connection, RedisError, Reply, settle


class Script:
    """One ``.lua`` file of this folder."""

    def __init__(self, name: str) -> None:
        self.text = (resources.files("tidewire.log") / f"redis_{name}.lua").read_bytes()
        # The name by which Redis knows it; nothing is kept secret by it.
        self.hash = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def send(
        self,
        connection: Connection,
        keys: Sequence[Argument],
        arguments: Sequence[Argument],
        answered: Callable[[Reply], None],
    ) -> None:
        """Run it; *answered* as for ``Connection.send``."""
        command = (self.hash, len(keys), *keys, *arguments)
        again = partial(self._answered, connection, command, answered)
        connection.send(("EVALSHA", *command), again)

    def _answered(
        self,
        connection: Connection,
        command: tuple[Argument, ...],
        answered: Callable[[Reply], None],
        reply: Reply,
    ) -> None:
        if isinstance(reply, RedisError) and reply.code == "NOSCRIPT":
            connection.send(("EVAL", self.text, *command[1:]), answered)
        else:
            answered(reply)

    def call(
        self, connection: Connection, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> Future[Reply]:
        """Run it; the future as that of ``Connection.call``."""
        future: Future[Reply] = connection.loop.create_future()
        self.send(connection, keys, arguments, partial(settle, future))
        return future


APPEND: Final = Script("append")
CHANGE: Final = Script("change")
COMMON: Final = Script("common")
JOIN: Final = Script("join")
LAST: Final = Script("last")
SEAM: Final = Script("seam")
SWEEP: Final = Script("sweep")

_ALL: Final = (APPEND, CHANGE, COMMON, JOIN, LAST, SEAM, SWEEP)


async def load_scripts(connection: Connection) -> None:
    """Make all scripts known to the server.

    Raises:
        Lost: if the connection ends first.
        RedisError: if the server refuses.
    """
    for reply in await connection.calls([("SCRIPT", "LOAD", script.text) for script in _ALL]):
        if isinstance(reply, RedisError):
            raise reply
