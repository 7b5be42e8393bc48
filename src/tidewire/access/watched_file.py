"""A file of the operator's that is read again when it changes, so that no restart is needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from tidewire.access.unusable import Unusable

logger = logging.getLogger("tidewire.access")

T = TypeVar("T")

_LOOK_INTERVAL = 1.0
_LARGEST = 1 << 20


class UnusableFile(Unusable):
    """The file cannot be read, or does not hold what it should. The text says which and why."""


class WatchedFile(Generic[T]):
    """What a file says.

    It is looked at on use, no more than once a second, and read when its time, size or place on
    the disk is another. When it cannot be used then, what it said before holds on, and the log
    says why.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], T],
        *,
        changed: Callable[[T, T], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file. *parse* raises ``ValueError`` with a sentence if it does not hold.

        *changed* is told what the file said before, and what it says now.

        Raises:
            UnusableFile: if it cannot be used now.
        """
        self._path = path
        self._parse = parse
        self._changed = changed
        self._clock = clock
        self._version = 0
        self._looked = clock()
        self._seen = self._stamp()
        self._value = self._read()

    @property
    def version(self) -> int:
        """Another number after each change. Looks at the file if it is time."""
        now = self._clock()
        if now - self._looked >= _LOOK_INTERVAL:
            self._looked = now
            self._look()
        return self._version

    @property
    def value(self) -> T:
        """What the file said when it could be used last. Looks at it if it is time."""
        _ = self.version
        return self._value

    def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        # Kept before the reading: what is written meanwhile makes another stamp.
        self._seen = stamp
        before = self._value
        try:
            self._value = self._read()
        except UnusableFile as error:
            logger.error("%s; what it said before holds on", error)
        else:
            self._version += 1
            logger.info("%s has changed and was read again", self._path)
            if self._changed is not None:
                self._changed(before, self._value)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> T:
        try:
            with self._path.open("rb") as file:
                data = file.read(_LARGEST + 1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UnusableFile(f"{self._path} cannot be read: {reason}") from None
        if len(data) > _LARGEST:
            raise UnusableFile(f"{self._path} has more than {_LARGEST:,} bytes")
        try:
            return self._parse(data)
        except ValueError as error:
            raise UnusableFile(f"{self._path}: {error}") from None
