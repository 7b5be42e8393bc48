"""What the operating system says a process has used: CPU time and resident memory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from time import clock_gettime_ns, sleep

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


def system_share(pid: int) -> tuple[float, float]:
    """User and system CPU seconds of the process, to 10 ms, to tell how `cpu_ns` divides."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


def resident_kib(pid: int) -> int:
    """Resident memory in KiB, exact: /proc/PID/status is a sum of per-processor counters that lag
    behind.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise OSError(f"no Rss of process {pid}")


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
