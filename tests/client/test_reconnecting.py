"""What each transport does when the connection breaks, or the server says no or later."""

from __future__ import annotations

import socket
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.scripted_server import (
    Step,
    Then,
    answer,
    close_frame,
    event_stream,
    scripted,
    text_frame,
    web_socket,
)
from tidewire.client import (
    Backoff,
    Gap,
    LongPollTransport,
    Message,
    Position,
    Ready,
    Received,
    Refused,
    Replaced,
    ServerAddress,
    ShortPollTransport,
    SseTransport,
    Watcher,
    WebSocketTransport,
    open_http,
    receive,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.client.scripted_server import ScriptedServer
    from tidewire.client import Transport

HOLD = Then.HOLD


def message(number: int, channel: str = "news") -> dict[str, Any]:
    return {"type": "message", "id": f"e-{number}", "channel": channel, "seq": number,
            "time": 5, "data": number}  # fmt: skip


def ready(number: int) -> dict[str, Any]:
    return {"type": "ready", "id": f"e-{number}", "session": "s", "recovered": True,
            "channels": ["news"]}  # fmt: skip


def gap(number: int, channel: str = "news") -> dict[str, Any]:
    return {"type": "gap", "id": f"e-{number}", "channel": channel, "reason": "expired"}


def block(envelope: dict[str, Any], retry: int | None = None) -> str:
    """An event as the server writes it."""
    kind = "" if envelope["type"] == "message" else f"event: tidewire.{envelope['type']}\n"
    text = str(envelope).replace("'", '"').replace("True", "true")
    wait = "" if retry is None else f"retry: {retry}\n"
    return f"{kind}id: {envelope.get('id', 'e-0')}\n{wait}data: {text}\n\n"


def page(*messages: dict[str, Any], cursor: int, **more: Any) -> dict[str, Any]:
    """The body of a poll."""
    return {"messages": list(messages), "cursor": f"e-{cursor}", "hasNew": bool(messages),
            "recovered": True, "gaps": [], **more}  # fmt: skip


class EnoughWaitingError(Exception):
    """The test has seen enough."""


class Session(Watcher):
    """What a subscriber has received and how long it has waited; its time stands still."""

    def __init__(self, transport: Transport, position: Position) -> None:
        self.position = position
        self.received: list[Received] = []
        self.waits: list[float] = []
        self.reasons: list[str] = []
        self.connections = 0
        self.time = 0.0
        self.longest = 1000.0
        self.intervals: list[float] = []
        self._transport = transport

    def connected(self) -> None:
        self.connections += 1

    def waiting(self, delay: float, reason: str) -> None:
        self.waits.append(delay)
        self.reasons.append(reason)

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.time > self.longest:
            raise EnoughWaitingError

    async def take(self, count: int) -> list[int]:
        """Receive until there are ``count`` messages; return their numbers."""
        events = receive(
            self._transport,
            self.position,
            backoff=Backoff(draw=lambda: 0.5),
            watcher=self,
            clock=lambda: self.time,
            sleep=self.sleep,
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Received):
                    self.received.append(event)
                if len(self.numbers) == count:
                    break
        return self.numbers

    @property
    def numbers(self) -> list[int]:
        """The data of the messages, which are numbers in these tests."""
        return [one.envelope.data for one in self.received if isinstance(one.envelope, Message)]


@asynccontextmanager
async def session(
    name: str, server: ScriptedServer | str, *, cursor: str | None = None, since: str | None = None
) -> AsyncGenerator[Session]:
    """A subscriber to the channel ``news``."""
    address = ServerAddress.parse(server if isinstance(server, str) else server.url)
    position = Position(["news"], cursor=cursor, since=since)
    async with open_http(address) as http:
        intervals: list[float] = []

        async def sleep(seconds: float) -> None:
            intervals.append(seconds)

        transports: dict[str, Transport] = {
            "ws": WebSocketTransport(address),
            "sse": SseTransport(http, address),
            "longpoll": LongPollTransport(http, address),
            "poll": ShortPollTransport(http, address, sleep=sleep),
        }
        made = Session(transports[name], position)
        made.intervals = intervals
        yield made


# Streams


async def test_an_event_stream_goes_on_after_the_last_whole_event() -> None:
    cut = block(message(3))[:-1]  # all but the last line end: not an event yet
    async with (
        scripted(
            event_stream(block(ready(0), retry=3000), block(message(1)), block(message(2)), cut),
            event_stream(block(ready(2)), block(message(3)), block(message(4)), then=HOLD),
        ) as server,
        session("sse", server, since="start") as subscriber,
    ):
        assert await subscriber.take(4) == [1, 2, 3, 4]
        first, second = server.requests
        assert first.query == {"channels": "news", "since": "start", "fragments": "true"}
        assert first.headers["accept"] == "text/event-stream"
        assert second.query == {
            "channels": "news",
            "cursor": "e-2",
            "session": "s",
            "fragments": "true",
        }
        # Not before the 3 s that the server asks for, and not all clients at the same moment.
        assert subscriber.waits == [3.5]
        assert subscriber.connections == 2


async def test_a_websocket_goes_on_after_the_last_whole_frame() -> None:
    cut = text_frame(message(3))[:-1]
    async with (
        scripted(
            web_socket(text_frame(ready(0)), text_frame(message(1)), text_frame(message(2)), cut),
            web_socket(text_frame(ready(2)), text_frame(message(3)), then=HOLD),
        ) as server,
        session("ws", server, cursor="e-0") as subscriber,
    ):
        assert await subscriber.take(3) == [1, 2, 3]
        first, second = server.requests
        assert first.path == "/ws"
        assert first.query == {"channels": "news", "cursor": "e-0"}
        assert first.headers["sec-websocket-protocol"] == "tidewire.v1.json"
        assert second.query == {"channels": "news", "cursor": "e-2", "session": "s"}
        assert subscriber.waits == [0.5]


async def test_a_stream_that_only_said_ready_is_resumed_from_there() -> None:
    async with (
        scripted(
            event_stream(block(ready(7))),
            event_stream(block(ready(7)), block(message(8)), then=HOLD),
        ) as server,
        session("sse", server) as subscriber,
    ):
        assert await subscriber.take(1) == [8]
        assert "cursor" not in server.requests[0].query
        assert server.requests[1].query["cursor"] == "e-7"


async def test_a_gap_is_passed_on_and_not_asked_for_again() -> None:
    async with (
        scripted(
            web_socket(text_frame(ready(1)), text_frame(gap(50))),
            web_socket(text_frame(ready(50)), text_frame(message(51)), then=HOLD),
        ) as server,
        session("ws", server, cursor="e-1") as subscriber,
    ):
        await subscriber.take(1)
        assert [type(one.envelope) for one in subscriber.received] == [Ready, Gap, Ready, Message]
        assert server.requests[1].query["cursor"] == "e-50"


@pytest.mark.parametrize("name", ["ws", "sse"])
async def test_a_close_with_retry_is_obeyed(name: str) -> None:
    close = {"type": "close", "code": 1012, "reason": "the server restarts", "retry": 2000}
    steps = {
        "ws": [
            web_socket(text_frame(ready(1)), text_frame(close), close_frame(1012)),
            web_socket(text_frame(message(2)), then=HOLD),
        ],
        "sse": [
            event_stream(block(ready(1)), block(close, retry=2000), then=Then.CLOSE),
            event_stream(block(message(2)), then=HOLD),
        ],
    }[name]
    async with scripted(*steps) as server, session(name, server) as subscriber:
        assert await subscriber.take(1) == [2]
        assert subscriber.waits == [2.5]
        assert subscriber.reasons == ["the server closed the stream: 1012 the server restarts"]


@pytest.mark.parametrize("name", ["ws", "sse"])
async def test_a_close_without_retry_is_the_end(name: str) -> None:
    close = {"type": "close", "code": 4403, "reason": "not allowed any more"}
    step = {
        "ws": web_socket(text_frame(ready(1)), text_frame(close), then=HOLD),
        "sse": event_stream(block(ready(1)), block(close), then=HOLD),
    }[name]
    async with scripted(step) as server, session(name, server) as subscriber:
        with pytest.raises(Refused, match="4403 not allowed any more"):
            await subscriber.take(1)
        assert len(server.requests) == 1


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4408, 4429])
async def test_a_websocket_comes_back_after_these_codes(code: int) -> None:
    async with (
        scripted(
            web_socket(close_frame(code, "why"), then=Then.CLOSE),
            web_socket(text_frame(message(1)), then=HOLD),
        ) as server,
        session("ws", server) as subscriber,
    ):
        assert await subscriber.take(1) == [1]
        assert subscriber.reasons == [f"the server closed the connection: {code} why"]


