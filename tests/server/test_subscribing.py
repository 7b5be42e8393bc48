"""What subscribers' requests share: whole answers to equal polls, and how often one may poll."""

from __future__ import annotations

import asyncio
import re
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from tidewire.model import EngineUnavailable, TooManyRequests
from tidewire.server import polls
from tidewire.server.polls import PollAnswers
from tidewire.server.request import Request
from tidewire.server.subscribing import Subscribers

if TYPE_CHECKING:
    from tests.server.conftest import MakeServer, Reply, Server
    from tidewire.hub import Opening
    from tidewire.model import Subscription
    from tidewire.server.subscribing import Poller

# Whole answers


class Clock:
    """The time of day, moved by the test."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which answers are kept."""
    clock = Clock()
    monkeypatch.setattr(polls, "time", clock)
    return clock


def test_an_answer_is_good_until_the_next_message(app_server: Server, clock: Clock) -> None:
    answers = PollAnswers(app_server.hub)
    assert answers.get((b"a",)) is None
    answers.put((b"a",), b"whole")
    assert answers.get((b"a",)) == b"whole"
    assert answers.get((b"b",)) is None
    app_server.publish("of any channel")
    assert answers.get((b"a",)) is None


def test_an_answer_is_good_until_the_second_ends(app_server: Server, clock: Clock) -> None:
    answers = PollAnswers(app_server.hub)
    answers.get((b"a",))
    answers.put((b"a",), b"whole")
    clock.now += 0.9
    assert answers.get((b"a",)) == b"whole"
    clock.now += 0.1
    assert answers.get((b"a",)) is None


def test_few_and_small_answers_are_kept(app_server: Server, clock: Clock) -> None:
    answers = PollAnswers(app_server.hub, most=2)
    for key in (b"1", b"2", b"3"):
        answers.get((key,))
        answers.put((key,), b"whole")
    assert [answers.get((key,)) for key in (b"1", b"2", b"3")] == [b"whole", b"whole", None]
    clock.now += 1
    answers.get((b"large",))
    answers.put((b"large",), bytes(100_000))
    assert answers.get((b"large",)) is None


def test_equal_polls_get_the_same_bytes(app_server: Server, clock: Clock) -> None:
    app_server.publish("a")
    cursor = app_server.get("/poll?channels=a").json["cursor"]
    first, second = app_server.client(), app_server.client()
    for client in (first, second):
        client.send(f"/poll?channels=a&cursor={cursor}")
    assert first.read() == second.read()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:1"},
        {"Origin": "http://localhost:2"},
        {"If-None-Match": "*"},
        {"Last-Event-ID": "x"},
        {"Host": "evil.example"},
        {"If-Modified-Since": "now"},
    ],
)
def test_polls_that_differ_do_not_share(
    app_server: Server, clock: Clock, headers: dict[str, str]
) -> None:
    app_server.publish("a")
    if "If-Modified-Since" in headers:
        headers = {"If-Modified-Since": formatdate(usegmt=True)}

    def facts(reply: Reply) -> tuple[int, str | None, bytes]:
        body = re.sub(rb"urn:tidewire:request:\w+", b"", reply.body)  # each has an id of its own
        return reply.status, reply.headers.get("access-control-allow-origin"), body

    alone = facts(app_server.get("/poll?channels=a", headers))
    clock.now += 5
    plain = facts(app_server.get("/poll?channels=a"))
    assert facts(app_server.get("/poll?channels=a", headers)) == alone
    assert facts(app_server.get("/poll?channels=a")) == plain
    assert alone != plain


