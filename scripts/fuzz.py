"""Fuzzes the targets of tests/fuzz one after the other with atheris, guided by coverage.

Usage: python -m scripts.fuzz [--seconds N | --runs N] [--keep] [TARGET ...]

Each target has a process of its own, which goes on from what earlier runs have found (in .fuzz/).
A finding ends its target: it is printed, and its input is left in .fuzz/TARGET.found/. Ends with 1
if there was one. With --keep the inputs that reach the most are written to tests/fuzz/corpus.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".fuzz"
WORD = re.compile(rb"[A-Za-z][A-Za-z0-9_.-]{2,30}")
MOST_KEPT = 40_000
"""Bytes of one target's inputs in the repository."""


class Outcome(NamedTuple):
    """What one process did: executions, seconds, and the end of its output if it found anything."""

    executions: int
    seconds: float
    finding: str


def fuzz(name: str, arguments: list[str]) -> None:
    """Be the process of one target. Does not return."""
    import atheris

    with atheris.instrument_imports(include=["tidewire"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name].run)
    atheris.Fuzz()


def run(name: str, seconds: int, runs: int) -> Outcome:
    """Fuzz one target in a process of its own."""
    from tests.fuzz.corpus import kept
    from tests.fuzz.targets import TARGETS

    folder, found = WORK / name, WORK / f"{name}.found"
    for one in (folder, found):
        one.mkdir(parents=True, exist_ok=True)
    inputs = kept(name)
    for number, data in enumerate(inputs):
        (folder / f"kept-{number}").write_bytes(data)
    words = {word for data in inputs for word in WORD.findall(data)}
    dictionary = WORK / f"{name}.words"
    dictionary.write_text("".join(f'"{word.decode()}"\n' for word in sorted(words)))
    arguments = [
        str(folder),
        f"-dict={dictionary}",
        f"-artifact_prefix={found}/",
        f"-max_len={TARGETS[name].longest}",
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=0" if not sys.stdout.isatty() else "-verbosity=1",
    ]
    began = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "scripts.fuzz", "--process", name, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    taken = time.monotonic() - began
    executed = re.search(r"stat::number_of_executed_units: *(\d+)", process.stdout)
    output = re.sub(r"^(INFO|WARNING): .*\n", "", process.stdout, flags=re.MULTILINE)
    finding = "" if process.returncode == 0 else output[-4000:]
    return Outcome(int(executed[1]) if executed else 0, taken, finding)


def keep_best(name: str) -> int:
    """Write the smallest of the inputs that reach more than those by hand; return how many."""
    from tests.fuzz.corpus import by_hand, keep, smallest
    from tests.fuzz.targets import TARGETS

    inputs = [file.read_bytes() for file in (WORK / name).iterdir()]
    chosen = []
    size = 0
    for data in smallest(inputs, TARGETS[name].run, by_hand(name)):
        size += len(repr(data)) + 1
        if size <= MOST_KEPT:
            chosen.append(data)
    keep(name, chosen)
    return len(chosen)


def main() -> int:
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m scripts.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--runs", type=int, default=-1, help="executions of each target at most")
    parser.add_argument("--keep", action="store_true", help="keep the best inputs for the tests")
    options = parser.parse_args()
    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    findings = total = 0
    print(f"{'target':<12} {'executions':>12} {'a second':>9}", flush=True)
    for name in options.targets or TARGETS:
        outcome = run(name, options.seconds, options.runs)
        total += outcome.executions
        pace = outcome.executions / outcome.seconds
        print(f"{name:<12} {outcome.executions:>12,} {pace:>9,.0f}", end="", flush=True)
        print(f"  {keep_best(name)} inputs kept" if options.keep else "", flush=True)
        if outcome.finding:
            findings += 1
            print(f"  FOUND something, see .fuzz/{name}.found/\n{outcome.finding}", flush=True)
    print(f"{'in all':<12} {total:>12,} {'':>9}  findings: {findings}")
    return findings > 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process"]:
        fuzz(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
