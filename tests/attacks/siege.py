"""A server as it stands on the open internet, 100 honest clients that measure, and an attacker.

Each is a process of its own. What an attack did to the others is told as a ``Report``.
"""

from __future__ import annotations

import os
import re
import resource
import secrets
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.acceptance.raw_http import RawConnection
from tests.attacks import honest
from tests.attacks.bookkeeping import CHANNELS
from tests.attacks.child import ROOT, Child
from tests.attacks.report import Report
from tests.attacks.target import Facts, Target
from tests.server_process import start_server

if TYPE_CHECKING:
    from tests.attacks.attack import Attack

CONFIG = ROOT / "deploy" / "internet.toml"
AUTHORITY = "realtime.example.com"
ORIGIN = "https://app.example.com"
COOKIE = "session"

SHORTENED = {"head_timeout": 4.0, "body_timeout": 4.0, "stall_timeout": 3.0}
"""Times of the file that a test cannot wait for.

Longer than a busy machine lets a process stand still: they are not to end what nobody attacks.
"""

FILES = 1024
"""Open files that the server may have: what most systems give a process that asks for no more."""

YIELDS, PREFERRED = 19, -15
"""How nice the attacker is to others, and those it attacks, where a figure is wanted."""

HEALTH_TIMEOUT = 10.0
"""Seconds in which the server has to say that it is alive, whatever is done to it."""
HEALTH_EVERY = 0.1
QUIET_AGAIN = 10.0
"""Seconds after which nothing is left of an attack: no connection, and hardly any memory."""


_REFUSALS = re.compile(r'^tidewire_refusals_total\{reason="(\w+)"\} (\S+)$', re.MULTILINE)


class _Watch(threading.Thread):
    """Asks for the server's health and looks at its memory, until it is told to end."""

    def __init__(self, siege: Siege) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.asked = 0
        self.peak = 0
        self.over = threading.Event()
        self._siege = siege

    def run(self) -> None:
        while not self.over.wait(HEALTH_EVERY):
            self.peak = max(self.peak, self._siege.memory())
            try:
                answer = self._siege.ask("/healthz")
                if answer != (200, b'{"status":"ok"}'):
                    self.faults.append(f"/healthz: {answer}")
            except OSError as error:
                self.faults.append(f"/healthz: {error!r}")
            self.asked += 1


