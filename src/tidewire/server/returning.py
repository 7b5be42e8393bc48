"""When clients that were sent away may come back: not all at once, and not sooner than they fit.

Who is refused at the doors, or ended by a drain, is told a time. The times of all who were sent
away lie one behind the other, as close as the fleet takes clients back: so the more are sent away,
the later the last of them comes. It costs one number, the time at which all will be back.

The rule for the pace: a server takes 1,000 clients a second back (or ``max_connection_rate``, if
that is lower) while a tenth of its room is free, and proportionally fewer when less is, down to a
tenth of that, since those who find no room come again. Servers that drain take none. If no other
is left, one that will take this one's place is counted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tidewire.hub import NodeInfo
from tidewire.server.response import jittered

if TYPE_CHECKING:
    from tidewire.server.app import App

PER_SERVER = 1_000.0
"""Clients a second that a server with room takes back."""

ENOUGH_ROOM = 0.1
"""Of a server's capacity: from this free share on it takes them back at its full pace."""

LEAST_PACE = 0.1
"""Of that pace, for a server that is full."""

LONGEST = 300.0
"""Seconds; those for whom there is no earlier time come in the second half of it."""

LOOK_SECONDS = 1.0


class Returns:
    """Gives out times; *pace* says how many clients a second find a place."""

    def __init__(self, pace: Callable[[], float], clock: Callable[[], float]) -> None:
        self._pace = pace
        self._clock = clock
        self._until = 0.0  # when all who were sent away are back

    def delay(self) -> float:
        """Seconds until one more client may come back, which is sent away now."""
        now = self._clock()
        until = max(self._until, now) + 1 / self._pace()
        if until - now > LONGEST:
            return random.uniform(LONGEST / 2, LONGEST)  # noqa: S311  # spreads load
        self._until = until
        return until - now

    def ms(self, least: int, most: int) -> int:
        """The same in ms, and between *least* and *most* ms more."""
        return jittered(least, most) + int(self.delay() * 1000)


def pace_of(nodes: Iterable[NodeInfo], per_server: float = PER_SERVER) -> float:
    """How many clients a second *nodes* take back."""
    pace = 0.0
    for node in nodes:
        if not node.draining:
            free = 1 - node.connections / node.capacity if node.capacity else 1.0
            pace += per_server * min(max(free / ENOUGH_ROOM, LEAST_PACE), 1.0)
    return pace or per_server


class FleetPace:
    """The pace of the whole fleet of *app*, looked at once a second."""

    def __init__(self, app: App) -> None:
        self._app = app
        most = app.settings.max_connection_rate
        self._per_server = min(PER_SERVER, most) if most else PER_SERVER
        self._pace = self._per_server
        self._looked_at: tuple[float, bool] = (float("-inf"), False)

    def __call__(self) -> float:
        app = self._app
        now, draining = app.loop.time(), app.draining
        looked_at, was_draining = self._looked_at
        if now - looked_at >= LOOK_SECONDS or draining is not was_draining:
            self._looked_at = now, draining
            nodes = [*app.fleet.others, app.fleet.describe()]
            self._pace = pace_of(nodes, self._per_server)
        return self._pace
