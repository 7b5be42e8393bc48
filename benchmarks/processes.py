"""Starting what is measured, and what measures, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.loadgen.generator import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.loadgen.publishers import Way
    from benchmarks.loadgen.subscribers import Transport

HERE = Path(__file__).parent
TIDEWIRE = (sys.executable, "-m", "tidewire", "serve")
"""The command that starts Tidewire; the cases add only `--engine` and `--port`."""
START_SECONDS = 15.0
STOP_SECONDS = 15.0


class ProcessError(Exception):
    """A process did not do what the benchmark needs of it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    pid: int
    url: str

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])


@contextmanager
def serving(command: Sequence[str], directory: Path, stdin: bytes = b"") -> Iterator[Server]:
    """A server, started in `directory`, from its line `… listening on http://HOST:PORT` to its
    SIGTERM.

    Raises `ProcessError` when it ends or says nothing for 15 s. What it prints is kept in files,
    not in a pipe, which would stop it once full.
    """
    name = f"{Path(command[0]).name}-{time.monotonic_ns()}"
    paths = [directory / f"{name}.{kind}" for kind in ("in", "out", "err")]
    paths[0].write_bytes(stdin)
    modules = (str(HERE.parent), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, modules))}
    with paths[0].open("rb") as given, paths[1].open("wb") as out, paths[2].open("wb") as err:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=given, stdout=out, stderr=err
        )
    try:
        yield Server(process.pid, _wait_for_url(process, paths[1], paths[2]))
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_url(process: subprocess.Popen[bytes], out: Path, err: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for line in out.read_text().splitlines(keepends=True):
            if " listening on http://" in line and line.endswith("\n"):
                return line.split(" listening on ", 1)[1].split()[0]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise ProcessError(f"{process.args!r} did not start: {err.read_text()[-2000:]}")


class LoadGenerator:
    """The load generator's process; see `benchmarks.loadgen.generator` for what it does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-m", "benchmarks.loadgen"),
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def open(
        self, stream: str, transport: Transport, server: Server, count: int, **options: Any
    ) -> None:
        """Opens `count` more subscribers to the channel `bench` of a server."""
        self._ask(
            do="open",
            stream=stream,
            transport=transport,
            url=server.url,
            channel="bench",
            count=count,
            **options,
        )

    def publish(self, stream: str, way: Way, publishes: int, rate: float, **options: Any) -> Window:
        """Publishes to a stream and counts what arrives."""
        return Window(
            **self._ask(
                do="publish", stream=stream, way=way, publishes=publishes, rate=rate, **options
            )
        )

    def close(self, stream: str) -> None:
        """Closes the subscribers of a stream."""
        self._ask(do="close", stream=stream)

    def _ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ProcessError(f"the load generator ended while it did {command}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ProcessError(f"{command['do']} {command['stream']}: {answer['error']}")
        return answer


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """What `http_load` counted."""

    seconds: float
    answers: int
    bytes: int
    broken: int
    statuses: dict[str, int]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


def http_load(
    program: Path, server: Server, request: bytes, connections: int, seconds: float
) -> HttpLoad:
    """Loads a server with one request over and over; see http_load.c."""
    arguments = (program, str(server.port), str(connections), str(seconds))
    done = subprocess.run(arguments, input=request, stdout=subprocess.PIPE, check=True)
    return HttpLoad(**json.loads(done.stdout))


def compiled(name: str, directory: Path) -> Path:
    """The program `benchmarks/NAME.c`, built with ``gcc -O2`` into `directory`."""
    program = directory / name
    source = HERE / f"{name}.c"
    subprocess.run(("gcc", "-O2", "-std=gnu11", "-o", program, source), check=True)
    return program
