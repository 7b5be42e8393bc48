"""The kept inputs: a folder for each target, a file of lines, each a literal of Python's bytes.

Text, because a review should show what is in it. ``kept.txt`` is written by ``scripts/fuzz.py``:
the smallest inputs found so far that together take every step that any took, from one instruction
of the interpreter to another. The rest is by hand: ``seeds.txt``, from which the search began, and
``found.txt``, inputs that once failed, each below a comment that says how.
"""

from __future__ import annotations

import ast
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import tidewire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType, FrameType

    from _typeshed import TraceFunction

CORPUS = Path(__file__).parent / "corpus"
PACKAGE = str(Path(tidewire.__file__).parent)


KEPT = "kept.txt"


def kept(target: str) -> list[bytes]:
    """All inputs kept for *target*."""
    return _read(sorted((CORPUS / target).glob("*.txt")))


def by_hand(target: str) -> list[bytes]:
    """Those that people chose."""
    return _read(file for file in (CORPUS / target).glob("*.txt") if file.name != KEPT)


def _read(files: Iterable[Path]) -> list[bytes]:
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def keep(target: str, inputs: Iterable[bytes]) -> None:
    """Make *inputs* those of ``kept.txt``."""
    file = CORPUS / target / KEPT
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{one!r}\n" for one in sorted(inputs)), "utf-8")


def smallest(
    inputs: Iterable[bytes], run: Callable[[bytes], None], beside: Iterable[bytes] = ()
) -> list[bytes]:
    """Those of *inputs* that take a step which none *beside* them and no shorter one takes."""
    seen = {step for one in beside for step in steps_of(run, one)}
    chosen = []
    for one in sorted(set(inputs), key=lambda data: (len(data), data)):
        steps = steps_of(run, one)
        if not steps <= seen:
            seen |= steps
            chosen.append(one)
    return chosen


def steps_of(run: Callable[[bytes], None], data: bytes) -> set[tuple[CodeType, int, int]]:
    """The steps from instruction to instruction that *run* takes in Tidewire's own code."""
    steps: set[tuple[CodeType, int, int]] = set()

    def enter(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        last = 0

        def step(frame: FrameType, event: str, argument: object) -> TraceFunction:
            nonlocal last
            if event == "opcode":
                steps.add((code, last, frame.f_lasti))
                last = frame.f_lasti
            return step

        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return step

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # what others have left would take steps while it is collected
    sys.settrace(enter)
    try:
        run(data)
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return steps
