"""The figures as bar charts, for light and for dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.results import Outcome

Bars = dict[str, float]
THEMES = {
    "light": {"text": "#1f2328", "grid": "#d0d7de", "base": "#8c959f", "ours": "#0969da"},
    "dark": {"text": "#e6edf3", "grid": "#30363d", "base": "#6e7681", "ours": "#4493f8"},
}
OURS = "Tidewire"
BARE = "bare uvloop + httptools"


@dataclass(frozen=True, slots=True)
class Chart:
    """One bar chart; bars whose name contains "Tidewire" stand out."""

    name: str
    title: str
    unit: str
    bars: Bars


def draw(outcomes: dict[str, Outcome], directory: Path) -> list[Path]:
    """Draws what the outcomes give; returns the files written."""
    directory.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "tidewire"  # the same figures make the same file
    paths = []
    for chart in _charts(outcomes):
        for theme, colours in THEMES.items():
            path = directory / f"{chart.name}-{theme}.svg"
            _draw(chart, colours, path)
            paths.append(path)
    return paths


def _charts(outcomes: dict[str, Outcome]) -> Iterator[Chart]:
    details = {name: outcome.details for name, outcome in outcomes.items() if outcome.details}
    transports = {"WebSocket": "ws_fanout", "SSE": "sse_fanout"}
    fan_out = [(name, details[case]) for name, case in transports.items() if case in details]
    if fan_out:
        for kind, title in (("singles", "single messages"), ("bursts", "bursts of 10")):
            bars = {}
            for transport, detail in fan_out:
                rounds = detail[kind]
                bars[f"C floor, {transport}"] = _median(rounds["floor"], "us_per_message")
                bars[f"{OURS}, {transport}"] = _median(rounds["tidewire"], "us_per_message")
            yield Chart(f"fan-out-{kind}", f"Server CPU per delivered message, {title}", "µs", bars)
    polls = details.get("polls", {})
    names = {
        "bare uvloop + httptools": "bare",
        OURS: "tidewire",
        "Starlette on uvicorn": "starlette",
    }
    for status in (200, 304):
        if rounds := polls.get(f"polls answered {status}"):
            bars = {name: _per_core(rounds[key]) for name, key in names.items()}
            title = f"Short polls answered {status}, one core"
            yield Chart(f"polls-{status}", title, "requests/s", bars)
    if rounds := details.get("publish", {}).get("single publishes"):
        names = {BARE: "bare", f"{OURS}, memory": "memory", f"{OURS}, SQLite": "sqlite"}
        bars = {name: _median(rounds[key], "seen") for name, key in names.items()}
        yield Chart("publish", "Publishes over HTTP, 32 connections", "requests/s", bars)


def _median(rounds: list[dict[str, Any]], key: str) -> float:
    return median(float(one[key]) for one in rounds)


def _per_core(rounds: list[dict[str, Any]]) -> float:
    return 1e6 / _median(rounds, "us_per_request")


def _draw(chart: Chart, colours: dict[str, str], path: Path) -> None:
    figure = Figure(figsize=(7, 0.9 + 0.42 * len(chart.bars)), layout="constrained")
    axes = figure.add_subplot()
    names = list(chart.bars)[::-1]
    values = [chart.bars[name] for name in names]
    bars = axes.barh(
        names, values, height=0.62,
        color=[colours["ours" if OURS in name else "base"] for name in names],
    )  # fmt: skip
    labels = [f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in values]
    axes.bar_label(bars, labels, padding=4, color=colours["text"])
    axes.set_title(chart.title, loc="left", color=colours["text"], fontsize=11)
    axes.set_xlabel(chart.unit, color=colours["text"])
    axes.margins(x=0.12)
    axes.tick_params(colors=colours["text"], length=0)
    axes.grid(axis="x", color=colours["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.savefig(path, transparent=True, metadata={"Date": None})
