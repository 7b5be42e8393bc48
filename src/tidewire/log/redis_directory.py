"""Finds the one server that takes what is written: said by the URL, by a Sentinel, or by a cluster.

It is asked anew for each connection, so a failover needs nothing more than to connect again.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any, Final, NamedTuple

from redis.asyncio import Connection as PlainConnection
from redis.asyncio import Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError as LibraryError

from tidewire.log.redis_address import RedisAddress
from tidewire.log.redis_connection import (
    CONNECT_SECONDS,
    Argument,
    Connection,
    Lost,
    RedisError,
    Reply,
)
from tidewire.model import EngineUnavailable

ASK_SECONDS: Final = 1.5

_Place = tuple[str, int]


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
        self._seeds = list(address.hosts)
        random.shuffle(self._seeds)
        # Who waits, and how long, before another attempt is the link's to say.
        self._options: dict[str, Any] = {
            "socket_connect_timeout": CONNECT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        } | _encryption(address)
        self._credentials = {
            "username": address.user or None,
            "password": address.password or None,
            "client_name": client,
        }

    @property
    def shards(self) -> bool:
        """Whether messages are published to the servers of one slot only."""
        return self._address.kind == "cluster"

    async def find(self) -> _Place:
        """Host and port of the server that takes what is written now.

        Raises:
            EngineUnavailable: if nobody can tell, or a file for encrypting is not there.
        """
        address = self._address
        for file in (address.ca, address.certificate, address.key):
            if file and not os.access(file, os.R_OK):
                raise EngineUnavailable(f"the file {file} that {address} names cannot be read")
        if address.kind == "sentinel":
            return await self._ask_sentinels()
        if address.kind == "cluster":
            return await self._ask_cluster()
        return address.hosts[0] if address.hosts else ("", 0)

    async def connect(self, place: _Place, connection: Connection) -> Server:
        """Connect to the server at *place*, and let it say what it is.

        Raises:
            EngineUnavailable: if that fails.
        """
        await connection.open(self._line(place))
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

    def _line(self, place: _Place) -> AbstractConnection:
        address = self._address
        options = self._options | self._credentials
        options |= {"protocol": 3, "db": address.database, "socket_timeout": CONNECT_SECONDS}
        if address.path:
            return UnixDomainSocketConnection(path=address.path, **options)
        kind = SSLConnection if address.tls else PlainConnection
        return kind(host=place[0], port=place[1], **options)

    async def _ask_sentinels(self) -> _Place:
        address = self._address
        options = self._options | {"socket_timeout": ASK_SECONDS}
        if address.tls:
            options["ssl"] = True
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            self._seeds,
            sentinel_kwargs=options
            | {
                "username": address.sentinel_user or None,
                "password": address.sentinel_password or None,
            },
        )
        try:
            host, port = await sentinel.discover_master(address.master)
        except (LibraryError, OSError) as error:
            raise EngineUnavailable(
                f"the sentinels of {address} name no server for {address.master}: {error}"
            ) from error
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        return host, int(port)

    async def _ask_cluster(self) -> _Place:
        """What the first of the known servers that can be asked says; it is the first next time."""
        troubles: list[str] = []
        for seed in list(self._seeds):
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    place = await self._ask_member(seed)
            except TimeoutError:
                troubles.append(f"{name_of(seed)} does not answer")
            except EngineUnavailable as error:
                troubles.append(error.detail)
            else:
                self._seeds.remove(seed)
                self._seeds.insert(0, seed)
                return place
        raise EngineUnavailable("; ".join(troubles))

    async def _ask_member(self, seed: _Place) -> _Place:
        slot = slot_of(self._address.prefix)
        options = self._options | self._credentials
        if self._address.tls:
            options["ssl"] = True
        client: Any = Redis(host=seed[0], port=seed[1], single_connection_client=True, **options)
        try:
            state = await client.execute_command("CLUSTER INFO")
            if state.get("cluster_state") != "ok":
                raise EngineUnavailable(f"the cluster of {name_of(seed)} is down")
            slots = await client.execute_command("CLUSTER SLOTS")
        except (LibraryError, OSError) as error:
            raise EngineUnavailable(f"Redis at {name_of(seed)}: {error}") from error
        finally:
            await client.aclose()
        for first, last, master, *_ in slots:
            if first <= slot <= last:
                return master[0].decode() or seed[0], master[1]
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
    """The slot of a cluster that keys with the hash tag *tag* are in."""
    return key_slot(tag.encode())


def _encryption(address: RedisAddress) -> dict[str, str | None]:
    """What redis-py is told of encryption."""
    if not address.tls:
        return {}
    return {
        "ssl_ca_certs": address.ca or None,
        "ssl_certfile": address.certificate or None,
        "ssl_keyfile": address.key or None,
    }