def test_a_shared_answer_never_ends_or_empties_a_connection(
    app_server: Server, clock: Clock
) -> None:
    kept = app_server.client()
    body = kept.get("/poll?channels=a").body
    closing = app_server.client()
    reply = closing.get("/poll?channels=a", {"Connection": "close"})
    assert (reply.headers["connection"], reply.body) == ("close", body)
    assert closing.closed()
    head = app_server.client().get("/poll?channels=a", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    old = app_server.client()
    assert old.get("/poll?channels=a", version="1.0").body == body
    assert old.closed()
    assert kept.get("/poll?channels=a").body == body
    assert not kept.closed()


# How often one may poll

A: Poller = ("10.0.0.1", b"browser", frozenset({"news"}))


def refused(subscribers: Subscribers, poller: Poller, now: float) -> float:
    """How long a poll at *now* is told to wait, at an interval of 10 seconds; 0 if it is served."""
    try:
        subscribers.check_interval(poller, now, 10)
    except TooManyRequests as error:
        return error.retry_after
    return 0


def test_a_poller_keeps_to_the_interval() -> None:
    subscribers = Subscribers()
    waits = [refused(subscribers, A, now) for now in (100, 104, 109.5, 110, 111, 120)]
    # A refused poll does not push the next one away.
    assert waits == [0, 6, 0.5, 0, 9, 0]


def test_pollers_are_told_apart() -> None:
    subscribers = Subscribers()
    others: list[Poller] = [
        ("10.0.0.2", b"browser", frozenset({"news"})),
        ("10.0.0.1", b"script", frozenset({"news"})),
        ("10.0.0.1", None, frozenset({"news"})),
        ("10.0.0.1", b"browser", frozenset({"news", "more"})),
    ]
    assert [refused(subscribers, poller, 100) for poller in (A, *others)] == [0] * 5
    assert [refused(subscribers, poller, 101) for poller in (A, *others)] == [9] * 5


def test_who_has_more_to_fetch_may_come_at_once() -> None:
    subscribers = Subscribers()
    assert refused(subscribers, A, 100) == 0
    subscribers.welcome_back(A)
    assert refused(subscribers, A, 100.1) == 0
    subscribers.welcome_back(("never", None, frozenset({"seen"})))


def test_pollers_of_the_past_are_forgotten() -> None:
    subscribers = Subscribers()
    for n in range(1_000):
        refused(subscribers, (f"10.0.{n}", None, frozenset({"a"})), 100 + n / 10)
    assert len(subscribers._last_polls) <= 101 + 1
    refused(subscribers, A, 1_000)
    assert len(subscribers._last_polls) == 1


def test_a_poll_too_early_is_429(make_server: MakeServer) -> None:
    server = make_server(min_poll_interval=1.5, poll_interval=2.0)
    assert server.get("/poll?channels=a").status == 200
    # Another connection, another cursor, 304 or not: the same poller
    cursor = f"{server.engine.epoch}-0"
    reply = server.get(f"/poll?channels=a&cursor={cursor}", {"Origin": "http://localhost:1"})
    assert (reply.status, reply.json["code"]) == (429, "too_many_requests")
    assert 1 <= int(reply.headers["retry-after"]) <= 2
    assert reply.headers["access-control-allow-origin"] == "http://localhost:1"
    assert server.get("/poll?channels=b").status == 200
    assert server.get("/poll?channels=a", {"User-Agent": "other"}).status == 200
    assert server.app.refusals == {"poll_rate": 1}


def test_the_order_of_channels_makes_no_other_poller(make_server: MakeServer) -> None:
    server = make_server(min_poll_interval=1.5, poll_interval=2.0)
    assert server.get("/poll?channels=a,b").status == 200
    assert server.get("/poll?channels=b,a").status == 429


def test_pollers_behind_a_proxy_are_told_apart_by_their_addresses(make_server: MakeServer) -> None:
    server = make_server(min_poll_interval=1.5, poll_interval=2.0, trusted_proxies=["127.0.0.1"])
    statuses = [
        server.get("/poll?channels=a", {"X-Forwarded-For": address}).status
        for address in ("203.0.113.1", "203.0.113.2", "203.0.113.1", "2001:db8::1", "2001:db8::2")
    ]
    assert statuses == [200, 200, 429, 200, 429]


# Queries


def request(query: bytes, headers: dict[bytes, bytes] | None = None) -> Request:
    """A request with *query*."""
    made = Request(b"GET", b"/poll?" + query, headers or {}, "1.1", True)
    made.query = query
    return made


def test_equal_queries_are_parsed_once() -> None:
    subscribers = Subscribers()
    first = subscribers.query(request(b"channels=a"), 10)
    assert subscribers.query(request(b"channels=a"), 10) is first
    assert subscribers.query(request(b"channels=b"), 10) != first


def test_the_header_of_a_cursor_makes_another_query() -> None:
    subscribers = Subscribers()
    plain = subscribers.query(request(b"channels=a"), 10)
    resumed = subscribers.query(request(b"channels=a", {b"last-event-id": b"abcd-5"}), 10)
    assert not plain.subscription.cursors
    assert [cursor.id for cursor in resumed.subscription.cursors] == [5]


def test_queries_do_not_pile_up() -> None:
    subscribers = Subscribers()
    for n in range(5_000):
        subscribers.query(request(b"channels=c%d" % n), 10)
    assert len(subscribers._queries) <= 1_024


# One address for all


def test_the_request_chooses_the_transport(app_server: Server) -> None:
    app_server.publish("a")

    def kind(headers: dict[str, str], query: str = "") -> str:
        client = app_server.client()
        client.send(f"/subscribe?channels=a{query}", headers)
        data = client.read()
        client.leave()
        if not data:
            return "held"
        return "101" if data.startswith(b"HTTP/1.1 101 ") else data.split(b"\r\n")[2].decode()

    upgrade = {
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "WebSocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert kind(upgrade) == "101"
    assert kind({**upgrade, "Accept": "text/event-stream"}) == "101"
    assert kind({"Accept": "text/event-stream"}) == "Content-Type: text/event-stream"
    assert kind({}, "&wait=20") == "held"
    assert kind({"Prefer": "wait=20"}) == "held"
    assert kind({"Prefer": "respond-async"}) == "Content-Type: application/json"
    assert kind({}) == "Content-Type: application/json"


@pytest.mark.parametrize("target", ["/sse", "/longpoll", "/poll", "/subscribe", "/poll?channels="])
def test_channels_are_needed(app_server: Server, target: str) -> None:
    reply = app_server.get(target)
    assert reply.status == 400
    assert reply.json["code"] in ("no_channels", "invalid_channel")


def test_a_held_poll_is_answered_by_the_next_message(app_server: Server) -> None:
    client = app_server.client()
    client.send("/longpoll?channels=a&wait=20")
    client.send("/healthz")
    assert client.read() == b""
    app_server.publish("b")
    assert client.read() == b""
    app_server.publish("a", b'"x"')
    data = client.read()
    first, second = data.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b'"data":"x"' in first
    assert second.endswith(b'{"status":"ok"}')


def test_a_held_poll_of_a_client_that_is_gone_is_forgotten(app_server: Server) -> None:
    client = app_server.client()
    client.send("/longpoll?channels=a&wait=20")
    client.leave()
    app_server.publish("a")
    assert client.read() == b""


# What memory cannot answer

TARGETS = ["/sse?channels=a", "/longpoll?channels=a&since=-1", "/poll?channels=a&since=-1"]
EVENTS = {"Accept": "text/event-stream"}


class SlowLog:
    """Nothing is known in memory, and the log answers when the test says so."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server = server
        self._open = server.hub.open
        self._gate: asyncio.Future[None] = server.loop.create_future()
        monkeypatch.setattr(server.hub, "open_now", lambda *_, **__: None)
        monkeypatch.setattr(server.hub, "open", self.open)

    async def open(
        self, wanted: Subscription, upto: int, most: int = 256, policy: str | None = None
    ) -> Opening:
        await self._gate
        return await self._open(wanted, upto, most, policy)

    def let_go(self, error: Exception | None = None) -> None:
        """Let the log answer, or fail."""
        if error is not None:
            self._gate.set_exception(error)
        else:
            self._gate.set_result(None)
        self._server.turn()


@pytest.fixture
def slow_log(app_server: Server, monkeypatch: pytest.MonkeyPatch) -> SlowLog:
    """A log with one message that has to be read."""
    app_server.publish("a")
    return SlowLog(app_server, monkeypatch)


@pytest.mark.parametrize("target", [*TARGETS, "/history?channel=a"])
def test_a_fault_is_an_answer_too(
    app_server: Server, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Else the request would wait for ever, and its connection with it."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app_server.hub, "open_now", lambda *_: None)
    monkeypatch.setattr(app_server.hub, "open", fail)
    monkeypatch.setattr(app_server.hub.engine, "read", fail)
    client = app_server.client()
    client.send(target)
    app_server.turn()
    assert client.reply().status == 500


@pytest.mark.parametrize("target", TARGETS)
def test_an_answer_from_the_log_comes_later(
    app_server: Server, slow_log: SlowLog, target: str
) -> None:
    client = app_server.client()
    client.send(target)
    assert client.read() == b""
    slow_log.let_go()
    assert client.reply().status == 200
    assert not client.closed()


@pytest.mark.parametrize("target", TARGETS)
def test_a_client_that_left_while_the_log_was_read(
    app_server: Server, slow_log: SlowLog, target: str
) -> None:
    client = app_server.client()
    client.send(target)
    client.leave()
    slow_log.let_go()
    app_server.publish("a")
    assert client.read() == b""
    assert client.connection.stream is None
    assert client.connection.pending is None


@pytest.mark.parametrize("target", TARGETS)
def test_a_log_that_is_away(app_server: Server, slow_log: SlowLog, target: str) -> None:
    client = app_server.client()
    client.send(target)
    slow_log.let_go(EngineUnavailable("the disk is away"))
    reply = client.reply()
    assert (reply.status, reply.json["code"]) == (503, "engine_unavailable")


@pytest.mark.parametrize("target", TARGETS[:2])
def test_a_drain_while_the_log_was_read(app_server: Server, slow_log: SlowLog, target: str) -> None:
    client = app_server.client()
    client.send(target)
    app_server.app.drain()
    assert client.read() == b""
    slow_log.let_go()
    assert client.reply().status == 503
    assert client.closed()


@pytest.mark.parametrize("why", ["drain", "log"])
@pytest.mark.parametrize("path", ["/sse", "/subscribe"])
def test_an_eventsource_is_never_told_503(
    app_server: Server, slow_log: SlowLog, path: str, why: str
) -> None:
    client = app_server.client()
    client.send(f"{path}?channels=a", EVENTS)
    if why == "drain":
        app_server.app.drain()
        slow_log.let_go()
    else:
        slow_log.let_go(EngineUnavailable("the disk is away"))
    reply = client.reply()
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert b"event: tidewire.close\n" in reply.body
    assert b"\nretry: " in reply.body
    assert client.closed()


def test_head_of_a_stream_has_no_body_when_turned_away(app_server: Server) -> None:
    app_server.app.drain()
    reply = app_server.get("/sse?channels=a", EVENTS, method="HEAD")
    assert (reply.status, reply.body) == (503, b"")
