"""What the fault runs of a session did, and what it cost: a table at its end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.faults.lanes import Outcome


class Row(NamedTuple):
    """One run: faults by their kind, and messages summed up over its subscribers."""

    run: str
    injected: Counter[str]
    sent: int
    received: int
    lost: int
    duplicated: int


class Report:
    """Collects the rows of a session."""

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

    def lines(self) -> Iterator[str]:
        """The table, with a sum at its end."""
        form = "{:<28}{:>8}{:>8}{:>10}{:>6}{:>12}  {}".format
        yield form("run", "faults", "sent", "received", "lost", "duplicated", "")
        for row in self.rows:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(row.injected.items()))
            yield form(row.run, row.injected.total(), *row[2:], kinds)
        yield form("all", *map(sum, zip(*self._numbers(), strict=True)), "")

    def _numbers(self) -> Iterable[tuple[int, ...]]:
        return ((row.injected.total(), *row[2:]) for row in self.rows)
