"""Finds the one server that takes what is written: said by the URL, by a Sentinel, or by a cluster.

It is asked anew for each connection, so a failover needs nothing more than to connect again.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from tidewire.log.redis_address import RedisAddress
from tidewire.log.redis_connection import (
    Argument,
    Connection,
    Lost,
    RedisError,
    Reply,
    connect,
    greet,
)
from tidewire.model import EngineUnavailable

ASK_SECONDS: Final = 1.5
_SLOTS: Final = 16_384

_Place = tuple[str, int]
_Ask = Callable[[_Place], Coroutine[Any, Any, _Place]]


class Server(NamedTuple):
    """What a server says of itself."""

    name: str
    run_id: str
    version: tuple[int, int]
    is_master: bool
    policy: str  # what it does when its memory is full; "" if there is no bound


class Directory:
    """Knows how to reach the server that has the log of *address*."""

    def __init__(self, address: RedisAddress, client: str) -> None:
        self._address = address
        self._client = client
        self._tls = _context(address) if address.tls else None
        self._seeds = list(address.hosts)
        random.shuffle(self._seeds)

    @property
    def shards(self) -> bool:
        """Whether messages are published to the servers of one slot only."""
        return self._address.kind == "cluster"

    async def find(self) -> _Place:
        """Host and port of the server that takes what is written now.

        Raises:
            EngineUnavailable: if nobody can tell.
        """
        address = self._address
        if address.kind == "sentinel":
            return await self._ask_seeds(self._ask_sentinel)
        if address.kind == "cluster":
            return await self._ask_seeds(self._ask_cluster)
        return address.hosts[0] if address.hosts else ("", 0)

    async def connect(self, place: _Place, connection: Connection) -> Server:
        """Connect to the server at *place*, and let it say what it is.

        Raises:
            EngineUnavailable: if that fails.
        """
        address = self._address
        await connect(connection, *place, path=address.path, tls=self._tls)
        await greet(
            connection,
            user=address.user,
            password=address.password,
            database=address.database,
            client=self._client,
        )
        info: dict[str, str] = {}
        for section in ("server", "memory", "replication"):
            text = await ask(connection, "INFO", section)
            lines = text.decode("utf-8", "replace").splitlines()
            info |= dict(line.split(":", 1) for line in lines if ":" in line)
        major, minor, *_ = (*info.get("redis_version", "0.0").split("."), "0")
        bounded = info.get("maxmemory", "0") != "0"
        return Server(
            connection.name,
            info.get("run_id", ""),
            (int(major), int(minor)),
            info.get("role", "master") == "master",
            info.get("maxmemory_policy", "") if bounded else "",
        )

    async def _ask_seeds(self, ask: _Ask) -> _Place:
        """What the first of the known servers that can be asked says; it is the first next time."""
        troubles: list[str] = []
        for seed in list(self._seeds):
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    place = await ask(seed)
            except TimeoutError:
                troubles.append(f"{name_of(seed)} does not answer")
            except EngineUnavailable as error:
                troubles.append(error.detail)
            else:
                self._seeds.remove(seed)
                self._seeds.insert(0, seed)
                return place
        raise EngineUnavailable("; ".join(troubles))

    async def _ask_sentinel(self, seed: _Place) -> _Place:
        address = self._address
        connection = Connection(f"Sentinel {name_of(seed)}")
        try:
            await connect(connection, *seed, tls=self._tls)
            if address.sentinel_password:
                await ask(
                    connection,
                    "AUTH",
                    *([address.sentinel_user] if address.sentinel_user else []),
                    address.sentinel_password,
                )
            found = await ask(connection, "SENTINEL", "get-master-addr-by-name", address.master)
        finally:
            connection.close()
        if not found:
            raise EngineUnavailable(
                f"Sentinel {name_of(seed)} watches nothing that is called {address.master}"
            )
        return found[0].decode(), int(found[1])

    async def _ask_cluster(self, seed: _Place) -> _Place:
        slot = slot_of(self._address.prefix)
        connection = Connection(name_of(seed))
        try:
            await connect(connection, *seed, tls=self._tls)
            await greet(
                connection,
                user=self._address.user,
                password=self._address.password,
                database=0,
                client=self._client,
            )
            state = await ask(connection, "CLUSTER", "INFO")
            if b"cluster_state:ok" not in state:
                raise EngineUnavailable(f"the cluster of {name_of(seed)} is down")
            for first, last, master, *_ in await ask(connection, "CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    host = master[0].decode() if master[0] else seed[0]
                    return host, master[1]
        finally:
            connection.close()
        raise EngineUnavailable(f"no server of the cluster has slot {slot}")


def name_of(place: _Place) -> str:
    """A server as it is called in texts."""
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def ask(connection: Connection, *command: Argument) -> Reply:
    """The answer to *command*.

    Raises:
        EngineUnavailable: if there is none.
    """
    try:
        return await connection.call(*command)
    except (RedisError, Lost) as error:
        raise EngineUnavailable(f"Redis at {connection.name}: {error}") from error


def slot_of(tag: str) -> int:
    """The slot of a cluster that keys with the hash tag *tag* are in: CRC16 (XMODEM)."""
    crc = 0
    for byte in tag.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc % _SLOTS


def _context(address: RedisAddress) -> ssl.SSLContext:
    """How to encrypt.

    Raises:
        EngineUnavailable: if one of the files cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=address.ca or None)
        if address.certificate:
            context.load_cert_chain(address.certificate, address.key)
    except (OSError, ssl.SSLError) as error:
        raise EngineUnavailable(f"the files that {address} names cannot be used: {error}") from None
    return context
