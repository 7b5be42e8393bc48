"""What the fault runs of a session did, and what it cost: a table at its end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.faults.lanes import Outcome


class Row(NamedTuple):
    """One run: faults by their kind, and messages summed up over its subscribers."""

    run: str
    injected: Counter[str]
    sent: int
    received: int
    lost: int
    duplicated: int


PlainRow = tuple[str, "Mapping[str, int]", int, int, int, int]
"""A row in types that go from process to process."""


class Report:
    """Collects the rows of a session, in whatever order they come."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, run: str, outcome: Outcome) -> None:
        """Take in a run of the matrix."""
        verdicts = outcome.verdicts.values()
        self.rows.append(
            Row(
                run,
                sum(outcome.injected.values(), Counter()),
                max(verdict.sent for verdict in verdicts),
                sum(verdict.received for verdict in verdicts),
                sum(verdict.lost for verdict in verdicts),
                sum(verdict.duplicated for verdict in verdicts),
            )
        )

    def plain(self) -> list[PlainRow]:
        """All rows, for :meth:`take` in another process."""
        return [(row.run, dict(row.injected), *row[2:]) for row in self.rows]

    def take(self, rows: Iterable[PlainRow]) -> None:
        """Add the rows that another process has found."""
        self.rows += [Row(run, Counter(kinds), *numbers) for run, kinds, *numbers in rows]

    def lines(self) -> Iterator[str]:
        """The table, ordered by the names of the runs, with a sum at its end."""
        form = "{:<42}{:>8}{:>8}{:>10}{:>6}{:>12}  {}".format
        yield form("run", "faults", "sent", "received", "lost", "duplicated", "")
        for row in sorted(self.rows, key=lambda row: row.run):
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(row.injected.items()))
            yield form(row.run, row.injected.total(), *row[2:], kinds)
        yield form("all", *map(sum, zip(*self._numbers(), strict=True)), "")

    def _numbers(self) -> Iterable[tuple[int, ...]]:
        return ((row.injected.total(), *row[2:]) for row in self.rows)
