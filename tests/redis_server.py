"""A real Redis server for tests: on free loopback ports, in a directory of its own, quick to start.

Debian's package ``redis-tools`` is enough: Redis is one program that looks at the name by which it
is called, and that package has it as ``redis-check-rdb``, without a service that would run by
itself. What is started here ends with the thread that started it, whatever kills the tests.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from io import BufferedReader

    from tests.certificates import Authority

HOST = "127.0.0.1"
PORTS = range(15_000, 30_000)
"""Below those that the system gives to clients: one of them could take the port of a server that
is away for a moment, or even connect to itself on it.
"""

START_TIMEOUT = 20.0
"""Seconds until it must answer; far above the usual ones, for a loaded machine."""

ANSWER_TIMEOUT = 10.0
"""Seconds for one command."""

TAKEN = "Address already in use"
SHOWN = 3_000
"""Characters of a log that are shown at most."""

Answer = Any
"""What a command answers: text, a number, ``None``, or a list of such."""


class RedisError(Exception):
    """The server answered a command with an error."""


class RedisStartError(Exception):
    """The server ended, or stayed silent, instead of answering."""


def program() -> str:
    """The program that is Redis, under whatever name it is here."""
    for name in ("redis-server", "redis-check-rdb", "valkey-server"):
        if found := shutil.which(name):
            return found
    raise RedisStartError("there is no redis-server: run scripts/system-packages test")


def free_port() -> int:
    """A port that nobody listens on now."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


