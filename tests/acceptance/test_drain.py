"""SIGTERM: everyone is told when to come back, nothing is cut, and the process ends in time."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.checker import check_received, from_envelope
from tests.acceptance.eventsource import Event, EventStream
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import CLOSE, PING, TEXT, RawWebSocket, frame
from tests.acceptance.slow_reader import SlowReader
from tests.acceptance.subscribers import http_client, numbered, publish_batch
from tests.acceptance.waiting import until, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

DRAIN = 5
LONG = 60
SOON = 8.0
"""Seconds for what is to be at once, on a machine that may stand still for a moment."""


def listener(server: ServerProcess, accept: str = "text/event-stream") -> RawConnection:
    """A connection with an open event stream."""
    connection = RawConnection(server.address)
    connection.request("GET", "/sse?channels=a", {"Accept": accept})
    connection.read_until(b"tidewire.ready")
    connection.read_until(b"\n\n")
    return connection


def rest_of_stream(connection: RawConnection) -> tuple[EventStream, list[Event]]:
    """What an event stream still has until its end, which must be in good order."""
    data = connection.read_to_end()
    assert data.endswith(b"0\r\n\r\n"), "the stream was cut, not ended"
    # The stream was read up to the end of an event, in the middle of a chunk's own end.
    lines = data.removeprefix(b"\r\n")
    parser = EventStream()
    events = []
    while lines != b"0\r\n\r\n":
        size, _, lines = lines.partition(b"\r\n")
        events += parser.feed(lines[: int(size, 16)])
        lines = lines[int(size, 16) + 2 :]
    return parser, events


def test_event_streams_are_closed_with_a_jittered_retry(start: StartServer) -> None:
    server = start(drain_timeout=DRAIN)
    listeners = [listener(server) for _ in range(12)]
    server.terminate()
    retries = []
    for connection in listeners:
        with connection:
            parser, events = rest_of_stream(connection)
            close = json.loads(events[-1].data)
            assert events[-1].type == "tidewire.close"
            assert close["type"] == "close"
            assert close["code"] == 1012
            assert close["reason"]
            assert close["retry"] > 0
            assert parser.retry_ms == close["retry"]
            retries.append(close["retry"])
    assert len(set(retries)) > 1, "all would come back at once"
    assert server.wait(DRAIN + 1) == 0


def test_websockets_are_closed_with_1012(start: StartServer) -> None:
    server = start(drain_timeout=DRAIN)
    sockets = [RawWebSocket(server.address) for _ in range(12)]
    for socket in sockets:
        socket.open("/ws?channels=a")
        assert socket.read_envelope()["type"] == "ready"
    server.terminate()
    retries = []
    for socket in sockets:
        with socket:
            close = socket.read_envelope()
            assert close["type"] == "close"
            assert close["code"] == 1012
            assert close["retry"] > 0
            retries.append(close["retry"])
            last = socket.read_frame()
            assert last.opcode == CLOSE
            assert last.close_code == 1012
            socket.send(frame(CLOSE, last.payload[:2]))
            assert socket.ended
    assert len(set(retries)) > 1, "all would come back at once"
    assert server.wait(DRAIN + 1) == 0


def test_held_polls_are_answered(start: StartServer) -> None:
    server = start(drain_timeout=DRAIN)
    held = [RawConnection(server.address) for _ in range(5)]
    for connection in held:
        assert connection.get("/healthz").status == 200
        connection.request("GET", "/longpoll?channels=a&wait=60")
    with RawConnection(server.address) as witness:  # all of them are held now
        assert witness.get("/healthz").status == 200
    server.terminate()
    for connection in held:
        with connection:
            answer = connection.response()
            assert answer.status == 204
            assert answer.headers["tidewire-cursor"]
            assert connection.ended
    assert server.wait(DRAIN + 1) == 0


def test_an_idle_server_ends_at_once(start: StartServer) -> None:
    server = start(drain_timeout=LONG)
    with RawConnection(server.address) as idle:
        assert idle.get("/healthz").status == 200
        begin = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert time.monotonic() - begin < SOON
        assert idle.ended


def test_sigint_ends_it_as_well(start: StartServer) -> None:
    server = start(drain_timeout=DRAIN)
    server.interrupt()
    assert server.wait(DRAIN + 1) == 0


async def last_words(server: ServerProcess, opened: asyncio.Event, path: str) -> tuple[float, int]:
    """Follow a channel to the end of the stream; when ``close`` came, and its ``retry``."""
    reader, writer = await asyncio.open_connection(*server.address)
    request = f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(request.encode())
    await reader.readuntil(b"tidewire.ready")
    opened.set()
    await reader.readuntil(b"event: tidewire.close\n")
    came = time.monotonic()
    data = await reader.read()
    writer.close()
    assert data.endswith(b"0\r\n\r\n"), "the stream was cut, not ended"
    close = json.loads(data[data.index(b"data: ") + 6 :].split(b"\n")[0])
    assert close["code"] == 1012
    return came, close["retry"]


async def test_many_are_sent_away_over_a_window(start: StartServer) -> None:
    count = 800
    server = start(drain_timeout=10, drain_window=5, sse_retry=100)
    opened = [asyncio.Event() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        listening = [
            group.create_task(last_words(server, event, "/sse?channels=a")) for event in opened
        ]
        for event in opened:
            await event.wait()
        begin = time.monotonic()
        server.terminate()
        async with http_client(server.url) as client:
            await until(lambda: "draining" in server.log())
            answer = await client.get("/readyz")
            assert answer.status_code == 503
    words = [task.result() for task in listening]
    ended = sorted(came - begin for came, _ in words)
    # At 200 a second they take four seconds, longer than a machine stands still for a moment: some
    # end early, and some late.
    assert ended[count // 10] < ended[-1] - 0.5
    assert ended[-1] > 3.5
    assert len({retry for _, retry in words}) > 50, "they would come back at once"
    assert await asyncio.to_thread(server.wait) == 0


def stalled_reader(server: ServerProcess) -> SlowReader:
    """Who takes nothing of much: for such a client a drain goes on to the end of its time."""
    stalled = SlowReader(server.address, "sse", ["bulk"], since="now")
    assert stalled.read(65_536)
    with RawConnection(server.address) as connection:
        messages = [{"channel": "bulk", "data": "x" * 100_000}] * 60
        assert connection.post("/publish", {"messages": messages}).status == 200
    return stalled


def test_a_client_that_does_not_close_is_waited_for_no_longer_than_the_timeout(
    start: StartServer,
) -> None:
    server = start(drain_timeout=1)
    begin = time.monotonic()
    with RawWebSocket(server.address) as socket:
        socket.open("/ws?channels=a")
        assert socket.read_envelope()["type"] == "ready"
        server.terminate()
        assert socket.read_close().close_code == 1012
        assert server.wait() == 0
    assert time.monotonic() - begin < 1 + SOON


def test_a_stalled_reader_does_not_hold_up_the_end(start: StartServer) -> None:
    server = start(drain_timeout=1)
    with stalled_reader(server):
        begin = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert time.monotonic() - begin < 1 + SOON


def test_newcomers_while_draining(start: StartServer) -> None:
    server = start(drain_timeout=LONG)
    with stalled_reader(server):  # so that it goes on for as long as the test asks
        server.terminate()
        wait_until(lambda: "draining" in server.log())
        for path in ("/poll?channels=a", "/longpoll?channels=a", "/history?channel=a"):
            with RawConnection(server.address) as connection:
                answer = connection.get(path)
                assert answer.status == 503
                assert answer.problem["code"]
                assert int(answer.headers["retry-after"]) >= 1
        with RawConnection(server.address) as connection:
            answer = connection.post("/publish", {"channel": "a", "data": 1})
            assert answer.status == 503
        with RawConnection(server.address) as connection:
            answer = connection.get("/readyz")
            assert answer.status == 503
        with RawConnection(server.address) as connection:
            assert connection.get("/healthz").status == 200
        with RawConnection(server.address) as connection:
            answer = connection.get("/sse?channels=a", {"Accept": "*/*"})
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) >= 1
        with RawWebSocket(server.address) as socket:
            answer = socket.handshake("/ws?channels=a")
            assert answer.status == 503
        retries = []
        for last in ("", "abcdef-17"):
            with RawConnection(server.address) as connection:
                headers = {"Accept": "text/event-stream"}
                if last:
                    headers["Last-Event-ID"] = last
                answer = connection.get("/sse?channels=a", headers)
                assert answer.status == 200
                assert answer.headers["content-type"].startswith("text/event-stream")
                parser = EventStream()
                (event,) = parser.feed(answer.body)
                assert event.type == "tidewire.close"
                close: dict[str, Any] = json.loads(event.data)
                assert close["retry"] == parser.retry_ms
                retries.append(parser.retry_ms)
                if last:
                    assert parser.last_event_id == last, "its place in the stream is lost"
                assert connection.ended
        assert all(retries)


async def test_messages_before_the_end_all_arrive(start: StartServer) -> None:
    server = start(drain_timeout=DRAIN)
    async with http_client(server.url) as client:
        with RawWebSocket(server.address) as socket:
            socket.open("/ws?channels=a")
            published = await publish_batch(client, numbered(2_000, ["a"], text="x" * 500))
            server.terminate()
            received = []
            while (got := socket.read_frame()).opcode in (TEXT, PING):
                envelope = json.loads(got.payload)
                if envelope["type"] == "message":
                    received.append(from_envelope(envelope))
            # What did not fit before the end comes with the cursor; what came has no hole.
            check_received(published[: len(received)], received)
            assert received
    assert await asyncio.to_thread(server.wait, DRAIN + 2) == 0


@pytest.mark.browser
async def test_a_browser_comes_back_by_itself_and_misses_nothing(
    start: StartServer, chromium: Chrome, tmp_path: Path
) -> None:
    engine = f"sqlite:///{tmp_path}/log.db"
    server = start(engine=engine, drain_timeout=DRAIN, sse_retry=300)
    await asyncio.to_thread(chromium.get, f"{server.url}/healthz")
    begin = """
        const [url, done] = arguments;
        window.seen = [];
        window.source = new EventSource(url);
        source.onmessage = (event) => window.seen.push(JSON.parse(event.data));
        source.addEventListener("tidewire.ready", () => done(), {once: true});
    """
    url = f"{server.url}/sse?channels=a"
    await asyncio.to_thread(chromium.execute_async_script, begin, url)
    async with http_client(server.url) as client:
        published = await publish_batch(client, numbered(10, ["a"]))
    for orderly in (True, False):
        if orderly:
            server.terminate()
            await asyncio.to_thread(server.wait, DRAIN + 1)
        else:
            server.kill()
        server = start(engine=engine, port=server.port, drain_timeout=DRAIN, sse_retry=300)
        async with http_client(server.url) as client:
            first = len(published)
            published += await publish_batch(client, numbered(10, ["a"], first=first))
        wait = """
            const [total, done] = arguments;
            const look = () => {
              if (window.seen.length < total) setTimeout(look, 20);
              else done(window.seen);
            };
            look();
        """
        seen = await asyncio.to_thread(chromium.execute_async_script, wait, len(published))
        check_received(published, [from_envelope(envelope) for envelope in seen])