class Siege:
    """A server with ``deploy/internet.toml``; as a context, with everybody around it.

    For figures: *engine* ``memory:`` leaves the disk out of them. With *alone* the attacker yields
    to the others, whose machine it would not be on, and they go before whatever else runs here, if
    that is allowed.
    """

    def __init__(self, directory: Path, *, engine: str | None = None, alone: bool = False) -> None:
        self._alone = alone
        self._directory = directory
        self._engine = engine or f"sqlite:///{directory}/log.db"
        self._key, self._secret = secrets.token_hex(32), secrets.token_hex(32)
        self._processes = ExitStack()
        self._read_log = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = start_server(
                self._directory,
                engine=self._engine,
                files=FILES,
                config=CONFIG,
                api_key=self._key,
                token_secret=self._secret,
                token_cookie=COOKIE,
                head_timeout=SHORTENED["head_timeout"],
                body_timeout=SHORTENED["body_timeout"],
                stall_timeout=SHORTENED["stall_timeout"],
            )
            stack.callback(self._stop)
            self._prefer(self.server.process.pid)
            self._facts = facts = Facts(
                host=self.server.host,
                port=self.server.port,
                authority=AUTHORITY,
                origin=ORIGIN,
                audience=AUTHORITY,
                secret=self._secret,
                key=self._key,
                cookie=COOKIE,
                **SHORTENED,
            )
            self._tokens = self._honest_tokens(Target(facts))
            self._attacker = Child("tests.attacks.attacker", str(YIELDS if self._alone else 0))
            stack.callback(self._attacker.close)
            self._attacker.tell(facts._asdict())
            self._crowd = self._gathered()
            stack.callback(lambda: self._crowd.close())
            self._processes = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.close()

    def _stop(self) -> None:
        if self.server.running:
            self.server.kill()

    def _prefer(self, pid: int) -> None:
        if self._alone:
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, pid, PREFERRED)

    def _honest_tokens(self, target: Target) -> list[str]:
        rights = {channel: ["subscribe"] for channel in CHANNELS}
        return [
            target.token(f"user-{n}", rights, lasts=3600, jti=f"honest-{n}")
            for n in range(honest.USERS)
        ]

    def _gathered(self) -> Child:
        """The honest clients, all of them subscribed."""
        crowd = Child("tests.attacks.honest")
        self._prefer(crowd.pid)
        try:
            crowd.ask(
                do="open",
                url=self.server.url,
                authority=AUTHORITY,
                origin=ORIGIN,
                key=self._key,
                tokens=self._tokens,
            )
        except BaseException:
            crowd.close()
            raise
        return crowd

    def settle(self) -> None:
        """Fill what the server keeps in memory by design: from now on it should not grow."""
        target = Target(self._facts)
        with target.attacked():
            batch = {"messages": [{"channel": "filler", "data": "x" * 60_000} for _ in range(16)]}
            for _ in range(20):
                assert target.post("/publish", batch, target.back_end).status == 200
        self.quiet(2)
        self.settled = self.memory()

    def heal(self, report: Report) -> None:
        """Take new honest clients if an attack has hurt those that there were."""
        if not report.honest["faults"] and not report.honest["missing"]:
            return
        self._crowd.close()
        self._wait(lambda: self.server.connections() == 0)
        self._crowd = self._gathered()

    # What is looked at

    def ask(self, target: str, **headers: str) -> tuple[int, bytes]:
        """One GET on a new connection, as whoever watches over the server makes it."""
        address = self.server.address
        with RawConnection(address, timeout=HEALTH_TIMEOUT, source="127.0.3.1") as connection:
            answer = connection.get(target, {"Host": AUTHORITY} | headers)
            return answer.status, answer.body

    def refusals(self) -> Counter[str]:
        """What the server has refused so far, by reason."""
        status, body = self.ask("/metrics", **{"X-API-Key": self._key})
        assert status == 200, body
        return Counter(
            {reason: int(float(count)) for reason, count in _REFUSALS.findall(body.decode())}
        )

    def memory(self) -> int:
        """Resident bytes of the server."""
        pages = Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def new_log(self) -> str:
        """What the server has written since this was asked last, its first line left out."""
        log = self.server.log()
        new, self._read_log = log[self._read_log :], len(log)
        return "\n".join(line for line in new.splitlines() if not line.startswith("tidewire "))

    # What is done

    def quiet(self, seconds: float) -> dict[str, Any]:
        """What the honest clients count while nothing else happens."""
        self._crowd.ask(do="begin")
        time.sleep(seconds)
        return self._crowd.ask(do="end")

    def under(self, attack: Attack, seconds: float = 0) -> Report:
        """Carry out an attack, for so many *seconds* at the least, and see what it does to all."""
        self.new_log()
        descriptors = self.server.descriptors()
        refusals = self.refusals()
        before = self.memory()
        self._crowd.ask(do="begin")
        watch = _Watch(self)
        watch.start()
        try:
            answer = self._attacker.ask(attack=attack.name, seconds=seconds)
        finally:
            watch.over.set()
            watch.join()
        counted = self._crowd.ask(do="end")
        refusals = self.refusals() - refusals
        self._wait(lambda: self.server.descriptors() <= descriptors)
        self._wait(lambda: self.memory() <= before + attack.memory)
        log = self.new_log()
        report = Report(
            answer.get("seen", ""),
            answer.get("failure"),
            answer["seconds"],
            counted,
            watch.faults,
            watch.asked,
            refusals,
            before,
            watch.peak,
            self.memory(),
            self.server.descriptors() - descriptors,
            log,
        )
        return report._replace(health=report.health + self._leaks(log, answer["secrets"]))

    def _leaks(self, log: str, texts: list[str]) -> list[str]:
        """Which secrets stand in the log: of tokens the signature is what makes them one."""
        known = [self._key, self._secret, *self._tokens, *texts]
        parts = {part for text in known for part in (text, text.rpartition(".")[2])}
        return [
            f"a secret is in the log: {part}" for part in parts if len(part) > 8 and part in log
        ]

    def _wait(self, holds: Any) -> None:
        """Wait until it holds, but not for ever: what is looked at then says whether it does."""
        deadline = time.monotonic() + QUIET_AGAIN
        while not holds() and time.monotonic() < deadline:
            time.sleep(0.02)
