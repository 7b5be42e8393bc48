"""The doors: which connections are served at all, before it is known who asks.

The client of a refused connection is told why, and when to come back: so its first request is read,
as far as the head, and health and metrics are answered like everybody's. Only so many wait for
that at a time. When one more comes, the one that has waited longest without a whole request is cut
off: who has something to ask does so at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from tidewire.access.addresses import Addresses, counted
from tidewire.access.breaker import Breaker, Process, Reason
from tidewire.access.counts import Counts
from tidewire.access.rates import Bucket, rate_of
from tidewire.model import TidewireError, TooManyRequests, Unavailable
from tidewire.server.request import Request
from tidewire.server.response import retry_after
from tidewire.settings import Settings

if TYPE_CHECKING:
    from tidewire.server.connection import Connection

_WHY: dict[Reason, str] = {
    "files": "the server has too many connections open",
    "memory": "the server is short of memory",
}


class Doors:
    """Counts connections, all together and by address. *clock* never goes back."""

    def __init__(
        self,
        settings: Settings,
        refusals: Counter[str],
        clock: Callable[[], float],
        process: Process,
    ) -> None:
        self.breaker = Breaker(process, settings.max_memory)
        self._most = settings.max_connections
        self._rate = rate_of(settings.max_connection_rate)
        self._bucket = Bucket()
        self._by_address: Counts | None = None
        if settings.max_connections_per_ip:
            self._by_address = Counts(settings.max_connections_per_ip)
        self._addresses = Addresses(settings.trusted_proxies)
        self._refusals = refusals
        self._clock = clock
        self._inside = 0
        self._refused: dict[Connection, None] = {}  # in the order in which they came

    def enter(self, connection: Connection, file: int) -> TidewireError | None:
        """Count a new connection in, whose descriptor is *file*; or say why it is refused.

        It is closed at once where there is not even a descriptor to spare for telling it so.
        """
        refusal = self._refusal(connection, file)
        if refusal is None:
            self._inside += 1
            return None
        self._refused[connection] = None
        if file >= self.breaker.reserve.last:
            self._cut_off(connection, refusal)
        elif len(self._refused) > self.breaker.reserve.refused:
            oldest = next(iter(self._refused))
            if oldest.refused is not None:
                self._cut_off(oldest, oldest.refused)
        return refusal

    def _refusal(self, connection: Connection, file: int) -> TidewireError | None:
        reason = self.breaker.refusal(file, self._clock(), len(self._refused))
        if reason is not None:
            return Unavailable(_WHY[reason], refusal=reason)
        if self._inside >= self._most:
            return Unavailable("the server is full", refusal="connections")
        if self._by_address is not None:
            peer = peer_of(connection)
            if self._addresses.is_trusted(peer):
                connection.proxied = True  # its clients are counted when they ask
            else:
                key = counted(peer)
                if not self._by_address.enter(key):
                    return self._too_many()
                connection.counted = key
        if self._rate is not None and self._bucket.take(self._rate, self._clock()):
            self._forget_address(connection)
            return Unavailable("too many clients come at once", refusal="connection_rate")
        return None

    def _cut_off(self, connection: Connection, refusal: TidewireError) -> None:
        del self._refused[connection]
        self._refusals[refusal.refusal or ""] += 1
        connection.abort()

    def leave(self, connection: Connection) -> None:
        """The connection is gone."""
        if connection.refused is None:
            self._inside -= 1
        else:
            self._refused.pop(connection, None)
        self._forget_address(connection)

    def look(self) -> None:
        """Have the breaker see how things are, if it has not for a while."""
        self.breaker.look(self._clock(), len(self._refused))

    # Requests

    def address_of(self, request: Request, connection: Connection) -> str:
        """What the client that asks is counted under: its address, or its network in IPv6."""
        return counted(self._addresses.client(peer_of(connection), request.headers))

    def client_behind(self, request: Request, connection: Connection) -> str | None:
        """The address of the client for which a trusted proxy asks; ``None``: there is none."""
        peer = peer_of(connection)
        client = self._addresses.client(peer, request.headers)
        return None if client == peer else client

    def client_of(self, request: Request, connection: Connection) -> Hashable:
        """Who asks, for what is counted by client: the user or the key, else the address."""
        caller = request.caller
        if caller.name:
            return caller.kind, caller.name
        return self.address_of(request, connection)

    def serve(self, request: Request, connection: Connection) -> TidewireError | None:
        """Count in the client of a proxy, until ``served``; or say that it has too many."""
        assert self._by_address is not None
        self._forget_address(connection)
        key = self.address_of(request, connection)
        if not self._by_address.enter(key):
            return self._too_many()
        connection.counted = key
        return None

    def served(self, connection: Connection) -> None:
        """The request that was counted in has its answer."""
        self._forget_address(connection)

    def _forget_address(self, connection: Connection) -> None:
        if self._by_address is not None and connection.counted is not None:
            self._by_address.leave(connection.counted)
            connection.counted = None

    def _too_many(self) -> TooManyRequests:
        assert self._by_address is not None
        return TooManyRequests(
            f"one address may have {self._by_address.most} connections: close some",
            retry_after=retry_after(),
            refusal="connections_per_ip",
        )


def peer_of(connection: Connection) -> str:
    """The address at the other end of a connection; "" if that has none."""
    peer = connection.transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""
