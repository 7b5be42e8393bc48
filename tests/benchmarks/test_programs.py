"""The programs that the benchmarks compare with do what they are taken to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from benchmarks.cases.crowd import publish
from benchmarks.crowds import Crowd
from benchmarks.loadgen import wire
from benchmarks.meter import cpu_ns, family, proportional_kib, resident_kib
from benchmarks.processes import (
    TIDEWIRE,
    LoadGenerator,
    ProcessError,
    compiled,
    http_load,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.loadgen.publishers import Way
    from benchmarks.loadgen.subscribers import Transport
    from benchmarks.processes import HttpLoad, Server

GET = wire.get("127.0.0.1", "/poll?channels=bench")


@pytest.mark.parametrize("way", ["floor", "floor-together"])
@pytest.mark.parametrize("transport", ["ws", "sse"])
def test_the_floor_delivers_everything_once(transport: Transport, way: Way, tmp_path: Path) -> None:
    floor = compiled("floor", tmp_path)
    with serving((str(floor),), tmp_path) as server, LoadGenerator() as generator:
        generator.open("floor", transport, server, 30, kernel_times=transport == "ws")
        window = generator.publish("floor", way, 4, 100.0, batch=5)
        assert (window.expected, window.received) == (600, 600)
        assert (window.missing, window.duplicates, window.out_of_order) == (0, 0, 0)
        assert 0 < window.latency["p50"] < 20_000
        alone = generator.publish("floor", way, 1, 100.0)  # its command comes with the greeting
        assert (alone.received, alone.missing) == (30, 0)
        generator.close("floor")
        generator.open("floor", transport, server, 3)  # those who left are forgotten
        assert generator.publish("floor", way, 2, 100.0).received == 6


def loaded(
    program: Path, server: Server, request: bytes, enough: Callable[[HttpLoad], object]
) -> HttpLoad:
    """What comes of a load of a moment; of another one if the server stood still meanwhile."""
    deadline = time.monotonic() + 20
    while True:
        load = http_load(program, server, request, connections=4, seconds=0.3)
        if enough(load) or time.monotonic() > deadline:
            return load


def answers(load: HttpLoad) -> int:
    """How many there were."""
    return load.answers


@pytest.mark.parametrize("status", [200, 304])
def test_http_load_counts_answers_by_status(status: int, tmp_path: Path) -> None:
    program = compiled("http_load", tmp_path)
    body = b"hello" if status == 200 else b""
    answer = b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n%b" % (status, body)
    bare = (sys.executable, "-m", "benchmarks.servers.bare_http")
    with serving(bare, tmp_path, answer) as server:
        before = cpu_ns(server.pid)
        load = loaded(program, server, GET, lambda load: load.answers > 100)
        assert cpu_ns(server.pid) > before
    assert load.statuses == {str(status): load.answers}
    assert load.answers > 100
    assert load.broken == 0
    assert load.answers <= load.bytes / len(answer) <= load.answers + 4


def test_http_load_counts_answers_that_it_cannot_tell_apart(tmp_path: Path) -> None:
    program = compiled("http_load", tmp_path)
    bare = (sys.executable, "-m", "benchmarks.servers.bare_http")
    with serving(bare, tmp_path, b"HTTP/1.1 200 X\r\nContent-Length: 1\r\n\r\nab") as server:
        load = loaded(program, server, GET, lambda load: load.broken == 4)
    assert (load.answers, load.broken) == (0, 4)


def test_starlette_answers_200_and_304(tmp_path: Path) -> None:
    program = compiled("http_load", tmp_path)
    command = (sys.executable, "-m", "benchmarks.servers.starlette_poll", "a-1", '"a-1"')
    known = wire.get("127.0.0.1", "/poll?channels=bench", 'If-None-Match: "a-1"\r\n')
    with serving(command, tmp_path) as server:
        assert set(loaded(program, server, GET, answers).statuses) == {"200"}
        assert set(loaded(program, server, known, answers).statuses) == {"304"}


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such engine')")
    with pytest.raises(ProcessError, match="no such engine"), serving(command, tmp_path):
        pass


def test_the_cpu_clock_of_a_process_is_its_own() -> None:
    start = time.process_time_ns()
    before = cpu_ns(os.getpid())
    sum(range(300_000))
    after = cpu_ns(os.getpid())
    assert 0 < after - before <= time.process_time_ns() - start


def test_a_crowd_counts_what_comes_and_comes_back_with_its_cursors(tmp_path: Path) -> None:
    program = compiled("crowd", tmp_path)
    with (
        serving((*TIDEWIRE, "--engine", "memory:", "--port", "0"), tmp_path) as server,
        Crowd(program, server, "lobby", 40) as crowd,
    ):
        opened = crowd.open(40, rate=0, seconds=20)
        assert (opened.clients, opened.ready) == (40, 40)
        seq = publish(server)
        report = crowd.wait(seq, seconds=20)
        assert (report.have, report.messages) == (40, 40)
        assert report.first <= report.last
        assert crowd.drop().ready == 0
        seq = [publish(server) for _ in range(3)][-1]
        assert crowd.back(seconds=20).ready == 40
        report = crowd.wait(seq, seconds=20)
        assert (report.have, report.messages) == (40, 160)
        assert (report.missing, report.repeated, report.gaps, report.broken) == (0, 0, 0, 0)


def test_a_crowd_tells_what_is_missing(tmp_path: Path) -> None:
    """The server keeps one message of each channel: of what comes meanwhile the rest is gone."""
    program = compiled("crowd", tmp_path)
    command = (*TIDEWIRE, "--engine", "memory:", "--port", "0", "--history-size", "1")
    with serving(command, tmp_path) as server, Crowd(program, server, "lobby", 10) as crowd:
        crowd.open(10, rate=0, seconds=20)
        crowd.wait(publish(server), seconds=20)
        crowd.drop()
        seq = [publish(server) for _ in range(4)][-1]
        crowd.back(seconds=20)
        report = crowd.wait(seq, seconds=20)
        assert (report.have, report.missing, report.gaps) == (10, 30, 10)


def test_a_family_is_a_process_and_all_that_it_has_started() -> None:
    # The child says when it runs: between fork and exec it is measured with its parent's memory.
    child = "import time; print('runs', flush=True); time.sleep(600)"
    command = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen((sys.executable, "-c", command), stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"runs\n"
            members = family(parent.pid)
            assert members[0] == parent.pid
            assert len(members) == 2
            assert 0 < proportional_kib(members) <= sum(map(resident_kib, members))
        finally:
            for pid in reversed(family(parent.pid)):
                os.kill(pid, signal.SIGKILL)
