"""Which workers there are, and what is to be done about them: the supervisor's thoughts.

Each *slot* has a listening socket and is to have one worker that serves it. Here are no processes,
signals or clocks: the supervisor tells what has happened and when, and carries out the orders.

A worker is *starting* until it says that it is ready, then it is *serving*; *leaving* it accepts
nothing new and says goodbye to its clients. A reload gives one slot after the other a worker of the
next *generation*, and its old worker leaves when the new one is ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

START_SECONDS = 60.0
"""A worker that is not ready after so long is killed."""

STEADY_SECONDS = 10.0
"""Who has served for so long was no failure: another one is started at once when it ends."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
LEAVE_GRACE = 5.0
"""Seconds beyond its time to drain that a worker gets which others have replaced."""

PING_SECONDS = 5.0
MOST_MISSED = 6
"""Pings that a serving worker may leave without an answer.

They are counted, and not the time: if the whole machine stands still, nobody is to blame.
"""


class Order(NamedTuple):
    """What is to be done.

    ``start`` a worker of *generation* for the *slot*; ``ping``, ``leave``, ``stop`` and ``kill``
    the worker *pid*; ``give_up`` means to kill one that hangs.
    """

    kind: Literal["start", "ping", "leave", "stop", "kill", "give_up"]
    slot: int
    pid: int = 0
    generation: int = 0


class Ended(NamedTuple):
    """What the end of a worker means.

    It was *expected*, or the slot gets another, if it has none, after *pause* seconds, in which
    nobody accepts what comes there. It may have been the end of a reload, too: *refused* is set
    when a worker of the new generation did not get ready.
    """

    slot: int
    expected: bool
    pause: float = 0.0
    refused: bool = False


@dataclass(slots=True)
class Worker:
    """One process. *deadline* is when it is killed, 0 for never; *since* when it became so."""

    pid: int
    slot: int
    generation: int
    state: Literal["starting", "serving", "leaving"]
    since: float
    deadline: float
    missed: int = 0
    """Pings in a row that it has not answered."""


@dataclass(slots=True)
class _Slot:
    number: int
    failures: int = 0
    due: float = 0.0
    """When a worker may be started."""


