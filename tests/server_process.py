"""A real Tidewire server in a process of its own, as users start it.

Nothing here knows the server's insides: it is found by the line it prints when it is ready, driven
by signals, and watched through ``/proc``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

READY = re.compile(r"^tidewire listening on https?://(\[[^\]]+\]|[^\s:/]+):(\d+)")
START_TIMEOUT = 60.0
"""Seconds a server may take until it listens; far above the usual one, for a loaded machine."""

LISTENING = "0A"
NOT_ACCEPTED = ("01", "03", "08")
"""Established, being opened, or closed by the client: states of the kernel's ``tcp_states.h``.

In any other state a socket that belongs to no process is one that the server is done with.
"""


class StartError(Exception):
    """The server ended, or stayed silent, instead of starting to listen."""


class ServerProcess:
    """One running server; ``url`` and ``address`` say where, ``log()`` what it has written."""

    def __init__(self, command: list[str], environment: Mapping[str, str], directory: Path) -> None:
        self._error_path = directory / "stderr.txt"
        with self._error_path.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._lines: list[str] = []
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()
        self._started.wait(START_TIMEOUT)
        ready = next(filter(None, map(READY.match, self._lines)), None)
        if ready is None:
            self.kill()
            raise StartError(f"{' '.join(command)} did not start to listen:\n{self.log()}")
        self.scheme = "https" if " https:" in ready[0] else "http"
        self.host = ready[1].strip("[]")
        self.port = int(ready[2])

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._lines.append(line.decode("utf-8", "replace"))
                if READY.match(self._lines[-1]):
                    self._started.set()
        self._started.set()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as ``socket.create_connection`` takes them."""
        return self.host, self.port

    @property
    def url(self) -> str:
        """The address as ``http://host:port``, or with ``https``; without a slash at the end."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process still exists."""
        return self.process.poll() is None

    def log(self) -> str:
        """All that the server has written so far, on both streams."""
        return "".join(self._lines) + self._error_path.read_text("utf-8", "replace")

    def resident_memory(self) -> int:
        """Bytes of physical memory held by the process now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024  # type: ignore[index]

    def cpu_seconds(self) -> float:
        """User and system time the process has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """How many files, sockets and the like the process has open now."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connections(self) -> int:
        """How many TCP connections the server has, those it has not accepted yet included.

        Read from the kernel's table (proc_pid_net(5)), not by counting descriptors: a client
        that came and left within a moment still waits in the listening socket's queue, where a
        count of descriptors misses it now and finds it a moment later.
        """
        count = 0
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.process.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                port, state, inode = fields[1].rpartition(":")[2], fields[3], fields[9]
                if int(port, 16) == self.port and state != LISTENING:
                    count += inode != "0" or state in NOT_ACCEPTED
        return count

    def terminate(self) -> None:
        """Ask for an orderly end: SIGTERM to the server's own process."""
        self.process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ask for an orderly end as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def hang_up(self) -> None:
        """Ask it to read its files again."""
        self.process.send_signal(signal.SIGHUP)

    def wait(self, timeout: float = 15) -> int:
        """Wait at most ``timeout`` seconds for the end; a negative exit code names a signal."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def kill(self) -> None:
        """End it at once, with every process it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()


def start_server(
    directory: Path,
    *,
    engine: str = "memory:",
    port: int = 0,
    files: int | None = None,
    **settings: object,
) -> ServerProcess:
    """Start a server that keeps its files in ``directory`` and return it when it listens.

    ``files`` is how many descriptors the system gives it at most. ``settings`` are named as in
    ``tidewire.toml``; they are handed over as ``TIDEWIRE_*``.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TIDEWIRE_")}
    environment["PYTHONUNBUFFERED"] = "1"
    for name, value in settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        environment[f"TIDEWIRE_{name.upper()}"] = text
    tidewire = str(Path(sys.executable).with_name("tidewire"))
    command = [tidewire, "serve", "--engine", engine, "--port", str(port)]
    if files is not None:
        command = ["prlimit", f"--nofile={files}:{files}", *command]
    return ServerProcess(command, environment, directory)
