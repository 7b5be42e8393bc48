"""One list of messages, four kinds of client: a browser, a library, and curl in two ways."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.checker import (
    Message,
    check_agreement,
    check_log,
    check_received,
    from_envelope,
)
from tests.acceptance.subscribers import http_client, publish_batch, query, websocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from selenium.webdriver import Chrome

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

CHANNELS = [f"room:{n}" for n in range(50)]
TOTAL = 10_000
BATCH = 100

LISTEN = """
const [url, total, done] = arguments;
window.seen = [];
window.finished = new Promise((resolve) => {
  const source = new EventSource(url);
  source.addEventListener("tidewire.ready", () => done(source.readyState));
  source.onmessage = (event) => {
    window.seen.push([event.lastEventId, event.data]);
    if (window.seen.length === total) resolve();
  };
});
"""
FINISH = "const done = arguments[0]; window.finished.then(() => done(window.seen));"


def commands() -> list[dict[str, Any]]:
    """Messages with every kind of JSON value, each unlike the others."""
    shapes: list[Callable[[int], object]] = [
        lambda n: n,
        lambda n: f"№ {n}: naïve \u2028 text\r\nof two lines \U0001f30a",
        lambda n: {"n": n, "deep": [[{"list": [n, None, True, 0.5]}]]},
        lambda n: [n, "", {}, []],
        lambda n: {"n": n, "text": "x" * (n % 300)},
    ]
    return [
        {"channel": CHANNELS[n % len(CHANNELS)], "data": shapes[n % len(shapes)](n)}
        for n in range(TOTAL)
    ]


async def in_browser(driver: Chrome, server: ServerProcess, ready: asyncio.Event) -> list[Message]:
    """Listen with the EventSource of a page of the server's own origin."""
    await asyncio.to_thread(driver.get, f"{server.url}/healthz")
    url = f"{server.url}/sse?{query(CHANNELS, since='start')}"
    state = await asyncio.to_thread(driver.execute_async_script, LISTEN, url, TOTAL)
    assert state == 1, "EventSource is not open"
    ready.set()
    seen = await asyncio.to_thread(driver.execute_async_script, FINISH)
    envelopes = [(last_event_id, json.loads(data)) for last_event_id, data in seen]
    assert all(last_event_id == envelope["id"] for last_event_id, envelope in envelopes)
    return [from_envelope(envelope) for _, envelope in envelopes]


async def in_library(server: ServerProcess, ready: asyncio.Event) -> list[Message]:
    """Listen with the ``websockets`` library."""
    received = []
    async for envelope in websocket(server.url, CHANNELS, since="start"):
        if envelope["type"] == "ready":
            ready.set()
        else:
            received.append(from_envelope(envelope))
            if len(received) == TOTAL:
                break
    return received


async def curl(url: str) -> tuple[int, str, str]:
    """Run curl once; return the status, the header ``Tidewire-Cursor`` and the body."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--max-time", "40", "--noproxy", "*"),
        *("--write-out", "\n%{http_code} %header{tidewire-cursor}", url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    body, _, told = output.decode().rpartition("\n")
    status, cursor = told.split(" ")
    return int(status), cursor, body


async def with_curl(server: ServerProcess, path: str, ready: asyncio.Event) -> list[Message]:
    """Poll by running curl again and again with the cursor of the answer before."""
    received: list[Message] = []
    start: dict[str, object] = {"since": "start"}
    while len(received) < TOTAL:
        status, cursor, body = await curl(f"{server.url}{path}?{query(CHANNELS, **start)}")
        if status == 200:
            answer = json.loads(body)
            cursor = answer["cursor"]
            assert answer["hasNew"] == bool(answer["messages"])
            assert answer["gaps"] == []
            received += map(from_envelope, answer["messages"])
        else:
            assert (status, path) == (204, "/longpoll")
        start = {"cursor": cursor}
        if path == "/poll":
            ready.set()
            if not body or not json.loads(body)["hasNew"]:
                await asyncio.sleep(0.05)
    return received


@pytest.mark.browser
async def test_ten_thousand_messages_reach_every_kind_of_client(
    start: StartServer, chromium: Chrome
) -> None:
    server = start()
    ready = {name: asyncio.Event() for name in ("chromium", "websockets", "poll")}
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        clients = {
            "chromium": group.create_task(in_browser(chromium, server, ready["chromium"])),
            "websockets": group.create_task(in_library(server, ready["websockets"])),
            "longpoll": group.create_task(with_curl(server, "/longpoll", asyncio.Event())),
            "poll": group.create_task(with_curl(server, "/poll", ready["poll"])),
        }
        for event in ready.values():
            await event.wait()
        published: list[Message] = []
        todo = commands()
        async with http_client(server.url) as client:
            for begin in range(0, TOTAL, BATCH):
                published += await publish_batch(client, todo[begin : begin + BATCH])
    streams = {name: task.result() for name, task in clients.items()}
    check_log(published)
    for stream in streams.values():
        check_received(published, stream)
    check_agreement({"published": published, **streams})