class Slots:
    """*count* slots. All times are of one clock, in seconds."""

    def __init__(self, count: int, drain_timeout: float) -> None:
        self.drain_timeout = drain_timeout
        self.workers: dict[int, Worker] = {}
        self.stopping = False
        self.complete = False
        """Whether all slots have been served at the same time at least once."""
        self.restarts = 0
        self.generation = 0
        """Of workers that are started now."""
        self.proven = 0
        """The newest generation of which one got ready."""
        self._slots = [_Slot(number) for number in range(count)]
        self._urgent: list[Order] = []
        self._next_ping = 0.0

    # What happens

    def started(self, pid: int, order: Order, now: float) -> None:
        """A worker was started as ordered."""
        deadline = now + START_SECONDS
        self.workers[pid] = Worker(pid, order.slot, order.generation, "starting", now, deadline)
        if self.stopping:
            self._urgent.append(Order("stop", order.slot, pid))

    def not_started(self, order: Order, now: float) -> None:
        """The system did not let a worker be started."""
        slot = self._slots[order.slot]
        slot.failures += 1
        slot.due = now + self._pause_after(slot.failures + 1)

    def ready(self, pid: int, now: float) -> None:
        """A worker serves; the one that did before it is to leave."""
        worker = self.workers[pid]
        if worker.state != "starting":
            return
        for other in self.workers.values():
            if other.slot == worker.slot and other.state == "serving":
                self._urgent.append(Order("leave", other.slot, other.pid))
                self._leaves(other, now)
        worker.state = "serving"
        worker.since = now
        worker.deadline = 0.0
        self.proven = max(self.proven, worker.generation)
        self.complete = self.complete or self.serving == len(self._slots)

    def heard(self, pid: int) -> None:
        """A worker has said something."""
        self.workers[pid].missed = 0

    def leaving(self, pid: int, now: float) -> None:
        """A worker was told to go by somebody else."""
        worker = self.workers[pid]
        if worker.state != "leaving":
            self._leaves(worker, now)

    def _leaves(self, worker: Worker, now: float) -> None:
        worker.state = "leaving"
        worker.since = now
        if not self.stopping:
            worker.deadline = now + self.drain_timeout + LEAVE_GRACE

    def ended(self, pid: int, now: float) -> Ended:
        """A worker is no more."""
        worker = self.workers.pop(pid)
        slot = self._slots[worker.slot]
        if self.stopping or worker.state == "leaving":
            return Ended(worker.slot, expected=True)
        self.restarts += 1
        if worker.state == "serving" and now - worker.since >= STEADY_SECONDS:
            slot.failures = 0
        slot.failures += 1
        refused = worker.state == "starting" and worker.generation > self.proven
        if refused:
            self.generation = self.proven
        pause = 0.0
        if self._head(worker.slot) is None:
            pause = self._pause_after(slot.failures)
            slot.due = now + pause
        return Ended(worker.slot, expected=False, pause=pause, refused=refused)

    @staticmethod
    def _pause_after(failures: int) -> float:
        if failures < 2:
            return 0.0
        return min(FIRST_PAUSE * 2.0 ** min(failures - 2, 20), LONGEST_PAUSE)

    def reload(self) -> None:
        """All workers are to be replaced by those of the next generation, one slot at a time."""
        self.generation += 1

    def stop(self, now: float) -> None:
        """All workers are to end, by themselves or when the time to drain is over."""
        if self.stopping:
            return
        self.stopping = True
        for worker in self.workers.values():
            self._urgent.append(Order("stop", worker.slot, worker.pid))
            worker.deadline = now + self.drain_timeout

    def hurry(self, now: float) -> None:
        """They are to end now."""
        for worker in self.workers.values():
            worker.deadline = now

    # What is to be done

    @property
    def serving(self) -> int:
        """How many slots are served."""
        return len({w.slot for w in self.workers.values() if w.state == "serving"})

    @property
    def reloading(self) -> bool:
        """Whether a worker of an older generation is still serving."""
        return any(
            w.state == "serving" and w.generation < self.generation for w in self.workers.values()
        )

    def orders(self, now: float) -> list[Order]:
        """What is to be done now; each ``start`` is to be answered by ``started``."""
        orders, self._urgent = self._urgent, []
        for worker in self.workers.values():
            if worker.deadline and now >= worker.deadline:
                worker.deadline = 0.0
                orders.append(Order("kill", worker.slot, worker.pid))
        if self.stopping:
            return orders
        if now >= self._next_ping:
            self._next_ping = now + PING_SECONDS
            orders += self._pings()
        empty = [slot for slot in self._slots if self._head(slot.number) is None]
        orders += (
            Order("start", slot.number, generation=self.generation)
            for slot in empty
            if now >= slot.due
        )
        if not empty and not any(w.state == "starting" for w in self.workers.values()):
            orders += self._next_of_reload()
        return orders

    def _pings(self) -> list[Order]:
        orders = []
        for worker in self.workers.values():
            if worker.state == "serving":
                kind: Literal["ping", "give_up"] = "ping"
                if worker.missed == MOST_MISSED:
                    kind = "give_up"
                worker.missed += 1
                orders.append(Order(kind, worker.slot, worker.pid))
        return orders

    def _next_of_reload(self) -> list[Order]:
        for slot in self._slots:
            head = self._head(slot.number)
            if head is not None and head.generation < self.generation:
                return [Order("start", slot.number, generation=self.generation)]
        return []

    def _head(self, slot: int) -> Worker | None:
        """The slot's worker that serves or is to serve."""
        for worker in self.workers.values():
            if worker.slot == slot and worker.state != "leaving":
                return worker
        return None

    def next_time(self) -> float | None:
        """When something will have to be done, if nothing happens before."""
        times = [worker.deadline for worker in self.workers.values() if worker.deadline]
        if not self.stopping:
            times += (slot.due for slot in self._slots if self._head(slot.number) is None)
            if self.serving:
                times.append(self._next_ping)
        return min(times, default=None)
