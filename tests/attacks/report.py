"""What an attack did to everybody else, and what of it must not be."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections import Counter

    from tests.attacks.attack import Attack

LOG_LINES, LOG_RATE = 150, 40
"""Lines of an attack, and more for each second of it: the log's disk is attacked, too."""

TROUBLE = re.compile(r"Traceback \(most recent call last\)|Exception ignored|never awaited")
_UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class Report(NamedTuple):
    """What an attack did. Memory is in bytes; ``honest`` is what the honest clients counted."""

    seen: str
    failure: str | None
    seconds: float
    honest: dict[str, Any]
    health: list[str]
    asked: int
    refusals: Counter[str]
    before: int
    peak: int
    after: int
    left: int
    log: str

    def harm(self) -> list[str]:
        """What was lost, and what the attacker got that it should not, in words."""
        found = [self.failure] if self.failure else []
        found += [
            f"honest clients: {self.honest[what]} {what}"
            for what in ("missing", "duplicates", "out_of_order", "gaps", "closed", "unanswered")
            if self.honest[what]
        ]
        return found + list(self.honest["faults"])

    def faults(self, attack: Attack) -> list[str]:
        """All that is not as it must be, in words."""
        found = self.harm() + self.health
        found += [
            f"{reason} was not counted" for reason in attack.counts if not self.refusals[reason]
        ]
        if self.after > self.before + attack.memory:
            found.append(f"memory grew by {self.after - self.before:,} bytes")
        if self.peak > self.before + attack.peak:
            found.append(f"memory grew by {self.peak - self.before:,} bytes meanwhile")
        if self.left > 0:
            found.append(f"{self.left} descriptors were left")
        lines = self.log.count("\n")
        if lines > LOG_LINES + LOG_RATE * self.seconds:
            found.append(f"{lines:,} lines were logged")
        found += log_faults(self.log)
        return found


def log_faults(log: str) -> list[str]:
    """What a log must not have: tracebacks, and lines that are not the server's own."""
    found = [f"trouble in the log: {log[-3000:]}"] if TROUBLE.search(log) else []
    for line in log.splitlines():
        try:
            whole = isinstance(json.loads(line), dict)
        except ValueError:
            whole = False
        if not whole or _UNSAFE.search(line):
            found.append(f"not a line of the server's: {line[:200]!r}")
            break
    return found
