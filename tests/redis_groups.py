"""Several Redis servers that stand for one another: Sentinel, and Redis Cluster.

They notice within about two seconds that one of them was killed, not within the half minute of real
life, and need two more to put another in its place. Until then they are patient: on a busy machine
one may stand still for seconds, and nobody is to take its place because of that.
"""

from __future__ import annotations

import contextlib
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from tests.redis_server import HOST, RedisError, RedisServer, engine_url, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MASTER = "tidewire"
"""What Sentinel calls the master."""

PASSWORD = "between us"
SLOTS = 16_384
DOWN_AFTER = 2_000
"""Milliseconds without an answer until a server counts as down, once one is."""
PATIENT = 10_000
"""The same before that."""
FORMED_WITHIN = 60.0
"""Seconds until all know each other; far above the usual ones."""


def is_linked(replica: RedisServer) -> bool:
    """Whether the replica has all that its master had a moment ago, and follows it."""
    return replica.info("replication").get("master_link_status") == "up"


def cut_off(replica: RedisServer, master: RedisServer) -> None:
    """Part the two: the replica keeps what it has and gets nothing new, by a wrong password."""
    replica.configure(masterauth="wrong")
    master.ask("CLIENT", "KILL", "TYPE", "replica")
    wait_for(lambda: not is_linked(replica))


def _is_known(server: RedisServer, to: RedisServer) -> bool:
    """Whether *to* has *server* among the nodes of its cluster, or greets it."""
    return f":{server.port}@" in to.ask("CLUSTER", "NODES")


