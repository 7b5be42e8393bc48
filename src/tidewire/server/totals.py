"""The metrics of all workers: who is asked, who has told, and what remains of those who ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tidewire.server.line import Everything, Family
from tidewire.server.merging import retire

SILENT_SECONDS = 1.0
"""Who has told nothing after so long is left out, and named."""


class Answer(NamedTuple):
    """What the worker *pid* is to be told."""

    pid: int
    everything: Everything


@dataclass(slots=True)
class _Round:
    """A question of the worker *asker*, and the names of those who are *missing*."""

    asker: int
    question: int
    until: float
    missing: dict[int, str]
    told: dict[str, list[Family]] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)


class Totals:
    """Workers are known by their process; all times are of one clock, in seconds."""

    def __init__(self) -> None:
        self._rounds: dict[int, _Round] = {}
        self._last_round = 0
        self._owed: dict[int, list[int]] = {}  # rounds in which a worker was asked
        self._last: dict[int, list[Family]] = {}
        self._retired: list[Family] = []

    def ask(
        self, asker: int, question: int, workers: Mapping[int, str], now: float
    ) -> tuple[int, list[int]]:
        """Begin a round among *workers*, whose names are given; return it, and whom to ask.

        Who owes an answer to a round that is over is not asked: it hangs.
        """
        self._last_round += 1
        number = self._last_round
        until = now + SILENT_SECONDS
        this = self._rounds[number] = _Round(asker, question, until, dict(workers))
        for pid, name in workers.items():
            owed = self._owed.setdefault(pid, [])
            if owed and owed[0] not in self._rounds:
                this.silent.append(name)
                del this.missing[pid]
            else:
                owed.append(number)
        return number, list(this.missing)

    def told(self, pid: int, number: int, families: list[Family]) -> None:
        """A worker has told its metrics, for a round or because it ends (0)."""
        self._last[pid] = families
        owed = self._owed.get(pid, [])
        if number in owed:
            owed.remove(number)
        this = self._rounds.get(number)
        if this is not None and pid in this.missing:
            this.told[this.missing.pop(pid)] = families

    def ended(self, pid: int) -> None:
        """A worker is no more."""
        self._retired = retire(self._retired, self._last.pop(pid, []))
        self._owed.pop(pid, None)
        for number, this in list(self._rounds.items()):
            this.missing.pop(pid, None)
            if this.asker == pid:
                del self._rounds[number]

    def answers(self, now: float, restarts: int) -> list[Answer]:
        """What can be answered now, because all have told or the time is over."""
        done = [n for n, r in self._rounds.items() if not r.missing or now >= r.until]
        answers = []
        for number in done:
            this = self._rounds.pop(number)
            silent = [*this.silent, *this.missing.values()]
            everything = Everything(this.question, this.told, self._retired, silent, restarts)
            answers.append(Answer(this.asker, everything))
        return answers

    def next_time(self) -> float | None:
        """When the next round will be over."""
        return min((this.until for this in self._rounds.values()), default=None)
