"""What is gone is told: ``expired`` and ``reset`` gaps, and what is no cursor is refused."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from tests.acceptance.checker import (
    Envelope,
    Message,
    check_received,
    from_envelope,
    position,
)
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import CLOSE, RawWebSocket
from tests.acceptance.subscribers import (
    TRANSPORTS,
    collect,
    http_client,
    publish,
    publish_batch,
    query,
)
from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

KEPT = 5
numbers = itertools.count()


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def small(
    request: pytest.FixtureRequest,
    start_shared: StartServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> ServerProcess:
    """A server that keeps five messages of each channel."""
    path = tmp_path_factory.mktemp("small") / "log.db"
    engine = "memory:" if request.param == "memory" else f"sqlite:///{path}"
    return start_shared(engine=engine, history_size=KEPT)


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return f"channel-{next(numbers)}"


async def fill(server: ServerProcess, channel: str, count: int) -> list[Message]:
    """Publish ``count`` messages one after the other."""
    async with http_client(server.url) as client:
        return [await publish(client, {"channel": channel, "data": n}) for n in range(count)]


def cursor_of(message: Message) -> str:
    """The cursor after a message."""
    return f"{message.epoch}-{message.position}"


async def receive(
    server: ServerProcess, transport: str, channels: list[str], count: int, **start: str
) -> tuple[Envelope, list[Envelope], list[Message]]:
    """Subscribe until ``count`` messages came; return ``ready``, the gaps and the messages."""
    left = itertools.count(1)
    envelopes = await collect(
        server.url,
        transport,
        channels,
        until=lambda e: e["type"] == "message" and next(left) == count,
        **start,
    )
    gaps = [e for e in envelopes if e["type"] == "gap"]
    messages = [from_envelope(e) for e in envelopes if e["type"] == "message"]
    assert envelopes[0]["type"] == "ready"
    return envelopes[0], gaps, messages


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cursor_before_the_oldest_kept_message(
    small: ServerProcess, channel: str, transport: str
) -> None:
    published = await fill(small, channel, 12)
    start = cursor_of(published[2])
    ready, gaps, messages = await receive(small, transport, [channel], KEPT, cursor=start)
    assert ready["recovered"] is False
    assert [(gap["channel"], gap["reason"]) for gap in gaps] == [(channel, "expired")]
    check_received(published[-KEPT:], messages)
    after_gap = gaps[0]["id"]
    assert position(cursor_of(published[-KEPT - 1])) <= position(after_gap)
    assert position(after_gap) < position(cursor_of(published[-KEPT]))
    ready, gaps, messages = await receive(small, transport, [channel], KEPT, cursor=after_gap)
    assert (ready["recovered"], gaps) == (True, [])
    check_received(published[-KEPT:], messages)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_oldest_cursor_without_a_gap(
    small: ServerProcess, channel: str, transport: str
) -> None:
    published = await fill(small, channel, 12)
    start = cursor_of(published[-KEPT - 1])
    ready, gaps, messages = await receive(small, transport, [channel], KEPT, cursor=start)
    assert (ready["recovered"], gaps) == (True, [])
    check_received(published[-KEPT:], messages)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_only_the_channel_that_lost_messages_has_a_gap(
    small: ServerProcess, channel: str, transport: str
) -> None:
    quiet = f"{channel}-quiet"
    first = await fill(small, quiet, 1)
    lost = await fill(small, channel, 12)
    last = await fill(small, quiet, 1)
    ready, gaps, messages = await receive(
        small, transport, [channel, quiet], KEPT + 1, cursor=cursor_of(first[0])
    )
    assert ready["recovered"] is False
    assert [(gap["channel"], gap["reason"]) for gap in gaps] == [(channel, "expired")]
    check_received([*lost[-KEPT:], *last], messages)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cursor_for_each_channel(
    small: ServerProcess, channel: str, transport: str
) -> None:
    other = f"{channel}-other"
    ours = await fill(small, channel, 4)
    theirs = await fill(small, other, 4)
    cursors = f"{cursor_of(ours[0])},{cursor_of(theirs[2])}"
    ready, gaps, messages = await receive(small, transport, [channel, other], 4, cursor=cursors)
    assert (ready["recovered"], gaps) == (True, [])
    check_received([*ours[1:], theirs[3]], messages)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cursor_of_another_log(small: ServerProcess, channel: str, transport: str) -> None:
    other = f"{channel}-other"
    published = await fill(small, channel, 3)
    published += await fill(small, other, 2)
    foreign = f"{'aaaaaa' if published[0].epoch != 'aaaaaa' else 'bbbbbb'}-{published[1].position}"
    channels = [channel, other]
    ready, gaps, messages = await receive(small, transport, channels, 5, cursor=foreign)
    assert ready["recovered"] is False
    assert sorted((gap["channel"], gap["reason"]) for gap in gaps) == [
        (channel, "reset"),
        (other, "reset"),
    ]
    check_received(published, messages)
    for gap in gaps:
        count = {channel: 3, other: 2}[gap["channel"]]
        ready, none, messages = await receive(
            small, transport, [gap["channel"]], count, cursor=gap["id"]
        )
        assert (ready["recovered"], none) == (True, [])
        check_received([m for m in published if m.channel == gap["channel"]], messages)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cursor_from_a_future_that_was_lost(
    small: ServerProcess, channel: str, transport: str
) -> None:
    (last,) = await fill(small, channel, 1)
    beyond = f"{last.epoch}-{last.position + 10**12}"
    stream = asyncio.create_task(
        collect(small.url, transport, [channel], cursor=beyond, until=lambda e: "seq" in e)
    )
    # Not before the server has seen the cursor: a short poll shows that it is refused now.
    seen = await collect(
        small.url, "poll", [channel], cursor=beyond, until=lambda e: e["type"] == "position"
    )
    assert [e["reason"] for e in seen if e["type"] == "gap"] == ["reset"]
    async with http_client(small.url) as client:
        while not stream.done():  # a message for whenever the stream has begun
            await publish(client, {"channel": channel, "data": "new"})
            await asyncio.sleep(0.01)
    envelopes = stream.result()
    assert envelopes[0]["recovered"] is False
    assert [e["reason"] for e in envelopes if e["type"] == "gap"] == ["reset"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_memory_log_that_is_started_again_is_another_log(
    start: StartServer, transport: str
) -> None:
    server = start()
    (before,) = await fill(server, "a", 1)
    server.kill()
    server = start(port=server.port)
    after = await fill(server, "a", 2)
    ready, gaps, messages = await receive(server, transport, ["a"], 2, cursor=cursor_of(before))
    assert ready["recovered"] is False
    assert [(gap["channel"], gap["reason"]) for gap in gaps] == [("a", "reset")]
    check_received(after, messages)


async def test_messages_older_than_the_time_to_live(start: StartServer, engine: str) -> None:
    server = start(engine=engine, history_ttl=0.5)
    published = await fill(server, "a", 3)
    with RawConnection(server.address) as connection:
        wait_until(lambda: not connection.get("/history?channel=a").json()["messages"])
    first = cursor_of(published[0])
    for transport in TRANSPORTS:
        receiving = asyncio.create_task(receive(server, transport, ["a"], 1, cursor=first))
        while not receiving.done():  # a message for whenever it has come: none is there for long
            published += await fill(server, "a", 1)
            await asyncio.sleep(0.05)
        ready, gaps, messages = await receiving
        assert ready["recovered"] is False, transport
        assert {(gap["channel"], gap["reason"]) for gap in gaps} == {("a", "expired")}, transport
        assert messages[0].seq > 3
    assert [message.seq for message in published] == list(range(1, len(published) + 1))


MALFORMED = [
    "nonsense",
    "a b-1",
    "-1",
    "abcdef-",
    "abcdef--1",
    "abcdef-1x",
    "abcdef-99999999999999999999",
    "abcdef-1;drop",
    "\N{FULLWIDTH DIGIT ONE}-1",
    "abcdef-\N{ARABIC-INDIC DIGIT ONE}",
    "abcdef-1\r\nid: 2",
    "abcdef-1\0",
    "x" * 1000,
    "abcdef-1,nonsense",
    ",",
]


def refusal(server: ServerProcess, transport: str, parameters: dict[str, Any]) -> str:
    """Subscribe with something wrong and return the ``code`` of the refusal."""
    channels = parameters.pop("channels")
    target = f"/{transport}?{query(channels, **parameters)}"
    if transport != "ws":
        with RawConnection(server.address) as connection:
            answer = connection.get(target)
            assert answer.status == 400, answer
            return str(answer.problem["code"])
    with RawWebSocket(server.address) as socket:
        answer = socket.handshake(target)
        if answer.status == 400:
            return str(answer.problem["code"])
        assert answer.status == 101, answer
        while (frame := socket.read_frame()).opcode != CLOSE:
            envelope = json.loads(frame.payload)
            assert envelope["type"] in ("close", "error"), envelope
        assert frame.close_code == 4400
        return "invalid_cursor"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("cursor", MALFORMED, ids=ascii)
def test_what_is_no_cursor_is_refused(small: ServerProcess, transport: str, cursor: str) -> None:
    channels = ["a", "b"] if "," in cursor else ["a"]
    code = refusal(small, transport, {"channels": channels, "cursor": cursor})
    assert code == "invalid_cursor"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("channels", "cursors"), [(1, 2), (3, 2), (2, 3)])
async def test_a_wrong_number_of_cursors_is_refused(
    small: ServerProcess, channel: str, transport: str, channels: int, cursors: int
) -> None:
    (message,) = await fill(small, channel, 1)
    parameters = {
        "channels": [f"{channel}-{n}" for n in range(channels)],
        "cursor": ",".join([cursor_of(message)] * cursors),
    }
    assert refusal(small, transport, parameters) == "invalid_cursor"


@pytest.mark.parametrize("path", ["/sse", "/longpoll", "/poll"])
@pytest.mark.parametrize("cursor", ["nonsense", "abcdef-1x", "x" * 1000])
def test_what_is_no_cursor_is_refused_in_the_header_too(
    small: ServerProcess, path: str, cursor: str
) -> None:
    with RawConnection(small.address) as connection:
        answer = connection.get(f"{path}?channels=a", {"Last-Event-ID": cursor})
        assert answer.status == 400
        assert answer.problem["code"] == "invalid_cursor"


@pytest.mark.parametrize("path", ["/sse", "/longpoll", "/poll", "/ws"])
async def test_the_header_wins_over_the_query(
    small: ServerProcess, channel: str, path: str
) -> None:
    published = await fill(small, channel, 3)
    old, new = cursor_of(published[0]), cursor_of(published[1])
    for name in ("cursor", "lastEventId"):
        target = f"{path}?channels={channel}&{name}={old}"
        if path == "/ws":
            url = f"{small.url.replace('http', 'ws')}{target}"
            headers = {"Last-Event-ID": new}
            async with connect(url, proxy=None, additional_headers=headers) as socket:
                await socket.recv()
                first = json.loads(await socket.recv())
        else:
            with RawConnection(small.address) as connection:
                connection.request("GET", target, {"Last-Event-ID": new})
                if path == "/sse":
                    text = connection.read_until(b'"seq":')[-400:] + connection.read_until(b",")
                    first = {"seq": int(text.rpartition(b":")[2].rstrip(b","))}
                else:
                    first = connection.response().json()["messages"][0]
        assert first["seq"] == 3, name


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_query_has_two_names_for_the_cursor(
    small: ServerProcess, channel: str, transport: str
) -> None:
    published = await fill(small, channel, 3)
    async with http_client(small.url) as client:
        path = "/poll" if transport == "sse" else f"/{transport}"
        if path == "/ws":
            url = f"{small.url.replace('http', 'ws')}/ws?channels={channel}"
            async with connect(f"{url}&lastEventId={cursor_of(published[1])}", proxy=None) as ws:
                await ws.recv()
                assert json.loads(await ws.recv())["seq"] == 3
        else:
            parameters = {"channels": channel, "lastEventId": cursor_of(published[1])}
            answer = (await client.get(path, params=parameters)).json()
            assert [m["seq"] for m in answer["messages"]] == [3]


async def test_no_message_is_lost_between_a_gap_and_the_live_stream(
    small: ServerProcess, channel: str
) -> None:
    published = await fill(small, channel, 12)
    async with http_client(small.url) as client:
        publishing = asyncio.create_task(
            publish_batch(client, [{"channel": channel, "data": n} for n in range(KEPT)])
        )
        envelopes = await collect(
            small.url,
            "ws",
            [channel],
            cursor=cursor_of(published[0]),
            until=lambda e: e.get("seq") == 12 + KEPT,
        )
        published += await publishing
    messages = [from_envelope(e) for e in envelopes if e["type"] == "message"]
    gaps = [position(e["id"]) for e in envelopes if e["type"] == "gap"]
    assert gaps
    check_received(published[-len(messages) :], messages)
    assert gaps[-1] < position(cursor_of(messages[0]))
