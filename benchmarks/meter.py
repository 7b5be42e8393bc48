"""What the operating system says a process has used: CPU time and resident memory."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from time import clock_gettime_ns, sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTLED_KIB = 64
SETTLE_SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_ns(pid: int) -> int:
    """CPU time, user and system, that all threads of the process have had since it started, in ns.

    Linux gives every process a clock of its own, exact to the nanosecond, unlike the 10 ms of
    /proc/PID/stat. The clock's number is made of the process's: the kernel's ABI,
    `clock_getcpuclockid` in C.
    """
    return clock_gettime_ns((~pid << 3) | 2)


def family(pid: int) -> list[int]:
    """The process and all that it has started, children of children included, as far as they are
    still there.
    """
    members = [pid]
    for member in members:
        with suppress(OSError):  # it has ended meanwhile
            for task in Path(f"/proc/{member}/task").iterdir():
                members += map(int, (task / "children").read_text().split())
    return members


def proportional_kib(pids: Iterable[int]) -> int:
    """Resident memory of several processes in KiB, pages that they share counted once (PSS)."""
    return sum(_rollup(pid, "Pss:") for pid in pids)


def system_share(pid: int) -> tuple[float, float]:
    """User and system CPU seconds of the process, to 10 ms, to tell how `cpu_ns` divides."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


def resident_kib(pid: int) -> int:
    """Resident memory in KiB, exact: /proc/PID/status is a sum of per-processor counters that lag
    behind.
    """
    return _rollup(pid, "Rss:")


def _rollup(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise OSError(f"no {name} of process {pid}")


def settled_resident_kib(pid: int) -> int:
    """Resident memory once it has stopped changing by more than 64 KiB in half a second, at most 20
    s from now.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    last = resident_kib(pid)
    while True:
        sleep(0.5)
        current = resident_kib(pid)
        if abs(current - last) <= SETTLED_KIB or time.monotonic() > deadline:
            return current
        last = current