@pytest.mark.parametrize("code", [1000, 1002, 1007, 1009, 4400, 4401, 4403, 4999])
async def test_a_websocket_does_not_come_back_after_these(code: int) -> None:
    step = web_socket(close_frame(code, "why"), then=Then.CLOSE)
    async with scripted(step) as server, session("ws", server) as subscriber:
        with pytest.raises(Refused, match=f"{code} why") as raised:
            await subscriber.take(1)
        assert raised.value.status == code


async def test_a_consumer_that_was_replaced_does_not_come_back() -> None:
    """Two that did would throw each other out for ever."""
    close = {"type": "close", "code": 4409, "reason": "replaced"}
    problem = {"title": "Conflict", "status": 409, "detail": "replaced", "code": "replaced"}
    gone = answer("409 Conflict", problem, Content_Type="application/problem+json")
    for name, steps in {
        "ws": [web_socket(text_frame(ready(1)), text_frame(close), close_frame(4409))],
        "sse": [event_stream(block(ready(1)), block(close), then=Then.CLOSE)],
        "longpoll": [answer(body=page(cursor=1)), gone],
        "poll": [gone],
    }.items():
        async with scripted(*steps) as server, session(name, server) as subscriber:
            with pytest.raises(Replaced, match="another connection with the same consumer name"):
                await subscriber.take(1)
            assert len(server.requests) == len(steps)
    cut = web_socket(close_frame(4409), then=Then.CLOSE)
    async with scripted(cut) as server, session("ws", server) as subscriber:
        with pytest.raises(Replaced) as raised:
            await subscriber.take(1)
        assert raised.value.status == 4409


