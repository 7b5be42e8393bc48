"""``python -m benchmarks``: measures Tidewire against its floors; prints a table, writes JSON."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.processes import ProcessError
from benchmarks.results import Outcome, VoidError

RESULTS = Path(__file__).parent / "results"
BUSY_LOAD = 0.5
"""Load average before the run above which absolute figures say more about the machine."""
PLOTS = Path(__file__).parent.parent / "docs" / "benchmarks"


def main(
    case: Annotated[
        list[str] | None, typer.Option(help=f"a case to run, may repeat: {', '.join(CASES)}")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="fewer and shorter rounds")] = False,
    subscribers: Annotated[
        int, typer.Option(min=100, max=9000, help="subscribers of a fan-out and idle connections")
    ] = 5000,
    output: Annotated[Path, typer.Option(help="where to write the JSON")] = RESULTS / "latest.json",
    plots: Annotated[
        bool,
        typer.Option("--plots", help=f"also draw {PLOTS.relative_to(PLOTS.parent.parent)}/*.svg"),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="exit with 1 if a target is missed or a figure void")
    ] = False,
) -> None:
    """Measure Tidewire against its floors, in one run on this machine."""
    names = case or [name for name, one in CASES.items() if not one.long]
    if unknown := [name for name in names if name not in CASES]:
        raise typer.BadParameter(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    console = Console()
    facts = machine.facts() | {"load before": machine.load()}
    start = time.monotonic()
    outcomes = _run(names, console, quick=quick, subscribers=subscribers)
    facts |= {"load after": machine.load(), "seconds": round(time.monotonic() - start)}
    console.print(report.table(outcomes))
    for name, outcome in outcomes.items():
        for fault in outcome.faults:
            console.print(f"[red]void[/] {name}: {fault}", highlight=False)
        for note in dict.fromkeys(outcome.notes):
            console.print(f"[dim]{name}: {note}[/]", highlight=False)
    if facts["load before"] > BUSY_LOAD:
        console.print(
            f"[yellow]Other work was running here (load {facts['load before']:.1f}): "
            "trust the ratios, not latency or µs.[/]",
            highlight=False,
        )
    report.write(output, facts, outcomes)
    console.print(f"[dim]{facts['seconds']} s; everything is in {output}[/]", highlight=False)
    if plots:
        from benchmarks.plots import draw  # matplotlib takes a second to load

        for path in draw(outcomes, PLOTS):
            console.print(f"[dim]{path}[/]")
    if check and not all(report.met(outcome) for outcome in outcomes.values()):
        raise typer.Exit(1)


def _run(
    names: list[str], console: Console, *, quick: bool, subscribers: int
) -> dict[str, Outcome]:
    """Runs the cases one after another; one that fails is void, and the others still run."""
    outcomes: dict[str, Outcome] = {}
    RESULTS.mkdir(exist_ok=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", style="dim"),
    )
    with (
        # Beside the results, as /tmp may be in memory: a durable publish must reach a disk.
        tempfile.TemporaryDirectory(dir=RESULTS, suffix=".tmp") as directory,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task("", total=len(names), detail="")
        bench = Bench(quick, subscribers, Path(directory).resolve(), progress, task)
        for name in names:
            progress.update(task, description=CASES[name].title, detail="")
            try:
                outcomes[name] = CASES[name].run(bench)
            except (ProcessError, VoidError, OSError) as error:
                outcomes[name] = Outcome(faults=[str(error)])
            progress.advance(task)
        progress.update(task, description="done", detail="")
    return outcomes


if __name__ == "__main__":
    typer.run(main)
