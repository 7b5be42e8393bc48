"""What a case found: figures with their targets, and whatever makes them void."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.loadgen.generator import Window

Relation: TypeAlias = Literal["<=", "<", ">="]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    target: float | None = None
    relation: Relation = "<="
    basis: str = ""
    """What the number is made of: the absolute values behind a ratio."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        if self.relation == ">=":
            return self.value >= self.target
        return self.value < self.target if self.relation == "<" else self.value <= self.target


@dataclass(slots=True)
class Outcome:
    """All that one case found."""

    figures: list[Figure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Why the figures are void: messages were missing, answers were wrong …"""
    notes: list[str] = field(default_factory=list)
    """What a reader should know before trusting a figure to the last digit."""
    details: dict[str, Any] = field(default_factory=dict)
    """Every round's raw numbers."""


def ratios(ours: Iterable[float], base: Iterable[float]) -> float:
    """The median of the ratios round by round, which drift of the machine leaves alone."""
    return median(a / b for a, b in zip(ours, base, strict=True))


class VoidError(Exception):
    """Going on makes no sense: a server does not do what is to be measured."""


def check(outcome: Outcome, who: str, window: Window) -> None:
    """Notes what makes a window's figures void, or less sure.

    Raises `VoidError` when the server broke the protocol or refused a publish.
    """
    if window.faults:
        raise VoidError(f"{who}: {window.faults[0]}")
    for what in ("missing", "duplicates", "out_of_order", "gaps", "closed", "unanswered"):
        if count := getattr(window, what):
            outcome.faults.append(f"{who}: {count} {what.replace('_', ' ')}")
    if window.overlaps > window.publishes / 10:
        outcome.notes.append(
            f"{who}: {window.overlaps} of {window.publishes} publishes came before everyone had "
            "the one before"
        )