async def test_failures_in_a_row_wait_longer_until_a_message_comes() -> None:
    cut = Step(b"", Then.RESET)
    async with (
        scripted(
            cut, cut, cut, web_socket(text_frame(ready(0))), web_socket(text_frame(message(1))),
            web_socket(text_frame(message(2)), then=HOLD),
        ) as server,
        session("ws", server) as subscriber,
    ):  # fmt: skip
        assert await subscriber.take(2) == [1, 2]
        assert subscriber.waits == [0.5, 1, 2, 4, 0.5]


# Every transport


TRANSPORTS = pytest.mark.parametrize("name", ["ws", "sse", "longpoll", "poll"])


@TRANSPORTS
async def test_a_server_that_is_not_there_is_waited_for(name: str) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        async with session(name, f"http://127.0.0.1:{taken.getsockname()[1]}") as subscriber:
            subscriber.longest = 5
            with pytest.raises(EnoughWaitingError):
                await subscriber.take(1)
    assert set(subscriber.reasons) == {"connection refused"}
    assert subscriber.waits == [0.5, 1, 2, 4]
    assert subscriber.connections == 0


@TRANSPORTS
async def test_a_refusal_is_final_and_says_why(name: str) -> None:
    body = {"title": "Bad request", "status": 400, "detail": "no such channel", "code": "x"}
    step = answer("400 Bad Request", body, Content_Type="application/problem+json")
    async with scripted(step) as server, session(name, server) as subscriber:
        with pytest.raises(Refused, match=r"no such channel \(HTTP 400\)"):
            await subscriber.take(1)
        assert len(server.requests) == 1


@TRANSPORTS
async def test_a_busy_server_is_given_the_time_it_asks_for(name: str) -> None:
    good = {
        "ws": [web_socket(text_frame(message(1)), then=HOLD)],
        "sse": [event_stream(block(message(1)), then=HOLD)],
        "longpoll": [answer(body=page(message(1), cursor=1))],
        "poll": [answer(body=page(message(1), cursor=1))],
    }[name]
    async with (
        scripted(answer("503 Service Unavailable", Retry_After="9"), *good) as server,
        session(name, server) as subscriber,
    ):
        assert await subscriber.take(1) == [1]
        assert subscriber.waits == [9.5]


@TRANSPORTS
async def test_another_kind_of_server_is_told_apart(name: str) -> None:
    page = answer(body=b"<html>hello</html>", Content_Type="text/html")
    step = web_socket(b"\x81\x05hello", then=HOLD) if name == "ws" else page
    async with scripted(step) as server, session(name, server) as subscriber:
        with pytest.raises(Refused, match=r"not a Tidewire|no event stream"):
            await subscriber.take(1)


