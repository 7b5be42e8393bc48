"""The process above the workers: it starts, replaces, reloads and ends them, and serves nobody.

It has neither an event loop nor a thread, so it can fork at any time. Workers share with it, and so
with each other, the memory of all that was imported before. The listening sockets are its own: what
the kernel has accepted for a slot waits there for the next worker if one ends.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from tidewire.model import EngineUnavailable
from tidewire.server import logs, runner
from tidewire.server.line import Ask, Failed, Leave, Leaving, Message, Ping, Ready, Stop, Tell, Told
from tidewire.server.listening import StartError, address_of, listen_each, suspend, tell_address
from tidewire.server.place import Place
from tidewire.server.slots import Order, Slots
from tidewire.server.station import Station
from tidewire.server.totals import Totals
from tidewire.settings import Settings, SettingsError

logger = logging.getLogger("tidewire.server")

FIXED = ("host", "port", "workers", "engine")
"""Settings that a reload does not change: they belong to what all workers share."""

_SAID: dict[str, Message] = {"ping": Ping(), "leave": Leave(), "stop": Stop()}
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_IGNORED = (signal.SIGUSR1, signal.SIGUSR2)


def supervise(settings: Settings, count: int, reread: Callable[[], Settings]) -> int:
    """Serve with *count* workers until SIGTERM or SIGINT; return the exit code.

    *reread* gives the settings as they are now, on SIGHUP, or raises ``SettingsError``.

    Raises:
        StartError: if a worker cannot start.
    """
    logs.configure(settings.log_level, settings.log_format, runner.secrets_of(settings))
    return Supervisor(settings, count, reread).run()


class Supervisor:
    """Its slots, its workers' stations, and the settings of each generation of workers."""

    def __init__(self, settings: Settings, count: int, reread: Callable[[], Settings]) -> None:
        self._first = settings
        self._settings = {0: settings}
        self._reread = reread
        self._slots = Slots(count, settings.drain_timeout)
        self._listeners = listen_each(settings, count)
        self._stations: dict[int, Station] = {}
        self._totals = Totals()
        self._selector = selectors.DefaultSelector()
        self._failure: StartError | None = None
        self._code = 0

    def run(self) -> int:
        """Until the end; see ``supervise``."""
        signals, writing = socket.socketpair()
        signals.setblocking(False)
        writing.setblocking(False)
        self._signals = (signals, writing)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, _noted)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        self._selector.register(signals, selectors.EVENT_READ)
        # Nothing that is here now is looked at by any worker's garbage collector, which would make
        # a copy of it.
        gc.collect()
        gc.freeze()
        try:
            self._watch()
        finally:
            self._clean_up()
        if self._failure is not None:
            raise self._failure
        logger.info("all workers have ended")
        return self._code

    def _watch(self) -> None:
        announced = False
        while True:
            for order in self._slots.orders(time.monotonic()):
                self._carry_out(order)
            for answer in self._totals.answers(time.monotonic(), self._slots.restarts):
                self._say(answer.pid, answer.everything)
            if self._slots.stopping and not self._slots.workers:
                return
            if self._slots.complete and not announced and not self._slots.stopping:
                announced = True
                tell_address(address_of(self._listeners[0], self._first))
            for key, events in self._selector.select(self._patience()):
                if key.data is None:
                    self._take_signals()
                elif key.data.is_open:
                    if events & selectors.EVENT_WRITE:
                        key.data.flush()
                        self._select(key.data)
                    self._listen(key.data)

    def _patience(self) -> float | None:
        times = [self._slots.next_time(), self._totals.next_time()]
        due = min((one for one in times if one is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _clean_up(self) -> None:
        signal.set_wakeup_fd(-1)
        for pid in self._slots.workers:  # only if something went wrong here
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._selector.close()
        for station in self._stations.values():
            station.close()
        for one in (*self._listeners, *self._signals):
            one.close()

    # Orders

    def _carry_out(self, order: Order) -> None:
        if order.kind == "start":
            self._start(order)
        elif order.kind in _SAID:
            self._say(order.pid, _SAID[order.kind])
        else:
            if order.kind == "give_up":
                logger.error("worker %d has not answered for half a minute: killed", order.slot + 1)
            elif self._failure is None:
                logger.warning("worker %d does not end: killed", order.slot + 1)
            with suppress(ProcessLookupError):
                os.kill(order.pid, signal.SIGKILL)

    def _say(self, pid: int, message: Message) -> None:
        station = self._stations.get(pid)
        if station is not None and station.is_open:
            station.say(message)
            self._select(station)

    def _select(self, station: Station) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if station.has_more else 0)
        self._selector.modify(station, events, station)

    def _start(self, order: Order) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal to a worker that is not quite one yet would be taken for one to the supervisor.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._be_worker(order, theirs)
        except OSError as error:
            logger.error("worker %d cannot be started: %s", order.slot + 1, error.strerror)
            self._slots.not_started(order, time.monotonic())
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        station = Station(pid, order.slot, ours)
        self._stations[pid] = station
        self._selector.register(station, selectors.EVENT_READ, station)
        self._slots.started(pid, order, time.monotonic())

    def _be_worker(self, order: Order, line: socket.socket) -> NoReturn:
        """Live as a worker, in the process that was forked for it."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # Ctrl-C and the end of a terminal come to all processes; what follows is for the
            # supervisor to say.
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._selector.close()
            # Of what others have, nothing is to stay open here: its end would never be noticed.
            for station in self._stations.values():
                station.close()
            listener = self._listeners.pop(order.slot)
            for one in (*self._listeners, *self._signals):
                one.close()
            place = Place(order.slot + 1, listener, line)
            try:
                code = runner.run(self._settings[order.generation], place)
            except StartError as error:
                place.fail(error)
        except BaseException:
            logger.exception("worker %d failed", order.slot + 1)
        finally:
            logging.shutdown()
            os._exit(code)

    # What happens

    def _take_signals(self) -> None:
        now = time.monotonic()
        for number in self._signals[0].recv(4096):
            if number in (signal.SIGTERM, signal.SIGINT):
                if self._slots.stopping:
                    self._code = 1
                    self._slots.hurry(now)
                else:
                    logger.info("stopping")
                    self._slots.stop(now)
            elif number == signal.SIGHUP:
                self._reload()
        self._bury()

    def _reload(self) -> None:
        """Replace the workers by such with the settings of now."""
        if self._slots.stopping or not self._slots.complete:
            return
        try:
            settings = self._reread()
        except SettingsError as error:
            for problem in error.problems:
                logger.error("no reload, the settings stay as they are: %s", problem)
            return
        fixed = {name: getattr(self._first, name) for name in FIXED}
        for name, value in fixed.items():
            if getattr(settings, name) != value:
                logger.warning("%s changes with a restart only", name)
        self._slots.reload()
        self._slots.drain_timeout = settings.drain_timeout
        usable = {g: s for g, s in self._settings.items() if g >= self._slots.proven}
        self._settings = usable | {self._slots.generation: settings.model_copy(update=fixed)}
        logger.info("reloading: new workers, one after the other")

    def _listen(self, station: Station) -> None:
        """Hear what a worker has to say. When it has hung up, its end is near."""
        now = time.monotonic()
        try:
            messages = station.receive()
        except ValueError as error:
            logger.error("worker %d talks nonsense, and is killed: %s", station.slot + 1, error)
            os.kill(station.pid, signal.SIGKILL)
            messages = None
        if messages is None:
            self._hang_up(station)
            return
        if messages:
            self._slots.heard(station.pid)
        for message in messages:
            match message:
                case Ready():
                    self._slots.ready(station.pid, now)
                case Leaving():
                    logger.info("worker %d was told to end", station.slot + 1)
                    self._slots.leaving(station.pid, now)
                case Failed(text, of_log):
                    station.failure = StartError(text)
                    station.failure.__cause__ = EngineUnavailable(text) if of_log else None
                case Ask(question):
                    number, asked = self._totals.ask(station.pid, question, self._names(), now)
                    for pid in asked:
                        self._say(pid, Tell(number))
                case Told(number, families):
                    self._totals.told(station.pid, number, families)
                case _:
                    pass

    def _names(self) -> dict[int, str]:
        """What the workers are called that have metrics to tell."""
        names = {}
        for worker in self._slots.workers.values():
            if self._stations[worker.pid].is_open and worker.state != "starting":
                name = str(worker.slot + 1)
                names[worker.pid] = name if worker.state == "serving" else f"{name}-{worker.pid}"
        return names

    def _hang_up(self, station: Station) -> None:
        if station.is_open:
            self._selector.unregister(station)
            station.close()

    def _bury(self) -> None:
        """Take note of the workers that have ended."""
        for pid in list(self._slots.workers):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        station = self._stations.pop(pid)
        if station.is_open:
            self._listen(station)  # its last words
        self._hang_up(station)
        failure = station.failure
        how = _how(status) if failure is None else str(failure)
        self._totals.ended(pid)
        ended = self._slots.ended(pid, time.monotonic())
        worker = ended.slot + 1
        if ended.expected:
            return
        if not self._slots.complete:
            if self._failure is None:
                self._failure = failure or StartError(
                    f"worker {worker} ended before it was ready ({how}): see the log"
                )
            self._slots.stop(time.monotonic())
            self._slots.hurry(time.monotonic())
        elif ended.refused:
            self._slots.drain_timeout = self._settings[self._slots.generation].drain_timeout
            logger.error("the reload is given up, the settings stay as they are: %s", how)
        else:
            if ended.pause:
                suspend(self._listeners[ended.slot])
            again = f"in {ended.pause:.1f} s" if ended.pause else "now"
            logger.error("worker %d has ended (%s); another one starts %s", worker, how, again)


def _noted(number: int, frame: object) -> None:
    """What Python does for a signal; it is taken from the wake-up socket."""


def _how(status: int) -> str:
    """How a process has ended, for people."""
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
