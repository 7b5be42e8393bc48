"""Logs on a Redis server for the tests of the engine, nodes that write down what they are told, and
a way to them that can be cut.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Self

from tests.acceptance.waiting import until
from tests.redis_server import RedisServer
from tests.tcp_proxy import Peer, TcpProxy
from tidewire.log.redis import RedisEngine
from tidewire.log.redis_address import RedisAddress, parse_address
from tidewire.model import EngineUnavailable, Namespaces, Page, Receipt, Retention

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.log.harness import Clock
    from tests.tcp_proxy import Write
    from tidewire.log import Engine
    from tidewire.model import Draft, Message

NAMESPACES = Namespaces(Retention(1_000_000, 86_400_000_000))
WITHIN = 60.0
"""Seconds for what must happen; far above the usual ones.

Sentinels that stood still for two seconds trust nothing that they see for half a minute.
"""

_numbers = itertools.count()


class RedisStorage:
    """One log on *server*, which has a prefix of its own there."""

    def __init__(self, server: RedisServer, **options: object) -> None:
        self.server = server
        self.prefix = f"log-{next(_numbers)}"
        self.url = server.engine(prefix=self.prefix, **options)

    @property
    def address(self) -> RedisAddress:
        """The URL, taken apart."""
        return parse_address(self.url)

    def engine(
        self, namespaces: Namespaces, *, idempotency_window: float, clock: Callable[[], float]
    ) -> Engine:
        """An engine on the log."""
        return RedisEngine(
            self.address, namespaces, idempotency_window=idempotency_window, clock=clock
        )

    async def clean(self, engine: Engine, clock: Clock) -> None:
        """Remove at once what is over."""
        assert isinstance(engine, RedisEngine)
        while await engine.sweep():
            pass

    def key(self, name: str) -> str:
        """A key of the log."""
        return f"{{{self.prefix}}}:{name}"

    def ask(self, command: str, name: str, *arguments: object) -> Any:
        """Ask Redis something about one of the log's keys."""
        return self.server.ask(command, self.key(name), *arguments)


class Node:
    """An open engine, and all that it has told."""

    def __init__(self, url: str) -> None:
        self.engine = RedisEngine(parse_address(url), NAMESPACES)
        self.fed: list[Message] = []
        self.breaks: list[tuple[int, int]] = []

    async def __aenter__(self) -> Self:
        self.head_at_open = await self.engine.open(self.fed.extend, self._broken)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.close()

    def _broken(self, after: int, upto: int) -> None:
        self.breaks.append((after, upto))

    @property
    def data(self) -> list[bytes]:
        """The data of the messages that it was fed."""
        return [message.data for message in self.fed]

    async def append(self, *drafts: Draft) -> list[Receipt]:
        """Append."""
        return await self.engine.append(drafts)

    async def append_when_back(self, *drafts: Draft) -> list[Receipt]:
        """Append as soon as the engine takes anything again; nothing of it was sent before that."""
        async with asyncio.timeout(WITHIN):
            while True:
                try:
                    await self.engine.head()
                    return await self.engine.append(drafts)
                except EngineUnavailable:
                    await asyncio.sleep(0.01)

    async def read(self, after: int, channel: str = "a") -> Page:
        """All of a channel after an id."""
        return await self.engine.read({channel: after}, await self.engine.head(), 1000, 1 << 20)

    async def until_fed(self, id: int) -> None:
        """Wait until it was fed the message *id*."""
        await until(lambda: self.fed and self.fed[-1].id == id, within=WITHIN)

    async def until_broken(self) -> None:
        """Wait until it was told of a break."""
        await until(lambda: self.breaks, within=WITHIN)

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until ``holds()`` is true."""
        await until(holds, within=WITHIN)


class Way(TcpProxy):
    """The way to a server, which can be led to another, and cut.

    ``lost`` are the bytes from the server that were not handed on any more after ``cut_behind``.
    """

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server.address)
        self.open = True
        self.cut_behind = b""
        self.lost = b""
        self._peers: set[Peer] = set()

    def engine(self, **options: object) -> str:
        """What ``--engine`` takes for a log behind it."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"redis://127.0.0.1:{self.port}?{query}"

    def cut(self) -> None:
        """End all connections, and let no other begin."""
        self.open = False
        for peer in list(self._peers):
            peer.reset()

    async def serve(self, client: Peer, server: Peer) -> None:
        if not self.open:
            return
        self._peers |= {client, server}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(client.pass_to(server, self._to_server))
                group.create_task(server.pass_to(client, self._to_client))
        except* OSError:
            pass
        finally:
            self._peers -= {client, server}

    async def _to_server(self, data: bytes, write: Write) -> None:
        await write(data)
        if self.cut_behind and self.cut_behind in data:
            self.cut_behind = b""
            self.open = False

    async def _to_client(self, data: bytes, write: Write) -> None:
        if self.open:
            await write(data)
        else:
            self.lost += data
