"""How the processes that have one log file open wake each other: a datagram socket for each.

The sockets stand in a folder beside the file, ``log.db-wake`` beside ``log.db``, so whoever may
write to the file finds them, from other containers, too. What is sent may get lost: whoever waits
for it looks by himself from time to time.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
import time
from contextlib import suppress

SUFFIX = "-wake"
LONGEST_ADDRESS = 100
"""Bytes of a path that every system takes as the address of a socket."""

FRESH_SECONDS = 1.0
"""How long a folder that was changed is read again each time: its clock is a coarse one."""

STALE_SECONDS = 60.0
ATTEMPTS = 3
LONGEST_NOTE = 64 << 10
"""Bytes."""

MOST_NOTES = 64
"""Notes taken at a time; the kernel keeps about ten."""


class Wake:
    """This process's socket, and those of the others. Used on one thread; nothing here blocks."""

    def __init__(self, path: str) -> None:
        """Open a socket beside the file *path*, which is there.

        Raises:
            OSError: if the file system or its rights do not allow that.
        """
        self._file = os.path.realpath(path)
        self._folder = self._file + SUFFIX
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        # A socket to each of the others: what one does not take is no burden to the rest.
        self._others: dict[str, socket.socket] = {}
        self._read_at = 0.0
        self._changed = -1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._directory = -1
        try:
            self._socket.setblocking(False)
            self._enter()
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """The descriptor that can be read when somebody has woken this process."""
        return self._socket.fileno()

    def has_others(self) -> bool:
        """Whether there is anybody to be told something."""
        try:
            if os.fstat(self._directory).st_mtime_ns != self._changed or self._is_fresh():
                self._read()
        except OSError:
            return False
        return bool(self._others)

    def tell_others(self, note: bytes) -> None:
        """Send *note* to the others that ``has_others`` has found.

        Who does not take what is sent to him does without: he has something to wake him.
        """
        for name, other in list(self._others.items()):
            try:
                other.send(note)
            except BlockingIOError:
                continue
            except OSError:  # it has left, or was killed
                self._forget(name)
                self._remove(name)

    def take(self) -> list[bytes]:
        """The notes that have come."""
        notes: list[bytes] = []
        with suppress(OSError):
            while len(notes) < MOST_NOTES:
                notes.append(self._socket.recv(LONGEST_NOTE))
        return notes

    def is_reachable(self) -> bool:
        """Whether the others can still find this process: somebody may have cleared the folder."""
        try:
            os.stat(os.path.join(self._folder, self._name))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Leave; the last one takes the folder away."""
        for name in list(self._others):
            self._forget(name)
        if self._directory >= 0:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._directory)
            with suppress(OSError):
                os.rmdir(self._folder)
            os.close(self._directory)
            self._directory = -1
        self._socket.close()

    def _enter(self) -> None:
        """Make the folder and the socket in it; another process may just be removing the folder."""
        rights = stat.S_IMODE(os.stat(self._file).st_mode) & 0o666
        for attempt in range(1, ATTEMPTS + 1):
            with suppress(FileExistsError):
                os.mkdir(self._folder)
                # Who may write to the file may come in here.
                os.chmod(self._folder, rights | (rights & 0o444) >> 2 | 0o700)
            self._directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._bind(rights)
            except FileNotFoundError:
                os.close(self._directory)
                self._directory = -1
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def _bind(self, rights: int) -> None:
        # Under a name of its own at first: what stands there under another can be reached.
        hidden = "." + self._name
        self._socket.bind(self._address(hidden))
        os.chmod(hidden, rights, dir_fd=self._directory)
        os.rename(hidden, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _address(self, name: str) -> str:
        path = f"{self._folder}/{name}"
        if len(os.fsencode(path)) <= LONGEST_ADDRESS:
            return path
        return f"/proc/self/fd/{self._directory}/{name}"

    def _is_fresh(self) -> bool:
        """Whether the folder was read just after a change, which may hide another one."""
        return self._read_at - self._changed / 1e9 < FRESH_SECONDS

    def _read(self) -> None:
        self._read_at = time.time()
        self._changed = os.fstat(self._directory).st_mtime_ns
        names = set(os.listdir(self._directory)) - {self._name}
        for name in self._others.keys() - names:
            self._forget(name)
        for name in names - self._others.keys():
            if name.startswith("."):
                self._remove_stale(name)
            else:
                self._connect(name)

    def _connect(self, name: str) -> None:
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            other.setblocking(False)
            other.connect(self._address(name))
        except ConnectionRefusedError:  # it was killed
            other.close()
            self._remove(name)
        except OSError:  # it has just left, or it is not for us to tell
            other.close()
        else:
            self._others[name] = other

    def _forget(self, name: str) -> None:
        self._others.pop(name).close()

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(name, dir_fd=self._directory)

    def _remove_stale(self, name: str) -> None:
        """What a process has left that was killed before it could be reached."""
        with suppress(OSError):
            if self._read_at - os.stat(name, dir_fd=self._directory).st_mtime > STALE_SECONDS:
                self._remove(name)
