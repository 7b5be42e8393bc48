"""The attacker, in a process of its own: it carries out what it is told, one attack after another.

Its argument is how nice it is to the others on this machine, 0 to 19. The first line of JSON on
standard input has the facts; each further one names an attack, and is answered by a line with what
was seen, or with a failure.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback

from tests.attacks.table import ATTACKS
from tests.attacks.target import Facts, Target

BETWEEN = 0.3
"""Seconds between the same attack and itself: else most of it would be put off at the door."""


def _main() -> None:
    os.nice(int(sys.argv[1]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    facts = Facts(**json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        print(json.dumps(_carried_out(facts, **json.loads(line))), flush=True)


def _carried_out(facts: Facts, attack: str, seconds: float) -> dict[str, object]:
    """Carry out an attack, again and again until so many seconds have passed."""
    target = Target(facts)
    began = time.monotonic()
    answer: dict[str, object] = {}
    try:
        while "seen" not in answer or time.monotonic() - began < seconds:
            if "seen" in answer:
                time.sleep(BETWEEN)
            with target.attacked():
                answer["seen"] = ATTACKS[attack].carry_out(target)
    except Exception:
        answer["failure"] = traceback.format_exc()
    return answer | {"secrets": target.secrets, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    _main()