class SentinelGroup:
    """A master with one replica, and three Sentinels; *options* are those of the first two.

    *lines* are those of an example for Sentinels; only the master's address is not taken from it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        password: str = PASSWORD,
        lines: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.password = password
        self._lines = lines
        with ExitStack() as stack:
            self.first = stack.enter_context(
                RedisServer(directory / "first", password=password, **options)
            )
            options["replicaof"] = (HOST, self.first.port)
            self.second = stack.enter_context(
                RedisServer(directory / "second", password=password, **options)
            )
            wait_for(lambda: is_linked(self.second))
            self.sentinels = [
                stack.enter_context(self._sentinel(directory / f"sentinel {number}"))
                for number in range(3)
            ]
            wait_for(lambda: all(map(self._is_complete, self.sentinels)), within=FORMED_WITHIN)
            self._servers = stack.pop_all()

    def _sentinel(self, directory: Path) -> RedisServer:
        lines = self._lines or [
            f"sentinel monitor {MASTER} 192.0.2.1 6379 2",
            f"sentinel down-after-milliseconds {MASTER} {PATIENT}",
            f"sentinel failover-timeout {MASTER} 5000",
            f'sentinel auth-pass {MASTER} "{self.password}"',
        ]
        place = f"{HOST} {self.first.port}"
        lines = [line.replace("192.0.2.1 6379", place) for line in lines]
        lines = [f"sentinel myid {secrets.token_hex(20)}", *lines]
        sentinel = RedisServer(directory, sentinel=lines)
        with contextlib.suppress(RedisError):  # before Redis 7 that cannot be set
            # One that stood still for longer trusts nothing that it sees for half a minute.
            sentinel.ask("SENTINEL", "DEBUG", "TILT-TRIGGER", 2 * PATIENT)
        return sentinel

    @staticmethod
    def _is_complete(sentinel: RedisServer) -> bool:
        """Whether it knows all the others."""
        facts = sentinel.ask("SENTINEL", "MASTER", MASTER)
        known = dict(zip(facts[::2], facts[1::2], strict=True))
        return (known["num-slaves"], known["num-other-sentinels"]) == ("1", "2")

    def engine(self, **options: object) -> str:
        """What ``--engine`` takes for a log here; *options* stand behind the question mark."""
        options["master"] = MASTER
        return engine_url("redis+sentinel", self.sentinels, self.password, options)

    @property
    def master(self) -> RedisServer:
        """Which of the two the Sentinels call the master now."""
        _, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return self.first if int(port) == self.first.port else self.second

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        return self.second if self.master is self.first else self.first

    def kill(self, server: RedisServer) -> None:
        """End one of the two, which the Sentinels notice soon."""
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "SET", MASTER, "down-after-milliseconds", DOWN_AFTER)
        server.kill()

    def is_led_by(self, server: RedisServer) -> bool:
        """Whether it is the master, for itself and for all Sentinels, and says so."""
        where = [HOST, str(server.port)]
        try:
            return server.ask("ROLE")[0] == "master" and all(
                sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER) == where
                for sentinel in self.sentinels
            )
        except (OSError, RedisError):  # whoever becomes master ends all connections at first
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()


class RedisCluster:
    """Three masters that share the slots, each with ``replicas`` (0 or 1)."""

    def __init__(
        self, directory: Path, *, replicas: int = 0, password: str = "", **options: Any
    ) -> None:
        self.password = password
        options |= {"cluster_enabled": "yes", "cluster_node_timeout": DOWN_AFTER}
        with ExitStack() as stack:
            self.servers = [
                stack.enter_context(
                    RedisServer(directory / f"node {number}", password=password, **options)
                )
                for number in range(3 + 3 * replicas)
            ]
            self._form()
            for server in self.servers:  # not before: it is also how often they tell news
                server.configure(cluster_node_timeout=PATIENT)
            self._running = stack.pop_all()

    def _form(self) -> None:
        masters, replicas = self.servers[:3], self.servers[3:]
        for number, server in enumerate(self.servers):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, server in enumerate(masters):
            first, end = SLOTS * number // 3, SLOTS * (number + 1) // 3
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        wait_for(self._all_have_met, within=FORMED_WITHIN)
        for master, replica in zip(masters, replicas, strict=False):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        wait_for(self.is_whole, within=FORMED_WITHIN)

    def _all_have_met(self) -> bool:
        """Whether they know each other; who and the first do not are introduced.

        Again if need be: they forget each other if one stands still for so long meanwhile that it
        would count as down.
        """
        first, *others = self.servers
        for server in others:
            if not (_is_known(server, first) and _is_known(first, server)):
                first.ask("CLUSTER", "MEET", HOST, server.port, server.bus_port)
        return all(map(self._knows_all, self.servers))

    def _knows_all(self, server: RedisServer) -> bool:
        nodes = server.ask("CLUSTER", "NODES").splitlines()
        return len(nodes) == len(self.servers) and not any("handshake" in node for node in nodes)

    def is_whole(self) -> bool:
        """Whether all that run say that all is well, and every replica is linked."""
        running = [server for server in self.servers if server.running]
        return all(
            "cluster_state:ok" in server.ask("CLUSTER", "INFO")
            and (server.ask("ROLE")[0] == "master" or is_linked(server))
            and server.ask("CLUSTER", "NODES").count("slave") == len(self.servers) - 3
            for server in running
        )

    def engine(self, **options: object) -> str:
        """What ``--engine`` takes for a log here; two of the servers are named."""
        return engine_url("redis+cluster", self.servers[:2], self.password, options)

    def masters(self) -> list[RedisServer]:
        """Those that are masters now, of their own knowledge."""
        found = []
        for server in self.servers:
            with contextlib.suppress(OSError, RedisError):
                if server.running and server.ask("ROLE")[0] == "master":
                    found.append(server)
        return found

    def kill(self, server: RedisServer) -> None:
        """End one of them, which the others notice soon."""
        for other in self.servers:
            if other.running:
                other.configure(cluster_node_timeout=DOWN_AFTER)
        server.kill()

    def holders(self) -> list[RedisServer]:
        """The masters that have the log, or a part of it: those with keys."""
        return [server for server in self.masters() if server.ask("DBSIZE")]

    def holder(self) -> RedisServer:
        """The master that has a log of one partition."""
        (holder,) = self.holders()
        return holder

    def replica_of(self, master: RedisServer) -> RedisServer:
        """The server that follows *master*."""
        port = str(master.port)
        (found,) = [
            server
            for server in self.servers
            if server is not master and server.info("replication").get("master_port") == port
        ]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
