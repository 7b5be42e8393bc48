"""Results for people and for programs: a table on a terminal, JSON lines everywhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidewire.cli.terminal import JsonLines, OutputClosed, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON lines on a terminal, too, and no table.")
]


def show(
    rows: Sequence[Any],
    columns: Sequence[str],
    cells: Callable[[Any], Iterable[str]],
    *,
    as_json: bool,
) -> None:
    """Print *rows*, structs of msgspec, one JSON object a line, or as a table of *cells*."""
    import msgspec

    if as_json or sys.stdout is None or not sys.stdout.isatty():
        output = JsonLines()
        try:
            for row in rows:
                output.write(msgspec.json.encode(row))
        except OutputClosed:
            pass
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = column.startswith("#")
        table.add_column(
            column.removeprefix("#"),
            justify="right" if number else "left",
            no_wrap=column == "id",  # it is to be copied
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in cells(row)))
    Console().print(table)


def ago(seconds: float) -> str:
    """How long something is since: ``5 s``, ``12 min``, ``3 h``, ``9 d``."""
    seconds = max(seconds, 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