async def test_a_stream_without_heartbeats_is_left() -> None:
    """Three of them must be missing; how often they come, ready says."""
    silent = block(ready(4) | {"heartbeat": 10})
    async with (
        scripted(
            event_stream(silent, then=HOLD),
            event_stream(block(message(5)), then=HOLD),
        ) as server,
        session("sse", server) as subscriber,
    ):
        assert await subscriber.take(1) == [5]
        assert subscriber.reasons == ["no answer in time"]
        assert server.requests[1].query["cursor"] == "e-4"


async def test_no_content_ends_an_event_stream_for_good() -> None:
    async with (
        scripted(answer("204 No Content")) as server,
        session("sse", server) as subscriber,
    ):
        with pytest.raises(Refused, match="HTTP 204"):
            await subscriber.take(1)


@pytest.mark.parametrize("name", ["sse", "longpoll", "poll"])
async def test_a_redirect_is_followed_but_not_to_where_its_certificate_is_not_checked(
    name: str,
) -> None:
    good = {
        "sse": event_stream(block(message(1)), then=HOLD),
        "longpoll": answer(body=page(message(1), cursor=1)),
        "poll": answer(body=page(message(1), cursor=1)),
    }[name]
    elsewhere = answer("307 Temporary Redirect", Location="/elsewhere?channels=news")
    async with scripted(elsewhere, good) as server, session(name, server) as subscriber:
        assert await subscriber.take(1) == [1]
        assert server.requests[1].path == "/elsewhere"
    tls = answer("307 Temporary Redirect", Location="https://127.0.0.1:1/")
    async with scripted(tls) as server, session(name, server) as subscriber:
        with pytest.raises(Refused, match="use its https address"):
            await subscriber.take(1)


# Polling


async def test_long_polling_fixes_its_start_before_it_waits() -> None:
    async with (
        scripted(
            answer(body=page(cursor=4)),
            Step(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", Then.RESET),
            answer("204 No Content", Tidewire_Cursor="e-6"),
            answer(body=page(message(7), message(8), cursor=8, gaps=[gap(7)])),
            answer(body=page(message(9), cursor=9)),
        ) as server,
        session("longpoll", server, since="now") as subscriber,
    ):
        assert await subscriber.take(3) == [7, 8, 9]
        assert [(one.path, one.query.get("cursor")) for one in server.requests] == [
            ("/poll", None),
            ("/longpoll", "e-4"),
            ("/longpoll", "e-4"),
            ("/longpoll", "e-6"),
            ("/longpoll", "e-8"),
        ]
        assert {one.query.get("wait") for one in server.requests[1:]} == {"30"}
        assert isinstance(subscriber.received[0].envelope, Gap)


async def test_short_polling_keeps_to_the_interval_and_sends_back_the_validator() -> None:
    async with (
        scripted(
            answer(body=page(cursor=1, interval=2500), ETag='"one"'),
            answer("304 Not Modified", Tidewire_Cursor="e-1"),
            answer(body=page(message(2), cursor=2, more=True), ETag='"two"'),
            answer(body=page(message(3), cursor=3, interval=2500), ETag='"three"'),
            answer(body=page(message(4), cursor=4, interval=4000), ETag='"four"'),
        ) as server,
        session("poll", server) as subscriber,
    ):
        assert await subscriber.take(3) == [2, 3, 4]
        assert [one.headers.get("if-none-match") for one in server.requests] == [
            None,
            '"one"',
            '"one"',
            '"two"',
            '"three"',
        ]
        assert [one.query.get("cursor") for one in server.requests] == [
            None,
            "e-1",
            "e-1",
            "e-2",
            "e-3",
        ]
        # No wait where the server says that there is more.
        assert subscriber.intervals == [2.5, 2.5, 2.5]
        assert subscriber.waits == []


async def test_the_gaps_of_a_poll_do_not_hide_its_messages_from_a_restart() -> None:
    """A subscriber that stops in the middle of an answer goes on there, not after its gaps."""
    step = answer(body=page(message(20), message(30), cursor=60, gaps=[gap(50, "other")]))
    async with scripted(step) as server, session("poll", server, cursor="e-1") as subscriber:
        assert await subscriber.take(1) == [20]
        assert subscriber.position.cursor == "e-20"
