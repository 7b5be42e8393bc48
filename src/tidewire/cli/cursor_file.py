"""A file that keeps a subscriber's cursor, so that it goes on after a restart."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 1 << 16


class CursorFile:
    """The cursor is the file's first line.

    It is written in place with one system call after each envelope, so a kill at any moment leaves
    the old cursor or the new one. A shorter cursor leaves the end of a longer one after its line;
    nobody reads that. The file is locked: two subscribers would throw each other back.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            OSError: if that is not possible; ``BlockingIOError`` if another process has it.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            first, end, _ = os.pread(self._descriptor, _LONGEST, 0).partition(b"\n")
        except OSError:
            os.close(self._descriptor)
            raise
        self._kept = first.decode("ascii", "replace").strip() if end else ""

    @property
    def cursor(self) -> str | None:
        """What is kept; ``None`` in a new file."""
        return self._kept or None

    def keep(self, cursor: str | None) -> None:
        """Remember *cursor*, if there is one."""
        if cursor is not None and cursor != self._kept:
            os.pwrite(self._descriptor, f"{cursor}\n".encode(), 0)
            self._kept = cursor

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._descriptor)
