"""The results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks.cases import CASES

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.results import Figure, Outcome


def table(outcomes: dict[str, Outcome]) -> Table:
    """One row a figure: what was measured, its target, and whether it was met."""
    result = Table(title="Tidewire benchmarks", title_justify="left")
    result.add_column("case", no_wrap=True)
    result.add_column("figure")
    result.add_column("measured", justify="right", no_wrap=True)
    result.add_column("target", justify="right", no_wrap=True)
    result.add_column("")
    result.add_column("made of", style="dim")
    for name, outcome in outcomes.items():
        title = CASES[name].title
        for figure in outcome.figures:
            result.add_row(
                title,
                figure.name,
                f"{_number(figure.value)} {figure.unit}",
                "" if figure.target is None else f"{figure.relation} {_number(figure.target)}",
                _verdict(figure, outcome),
                figure.basis,
            )
            title = ""
        if not outcome.figures:
            result.add_row(title, "", "", "", "[red]void[/]", "")
        result.add_section()
    return result


def met(outcome: Outcome) -> bool:
    """Whether the outcome is valid and every target in it is met."""
    return not outcome.faults and all(figure.met is not False for figure in outcome.figures)


def write(path: Path, machine: dict[str, Any], outcomes: dict[str, Outcome]) -> None:
    """Writes everything, raw rounds included, as JSON."""
    document = {
        "machine": machine,
        "cases": {name: _case(name, outcome) for name, outcome in outcomes.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _case(name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "title": CASES[name].title,
        "met": met(outcome),
        "figures": [asdict(figure) | {"met": figure.met} for figure in outcome.figures],
        "faults": outcome.faults,
        "notes": outcome.notes,
        "details": outcome.details,
    }


def _verdict(figure: Figure, outcome: Outcome) -> str:
    if outcome.faults:
        return "[red]void[/]"
    return {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[figure.met]


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