class RedisServer:
    """One running Redis. It keeps nothing on disk unless ``appendonly="yes"`` is among *options*.

    *options* are those of ``redis.conf``, with ``_`` for ``-`` and a tuple for several words. Files
    of *include* stand before them, and say what is kept. With *tls* it speaks TLS only, by a
    certificate of that authority. With *sentinel*, lines of ``sentinel.conf``, it is a Sentinel.
    """

    def __init__(
        self,
        directory: Path,
        *,
        password: str = "",
        tls: Authority | None = None,
        sentinel: Sequence[str] = (),
        include: Sequence[Path] = (),
        **options: object,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.password = password
        self._authority = tls
        self._sentinel = sentinel
        self._include = include
        self._options: dict[str, object] = {}
        if not include:
            self._options |= {"save": "", "appendonly": "no"}
        self._options["repl-diskless-sync-delay"] = 0
        self._options |= {name.replace("_", "-"): value for name, value in options.items()}
        self._log = directory / "redis.log"
        self._configuration = directory / "redis.conf"
        self.port = self.bus_port = 0
        while not self.port:
            self.port = free_port()
            self._configure()
            try:
                self._start()
            except RedisStartError:
                if TAKEN not in self.log():
                    raise
                self._log.unlink()
                self.port = 0

    def _configure(self) -> None:
        """Write the file; Sentinel, and CONFIG REWRITE, change it later."""
        options: dict[str, object] = {"bind": HOST, "dir": self.directory, "daemonize": "no"}
        options |= {"logfile": self._log, "port": self.port}
        if self._authority is not None:
            pair = self._authority.issue(f"redis-{self.port}")
            options |= {"port": 0, "tls-port": self.port, "tls-auth-clients": "no"}
            options |= {"tls-cert-file": pair.certificate, "tls-key-file": pair.key}
            options |= {"tls-ca-cert-file": self._authority.file, "tls-replication": "yes"}
        if self.password:
            options |= {"requirepass": self.password, "masterauth": self.password}
        if not self._sentinel:
            options |= self._options
        if options.get("cluster-enabled") == "yes":
            self.bus_port = options["cluster-port"] = free_port()
        lines = [f"include {_quoted(file)}" for file in self._include]
        lines += [f"{name} {_quoted(value)}" for name, value in options.items()]
        self._configuration.write_text("\n".join([*lines, *self._sentinel, ""]))

    def _start(self) -> None:
        kind = "redis-sentinel" if self._sentinel else "redis-server"
        # Its first word is the name that Redis goes by; the program may be called otherwise.
        start = f'exec -a {kind} "$0" "$@"'
        command = ["setpriv", "--pdeathsig", "KILL", "bash", "-c", start]
        with (self.directory / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, program(), str(self._configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.ask("PING")
                return
            except RedisError:
                return  # it loads what it has kept, which is for who waits for that
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise RedisStartError(f"no Redis:\n{self.log()}") from error
                time.sleep(0.005)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return HOST, self.port

    def engine(self, **options: object) -> str:
        """What ``--engine`` takes for a log here; *options* stand behind the question mark."""
        scheme = "redis"
        if self._authority is not None:
            scheme = "rediss"
            options["ca"] = self._authority.file
        return engine_url(scheme, [self], self.password, options)

    @property
    def running(self) -> bool:
        """Whether the process still exists, stopped or not."""
        return self.process.poll() is None

    def log(self) -> str:
        """The end of what it has written so far."""
        files = (self._log, self.directory / "output.txt")
        whole = "".join(f.read_text("utf-8", "replace") for f in files if f.exists())
        return whole[-SHOWN:]

    def ask(self, *words: object, timeout: float = ANSWER_TIMEOUT) -> Answer:
        """Send one command on a connection of its own and return the answer.

        Raises:
            RedisError: if that is an error.
            OSError: if there is none within *timeout* seconds.
        """
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection(self.address, timeout))
            connection = plain
            if self._authority is not None:
                context = self._authority.client_context()
                connection = stack.enter_context(context.wrap_socket(plain, server_hostname=HOST))
            answers = stack.enter_context(connection.makefile("rb"))
            if self.password:
                connection.sendall(_command("AUTH", self.password))
                _read(answers)
            connection.sendall(_command(*words))
            return _read(answers)

    def info(self, section: str) -> Mapping[str, str]:
        """One section of ``INFO``."""
        lines = [line for line in self.ask("INFO", section).splitlines() if ":" in line]
        return dict(line.split(":", 1) for line in lines)

    def configure(self, **options: object) -> None:
        """``CONFIG SET`` while it runs; ``_`` stands for ``-``."""
        for name, value in options.items():
            self.ask("CONFIG", "SET", name.replace("_", "-"), value)

    def stop(self) -> None:
        """Have it stand still (SIGSTOP): connections stay, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Have it go on after :meth:`stop`."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once (SIGKILL); without ``appendonly`` all that it held is gone."""
        self.process.kill()
        self.process.wait()

    def restart(self, *, forget: bool = False) -> None:
        """Start it again on its port; with *forget* without what it has kept on disk."""
        if self.running:
            self.kill()
        if forget:
            shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
            (self.directory / "dump.rdb").unlink(missing_ok=True)
        self._start()
        wait_for(lambda: self.ask("PING") == "PONG")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it, and leave its log where pytest shows it with a failure."""
        self.kill()
        print(f"redis {self.port}, {self.directory}:\n{self.log()}")


def engine_url(
    scheme: str, servers: Iterable[RedisServer], password: str, options: Mapping[str, object]
) -> str:
    """A log on Redis as ``--engine`` takes it."""
    credentials = f":{quote(password, safe='')}@" if password else ""
    hosts = ",".join(f"{HOST}:{server.port}" for server in servers)
    query = f"?{urlencode(options)}" if options else ""
    return f"{scheme}://{credentials}{hosts}{query}"


def wait_for(holds: Callable[[], object], *, within: float = START_TIMEOUT) -> None:
    """Return when ``holds()`` is true; until then an error of Redis or the network counts as no."""
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(OSError, RedisError):
            if holds():
                return
        assert time.monotonic() < deadline, f"not within {within} s: {holds}"
        time.sleep(0.01)


def _quoted(value: object) -> str:
    """A value as it stands in a configuration file; a tuple is several words."""
    words = value if isinstance(value, tuple) else (value,)
    return " ".join(json.dumps(str(word)) for word in words)


def _command(*words: object) -> bytes:
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(t), t) for t in texts)


def _read(answers: BufferedReader) -> Answer:
    """One answer in RESP2.

    Raises:
        RedisError: if it is an error.
        ConnectionError: if the connection ends first.
    """
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the connection ended in the middle of an answer")
    kind, text = line[:1], line[1:-2].decode("utf-8", "replace")
    if kind == b"-":
        raise RedisError(text)
    if kind == b":":
        return int(text)
    if kind == b"$":
        return None if text == "-1" else answers.read(int(text) + 2)[:-2].decode("utf-8", "replace")
    if kind == b"*":
        return None if text == "-1" else [_read(answers) for _ in range(int(text))]
    return text
