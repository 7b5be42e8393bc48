"""``python -m tests.attacks [NAME …]``: carry out attacks, and say what they did."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.attacks.siege import Siege
from tests.attacks.table import ATTACKS


def _main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory, Siege(Path(directory)) as siege:
        siege.settle()
        for name in names:
            attack = ATTACKS[name]
            report = siege.under(attack)
            print(f"{name}, {report.seconds:.1f} s: {report.seen}")
            print(f"  refused {dict(report.refusals)}, asked for health {report.asked} times")
            print(f"  memory {report.before:,}, at most {report.peak:,}, then {report.after:,}")
            print(f"  log {report.log.count(chr(10)):,} lines, latency {report.honest['latency']}")
            for fault in report.faults(attack):
                print(f"  FAULT: {fault}")
            siege.heal(report)


if __name__ == "__main__":
    _main(sys.argv[1:] or list(ATTACKS))
