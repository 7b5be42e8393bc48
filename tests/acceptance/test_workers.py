"""Several workers behind one port: spread, replaced, reloaded, summed up; and nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from websockets.asyncio.client import connect

from tests.acceptance.subscribers import Subscriber, http_client, publish
from tests.acceptance.traffic import under_traffic
from tests.acceptance.waiting import until, wait_until
from tests.server_process import StartError, start_server
from tidewire.server.processors import usable_processors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

WORKERS = 3
STREAMS = 60
"""So many that each worker gets some."""

KILLS = 8
RELOADS = 4


@pytest.fixture
def server(start: StartServer, tmp_path: Path) -> ServerProcess:
    """One server of three workers."""
    return start(
        engine=f"sqlite:///{tmp_path}/log.db",
        workers=WORKERS,
        history_size=1_000_000,
        drain_timeout=5,
    )


def workers_of(server: ServerProcess) -> list[int]:
    """The processes of its workers."""
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def streams_of(server: ServerProcess, pid: int) -> int:
    """How many connections of its port a worker has."""
    inodes = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == server.port and fields[3] == "01":
            inodes.add(f"socket:[{fields[9]}]")
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/{pid}/fd/{name}") in inodes
    return count


def scrape(server: ServerProcess, timeout: float = 10) -> dict[tuple[str, ...], float]:
    """The metrics by their names and those of their labels, from whichever worker answers."""
    answer = httpx.get(f"{server.url}/metrics", timeout=timeout).raise_for_status()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse_text(answer.text)
        for sample in family.samples
    }


def scrape_all(server: ServerProcess) -> dict[tuple[str, ...], float]:
    """The metrics, once every worker tells its own: one that stands still for a second does not."""
    found: dict[tuple[str, ...], float] = {}

    def told() -> bool:
        found.clear()
        found.update(scrape(server))
        return found["tidewire_workers",] == WORKERS

    wait_until(told)
    return found


def is_one_new(server: ServerProcess, before: set[int]) -> Callable[[], bool]:
    """The condition that one worker was replaced."""
    return lambda: len(set(workers_of(server)) - before) == 1


def are_all_new(server: ServerProcess, before: set[int]) -> Callable[[], bool]:
    """The condition that of the workers of *before* none is there."""
    return lambda: not before & set(workers_of(server))


@contextlib.asynccontextmanager
async def listening(server: ServerProcess, count: int = STREAMS) -> AsyncIterator[list[Subscriber]]:
    """So many subscribers of the channel ``a``, half of them on each kind of stream."""
    subscribers = [Subscriber(["a"]) for _ in range(count)]
    tasks = [
        asyncio.create_task(subscriber.listen(server.url, ("ws", "sse")[number % 2]))
        for number, subscriber in enumerate(subscribers)
    ]
    try:
        await until(lambda: all(subscriber.readies for subscriber in subscribers))
        yield subscribers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# One server


def test_it_says_once_where_it_listens(server: ServerProcess) -> None:
    assert server.log().count("tidewire listening on ") == 1
    assert len(workers_of(server)) == WORKERS


async def test_each_worker_has_connections_and_hears_what_others_publish(
    server: ServerProcess,
) -> None:
    published = []
    async with listening(server) as subscribers:
        counts = [streams_of(server, pid) for pid in workers_of(server)]
        assert sum(counts) == STREAMS
        assert min(counts) > 0
        for number in range(20):
            async with http_client(server.url) as client:  # a new connection each time
                published.append(await publish(client, {"channel": "a", "data": number}))
        await until(lambda: all(s.has(20)() for s in subscribers))
    for subscriber in subscribers:
        assert subscriber.messages == published


def test_one_for_each_processor(start: StartServer, tmp_path: Path) -> None:
    server = start(engine=f"sqlite:///{tmp_path}/log.db", workers="auto")
    count = usable_processors()
    assert len(workers_of(server)) == (0 if count == 1 else count)
    assert httpx.get(f"{server.url}/readyz").status_code == 200


# Killing


@pytest.mark.crash
@pytest.mark.timeout(180)
async def test_nothing_is_lost_when_workers_are_killed(server: ServerProcess) -> None:
    async with under_traffic(server.url) as traffic:
        for number in range(KILLS):
            await traffic.more_than(len(traffic.published) + 200)
            before = set(workers_of(server))
            os.kill(sorted(before)[number % WORKERS], signal.SIGKILL)
            await until(is_one_new(server, before))
    assert len(workers_of(server)) == WORKERS
    assert len(re.findall(r"worker \d has ended \(signal 9\)", server.log())) == KILLS


@pytest.mark.crash
async def test_nobody_waits_for_a_worker_that_dies_again_and_again(server: ServerProcess) -> None:
    before = set(workers_of(server))
    os.kill(max(before), signal.SIGKILL)
    await until(is_one_new(server, before))
    (again,) = set(workers_of(server)) - before
    os.kill(again, signal.SIGKILL)
    await until(lambda: "another one starts in 0.5 s" in server.log())
    with ExitStack() as stack:
        for _ in range(STREAMS):
            client = stack.enter_context(socket.create_connection(server.address, timeout=10))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    await until(lambda: scrape(server)["tidewire_workers",] == WORKERS)
    async with listening(server):
        assert min(streams_of(server, pid) for pid in workers_of(server)) > 0


@pytest.mark.crash
def test_workers_end_when_their_supervisor_is_killed(server: ServerProcess) -> None:
    workers = workers_of(server)
    with socket.create_connection(server.address) as client:
        client.sendall(b"GET /sse?channels=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        while b"tidewire.ready" not in said:  # the head may come before it
            said += client.recv(4096)
        server.process.kill()
        while piece := client.recv(4096):
            said += piece
    assert b"tidewire.close" in said
    wait_until(lambda: not any(Path(f"/proc/{pid}/fd").exists() for pid in workers))
    with socket.create_server(server.address):
        pass
    assert server.log().count("the supervisor is gone") == WORKERS


async def test_a_worker_that_is_told_to_end_is_replaced(server: ServerProcess) -> None:
    async with under_traffic(server.url):
        for pid in workers_of(server):
            os.kill(pid, signal.SIGTERM)
            await until(are_all_new(server, {pid}))
            await until(lambda: len(workers_of(server)) == WORKERS)
    assert "has ended" not in server.log()


# Reloading


async def keep_asking(server: ServerProcess, stop: asyncio.Event) -> int:
    """Ask over a connection of its own each time: it is never refused. Return how often."""
    count = 0
    while not stop.is_set():
        async with http_client(server.url) as client:
            assert (await client.get("/readyz")).status_code == 200
        count += 1
    return count


@pytest.mark.timeout(180)
async def test_a_reload_loses_nothing_and_refuses_nobody(server: ServerProcess) -> None:
    stop = asyncio.Event()
    asking = asyncio.create_task(keep_asking(server, stop))
    async with under_traffic(server.url) as traffic:
        for _ in range(RELOADS):
            await traffic.more_than(len(traffic.published) + 200)
            before = set(workers_of(server))
            server.hang_up()
            await until(are_all_new(server, before))
        stop.set()
        assert await asking > RELOADS
    assert len(workers_of(server)) == WORKERS
    assert "has ended" not in server.log()


def interval(server: ServerProcess) -> set[str]:
    """What clients are told of the interval for polls, by many connections."""
    answers = [httpx.get(f"{server.url}/poll?channels=a") for _ in range(4 * WORKERS)]
    return {answer.headers["Tidewire-Poll-Interval"] for answer in answers}


def test_a_reload_reads_the_settings_again(start: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "tidewire.toml"
    file.write_text("poll_interval = 2.0\n")
    server = start(engine=f"sqlite:///{tmp_path}/log.db", workers=WORKERS)
    workers = set(workers_of(server))
    assert interval(server) == {"2"}

    file.write_text("poll_interval = 0\nnonsense = 1\n")
    server.hang_up()
    wait_until(lambda: server.log().count("no reload, the settings stay as they are") == 2)
    assert "poll_interval: 0" in server.log()
    assert 'unknown key "nonsense"' in server.log()
    assert set(workers_of(server)) == workers

    file.write_text("poll_interval = 5.0\nworkers = 7\n")
    server.hang_up()
    wait_until(are_all_new(server, workers))
    assert interval(server) == {"5"}
    assert len(workers_of(server)) == WORKERS


def test_a_reload_whose_workers_cannot_start_is_given_up(
    start: StartServer, tmp_path: Path
) -> None:
    file = tmp_path / "tidewire.toml"
    server = start(engine=f"sqlite:///{tmp_path}/log.db", workers=WORKERS)
    workers = set(workers_of(server))
    file.write_text('token_key_file = "nothing.pem"\n')
    server.hang_up()
    wait_until(lambda: "the reload is given up, the settings stay as they are" in server.log())
    assert "nothing.pem" in server.log()
    wait_until(lambda: set(workers_of(server)) == workers)
    assert httpx.get(f"{server.url}/readyz").status_code == 200


# Stopping


@pytest.mark.parametrize("ask", ["terminate", "interrupt"])
async def test_a_signal_drains_all_workers(server: ServerProcess, ask: str) -> None:
    async with AsyncExitStack() as stack:
        url = server.url.replace("http", "ws")
        sockets = [
            await stack.enter_async_context(connect(f"{url}/ws?channels=a", proxy=None))
            for _ in range(STREAMS)
        ]
        getattr(server, ask)()
        for one in sockets:
            await asyncio.wait_for(one.wait_closed(), 10)
            assert one.close_code == 1012
    assert await asyncio.to_thread(server.wait) == 0
    assert server.log().count("stopped worker=") == WORKERS


def stubborn(server: ServerProcess, stack: ExitStack) -> None:
    """A client that asks for much and takes nothing."""
    for number in range(3):
        httpx.post(f"{server.url}/publish", json={"channel": "a", "data": f"{number}" * 1_000_000})
    client = stack.enter_context(socket.create_connection(server.address))
    client.sendall(b"GET /history?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30)
    assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_the_end_comes_in_time_whatever_clients_do(start: StartServer, tmp_path: Path) -> None:
    server = start(engine=f"sqlite:///{tmp_path}/log.db", workers=WORKERS, drain_timeout=1)
    with ExitStack() as stack:
        stubborn(server, stack)
        server.terminate()
        assert server.wait() == 0


def test_a_second_signal_does_not_wait(start: StartServer, tmp_path: Path) -> None:
    server = start(engine=f"sqlite:///{tmp_path}/log.db", workers=WORKERS, drain_timeout=300)
    with ExitStack() as stack:
        stubborn(server, stack)
        server.terminate()
        wait_until(lambda: "draining 1 connections" in server.log())
        server.terminate()
        assert server.wait() == 1


def test_other_signals_do_nothing(server: ServerProcess) -> None:
    workers = workers_of(server)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        for pid in (server.process.pid, *workers):
            os.kill(pid, number)
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert workers_of(server) == workers


# Starting


def why_not(directory: Path, **settings: object) -> str:
    """What a server of several workers says that does not start; no process is left of it."""
    with pytest.raises(StartError) as caught:
        start_server(directory, **{"workers": WORKERS, **settings})  # type: ignore[arg-type]
    return str(caught.value)


def test_a_port_that_another_server_has(server: ServerProcess, tmp_path: Path) -> None:
    said = why_not(tmp_path, engine=f"sqlite:///{tmp_path}/log.db", port=server.port)
    assert f"port {server.port} of 127.0.0.1 is in use" in said
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_log_in_memory_is_for_one_worker(tmp_path: Path) -> None:
    said = why_not(tmp_path, engine="memory:")
    assert "workers: 3 (from TIDEWIRE_WORKERS): a log in memory" in said


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = why_not(tmp_path, engine=f"sqlite:///{tmp_path}/file/log.db")
    assert said.count("choose another place with --engine") == 1
    assert "Traceback" not in said


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    said = why_not(
        tmp_path,
        engine=f"sqlite:///{tmp_path}/log.db",
        tls_certificate="no.pem",
        tls_key="no.pem",
    )
    assert said.count("'no.pem' cannot be read") == 1


# Metrics


async def test_any_worker_tells_the_sums(server: ServerProcess) -> None:
    async with listening(server) as subscribers:
        async with http_client(server.url) as client:
            await publish(client, {"channel": "a", "data": 1})
        await until(lambda: all(s.has(1)() for s in subscribers))
        for _ in range(2 * WORKERS):
            found = await asyncio.to_thread(scrape_all, server)
            assert found["tidewire_connections", "websocket"] == STREAMS / 2
            assert found["tidewire_connections", "sse"] == STREAMS / 2
            assert found["tidewire_sessions", "live"] == STREAMS
            for worker in map(str, range(1, WORKERS + 1)):
                assert found["tidewire_worker_up", worker] == 1
                assert found["process_open_fds", worker] > 0


async def test_counts_outlive_the_workers(server: ServerProcess) -> None:
    for _ in range(10):
        async with http_client(server.url) as client:
            assert (await client.get("/poll", headers={"Host": "evil.example"})).is_error
    counted = "tidewire_refusals_total", "host"
    assert (await asyncio.to_thread(scrape_all, server))[counted] == 10
    workers = set(workers_of(server))
    os.kill(min(workers), signal.SIGKILL)
    await until(is_one_new(server, workers))
    server.hang_up()
    await until(are_all_new(server, workers))
    after = await asyncio.to_thread(scrape_all, server)
    assert after[counted] == 10
    assert after["tidewire_worker_restarts_total",] == 1


def test_a_worker_that_hangs_is_named(server: ServerProcess) -> None:
    hanging = workers_of(server)[1]
    os.kill(hanging, signal.SIGSTOP)
    try:
        found: dict[tuple[str, ...], float] = {}
        # Who asks the one that hangs gets no answer; the others have a second for theirs.
        while found.get(("tidewire_workers",)) != WORKERS - 1:
            with contextlib.suppress(httpx.TimeoutException):
                found = scrape(server, timeout=3)
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert sorted(v for k, v in found.items() if k[0] == "tidewire_worker_up") == [0, 1, 1]
    wait_until(lambda: scrape(server)["tidewire_workers",] == WORKERS)
