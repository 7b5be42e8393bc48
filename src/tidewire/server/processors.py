"""How many processors this process may use, which is not how many there are."""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def usable_processors() -> int:
    """Those that the system lets the process run on, and that a container's quota pays for."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, _quota()))


def _quota() -> int:
    """Whole processors, rounded up, of the tightest quota (cgroup v2) on the way to the root."""
    least = math.inf
    try:
        lines = _OWN_GROUP.read_text().splitlines()
        own = next(line[3:] for line in lines if line.startswith("0::"))
    except (OSError, StopIteration):
        return os.cpu_count() or 1
    group = _GROUPS / own.lstrip("/")
    for folder in (group, *group.parents):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            if quota != "max":
                least = min(least, int(quota) / int(period))
        except (OSError, ValueError):
            pass
        if folder == _GROUPS:
            break
    return os.cpu_count() or 1 if math.isinf(least) else math.ceil(least)
