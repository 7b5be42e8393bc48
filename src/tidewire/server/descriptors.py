"""File descriptors: each connection is one, and most systems give a process few unless it asks."""

from __future__ import annotations

import contextlib
import resource

MOST = 1 << 20


def take_descriptors() -> int:
    """Take as many as the system lets this process have, at most a million; return the limit.

    The soft limit is a default for programs that would not know what to do with more; a process may
    raise it up to the hard one by itself (getrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return soft
    with contextlib.suppress(OSError, ValueError):  # then it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
