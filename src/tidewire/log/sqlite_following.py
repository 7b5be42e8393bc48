"""How a process hears of what others append to its file: they tell it, and it looks by itself."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from asyncio import Future
from collections.abc import Callable

from tidewire.log.engine import Feed
from tidewire.log.sqlite_file import connect
from tidewire.log.sqlite_notes import from_note, to_note
from tidewire.log.sqlite_wake import Wake
from tidewire.log.sqlite_writer import Writer
from tidewire.log.worker import Worker
from tidewire.model import Message

logger = logging.getLogger("tidewire.log")

WATCH_SECONDS = 0.05
CHECK_LOOKS = 20  # looks between two checks of whether the others find this process
PAUSE_SECONDS = 0.002
"""Between two reads because of notes: what comes in between shares the second one."""


class Following:
    """Follows the others' messages; *feed* gets them, in the order of their ids, each once.

    They come in four ways, whichever is first: in a note of who has committed them, by being read
    because a note has said so, by being read because of a look, and with a transaction of this
    process. While *is_committing* there is no need to read.
    """

    def __init__(
        self,
        path: str,
        loop: asyncio.AbstractEventLoop,
        writing: Worker,
        writer: Writer,
        is_committing: Callable[[], bool],
        feed: Feed,
    ) -> None:
        self._path = path
        self._loop = loop
        self._writing = writing
        self._writer = writer
        self._is_committing = is_committing
        self._feed = feed
        self._fed = writer.seen  # the newest id that the feed has had
        self._watch = connect(path)
        self._version = -1  # unlike any: others may have appended since the writer looked
        self._looks = 0
        self._reading = False
        self._woken = False  # since the last read began
        self._pause_ends = 0.0
        self._timer: asyncio.TimerHandle | None = None  # of the read after a pause
        self._wake: Wake | None = None
        self._open_wake()
        self._look_timer = loop.call_later(WATCH_SECONDS, self._look)

    def close(self) -> None:
        """Follow no more; what is being read still comes."""
        self._woken = False
        self._look_timer.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._close_wake()
        self._watch.close()

    def committed(self, messages: list[Message], before: int) -> None:
        """A transaction of this process has brought *messages*, its own ones after *before*."""
        if self._wake is not None and messages[-1].id > before and self._wake.has_others():
            own = messages if messages[0].id > before else [m for m in messages if m.id > before]
            self._wake.tell_others(to_note(before, own))
        self._pass_on(messages)

    def _pass_on(self, messages: list[Message]) -> None:
        """Feed what is new of *messages*, which follow on what was fed before without a hole."""
        if messages[0].id <= self._fed:
            messages = [message for message in messages if message.id > self._fed]
            if not messages:
                return
        self._fed = messages[-1].id
        self._feed(messages)

    def idle(self) -> None:
        """No transaction is on its way any more."""
        if self._woken:
            self._read_soon()

    # Being told

    def _open_wake(self) -> None:
        try:
            self._wake = Wake(self._path)
        except OSError as error:
            logger.warning(
                "the processes of %s cannot wake each other (%s): messages of another one come "
                "after up to %d ms",
                self._path,
                error.strerror or error,
                WATCH_SECONDS * 1000,
            )
        else:
            self._loop.add_reader(self._wake.fileno(), self._on_wake)

    def _close_wake(self) -> None:
        if self._wake is not None:
            self._loop.remove_reader(self._wake.fileno())
            self._wake.close()
            self._wake = None

    def _on_wake(self) -> None:
        assert self._wake is not None
        fed = self._fed
        for data in self._wake.take():
            note = from_note(data, self._writer.epoch)
            if note is None or note.before > self._fed:
                self._woken = True  # something is missing
            elif note.messages[-1].id > self._fed:
                self._pass_on(note.messages)
        if self._fed > fed:
            self._writer.has_seen(self._fed)
        if self._woken:
            self._read_soon()

    def _read_soon(self) -> None:
        """Read now, after the pause, or when what is under way has ended."""
        if self._reading or self._timer is not None or self._is_committing():
            return
        if self._loop.time() < self._pause_ends:
            self._timer = self._loop.call_at(self._pause_ends, self._pause_over)
        else:
            self._read()

    def _pause_over(self) -> None:
        self._timer = None
        self._read_soon()

    # Looking

    def _data_version(self) -> int:
        """Changes when any other connection, of this process or another, has committed."""
        try:
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            logger.warning("the log cannot be watched: %s", error)
            return -1

    def _look(self) -> None:
        """See whether another process has appended; ask the file's shared memory, not the disk."""
        self._look_timer = self._loop.call_later(WATCH_SECONDS, self._look)
        version = self._data_version()
        if version != self._version and not self._is_committing():
            self._version = version
            self._read()
        self._looks += 1
        if self._looks % CHECK_LOOKS == 0 and self._wake and not self._wake.is_reachable():
            self._close_wake()
            self._open_wake()

    def _read(self) -> None:
        self._woken = False
        self._reading = True
        self._writing.submit(self._writer.catch_up).add_done_callback(self._have_read)

    def _have_read(self, found: Future[list[Message]]) -> None:
        self._reading = False
        self._pause_ends = self._loop.time() + PAUSE_SECONDS
        error = found.exception()
        if error is not None:
            logger.warning("%s", error)
            self._version = -1  # look again
        elif messages := found.result():
            self._pass_on(messages)
        if self._woken:
            self._read_soon()
