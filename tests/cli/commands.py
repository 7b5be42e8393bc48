"""Commands run as people run them: processes with arguments, pipes and signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

COMMAND = [sys.executable, "-m", "tidewire"]
# Far above what a command takes, for a loaded machine; a test fails by it only when all is lost.
PATIENCE = 60


def environment(**variables: str) -> dict[str, str]:
    """The process's own, without any setting, and with warnings made errors."""
    clean = {name: v for name, v in os.environ.items() if not name.startswith("TIDEWIRE_")}
    wide = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1", "PYTHONWARNINGS": "error"}
    return clean | wide | variables


class Result(NamedTuple):
    """What a command has printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output read as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def data(self) -> list[Any]:
        """The data of the messages on standard output."""
        return [line["data"] for line in self.lines if line["type"] == "message"]


def run(*arguments: str, stdin: bytes = b"", cwd: Path | None = None, **variables: str) -> Result:
    """Run a command to its end. Whatever happens, it must not show a traceback."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=PATIENCE,
        check=False,
    )
    result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in result.err, result.err
    return result


def serve(
    directory: Path, *flags: str, engine: str = "memory:", port: int = 0, **variables: str
) -> ServerProcess:
    """Start a server and wait until it listens; ``variables`` go into its environment."""
    arguments = ["serve", "--engine", engine, "--port", str(port), *flags]
    variables = {"PYTHONUNBUFFERED": "1"} | variables
    return ServerProcess([*COMMAND, *arguments], environment(**variables), directory)


class Running:
    """A command that goes on, such as ``sub``; ended with the ``with`` block if it still runs."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**variables),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> dict[str, Any]:
        """The next line of standard output; blocks until it is there."""
        assert self.process.stdout is not None
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line

    def told(self, text: str) -> str:
        """Read standard error up to a line that has *text*; return that line."""
        assert self.process.stderr is not None
        read = []
        for raw in self.process.stderr:
            read.append(raw.decode())
            if text in read[-1]:
                return read[-1]
        raise AssertionError(f"{text!r} was not said, but: {''.join(read)}")

    def end(self, number: int | None = None) -> Result:
        """Send a signal, if one is given, and wait for the end; returns what was not read yet."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        result = Result(self.process.returncode, out.decode(), err.decode())
        assert "Traceback" not in result.err, result.err
        return result
