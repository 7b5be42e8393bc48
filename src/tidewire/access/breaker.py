"""The circuit breaker: no new clients when open files or memory are about to run out.

The kernel gives a new connection the lowest descriptor that is free. So its number says how many
are in use at the least, and costs nothing to ask. How many there are in all is counted, once a
second, only while the breaker is open: a low number that has become free says nothing of the rest.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

logger = logging.getLogger("tidewire.access")

Reason = Literal["files", "memory"]
REASONS: tuple[Reason, ...] = ("files", "memory")

LOOK_SECONDS = 1.0
LOOK_CLIENTS = 64
"""New clients after which memory is looked at again, within the second: each may take much."""

GIVE_BACK_SECONDS = 10.0
"""Time between attempts to have less memory, while that is short. One may take 0.1 s."""

_MEMORY_LOW = 0.95  # of the limit, below which new clients are served again
_OWN_FILES = Path("/proc/self/fd")
_OWN_MEMORY = Path("/proc/self/statm")
_NO_LIMIT = 1 << 30
_PAGE = resource.getpagesize()


class Process(Protocol):
    """What the breaker has to know of the process that it is in."""

    def most_files(self) -> int:
        """How many descriptors it may have."""
        ...

    def open_files(self) -> int:
        """How many it has."""
        ...

    def resident(self) -> int:
        """Bytes of memory that it takes up."""
        ...

    def give_back(self) -> None:
        """Give memory that it has no use for back to the system."""
        ...


class ThisProcess:
    """The process that asks."""

    def most_files(self) -> int:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return _NO_LIMIT if most == resource.RLIM_INFINITY else most

    def open_files(self) -> int:
        # Linux 6.2 and later say it as the size of the folder; others have to list it.
        return _OWN_FILES.stat().st_size or len(os.listdir(_OWN_FILES)) - 1

    def resident(self) -> int:
        return int(_OWN_MEMORY.read_bytes().split()[1]) * _PAGE

    def give_back(self) -> None:
        # The C library keeps what lies between blocks in use, until it is asked.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
        if trim is not None:
            trim(0)


class Reserve(NamedTuple):
    """Numbers of descriptors. From ``opens`` on no new client is served, until no more than
    ``closes`` are in use; ``refused`` clients may wait for their refusal at a time; who gets
    ``last`` or more is not even told. What is left is for the log and for uploads.
    """

    opens: int
    closes: int
    refused: int
    last: int

    @classmethod
    def of(cls, most: int) -> Reserve:
        """What is kept back of *most* descriptors: a sixteenth, but 32 at least and 512 at most."""
        size = min(max(32, most // 16), 512, most // 2)
        opens = most - size
        return cls(opens, opens - max(size // 2, opens // 20), max(size // 2, 1), most - size // 4)


class Breaker:
    """Says when to serve no new clients. *max_memory* is in bytes, 0 for no limit.

    Times are those of one clock that never goes back.
    """

    def __init__(self, process: Process, max_memory: int) -> None:
        self._process = process
        self._max_memory = max_memory
        self._look_at = self._give_back_at = 0.0
        self._clients = 0  # since the last look at memory
        self._open: dict[Reason, bool] = dict.fromkeys(REASONS, False)
        self.reserve = Reserve.of(process.most_files())

    def is_open(self, reason: Reason) -> bool:
        """Whether new clients are refused for it, as far as was known at the last look."""
        return self._open[reason]

    def refusal(self, file: int, now: float, waiting: int) -> Reason | None:
        """Why the client with the descriptor *file* is not to be served.

        *waiting* descriptors belong to others that are refused, and will be free in a moment.
        """
        self.look(now, waiting)
        if self._max_memory:
            self._clients += 1
            if self._clients >= LOOK_CLIENTS:
                self._look_at_memory(now)
        if file >= self.reserve.opens and not self._open["files"]:
            self._set("files", True, f"{file} of {self._process.most_files()} files are open")
        for reason in REASONS:
            if self._open[reason]:
                return reason
        return None

    def look(self, now: float, waiting: int) -> None:
        """See how things are, once a second at most."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        process = self._process
        self.reserve = Reserve.of(process.most_files())  # it may be changed while we run
        if self._open["files"]:
            used = process.open_files()
            if used - waiting <= self.reserve.closes:
                self._set("files", False, f"{used} of {process.most_files()} files are open")
        if self._max_memory:
            self._look_at_memory(now)

    def _look_at_memory(self, now: float) -> None:
        self._clients = 0
        process = self._process
        if self._open["memory"] and now >= self._give_back_at:
            self._give_back_at = now + GIVE_BACK_SECONDS
            process.give_back()
        resident = process.resident()
        low = self._max_memory * (_MEMORY_LOW if self._open["memory"] else 1.0)
        what = f"{resident >> 20} of {self._max_memory >> 20} MiB are in use"
        self._set("memory", resident >= low, what)

    def _set(self, reason: Reason, refused: bool, what: str) -> None:
        if refused == self._open[reason]:
            return
        self._open[reason] = refused
        if not refused:
            logger.warning("new clients are served again: %s", what)
        elif reason == "files":
            logger.warning(
                "new clients are refused: %s; allow more (ulimit -n, LimitNOFILE of systemd)", what
            )
        else:
            logger.warning("new clients are refused: %s; see max_memory", what)
