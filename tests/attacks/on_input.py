"""Attacks by what is published, and by what is asked for."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.acceptance.eventsource import Event, EventStream
from tests.attacks.attack import attack

if TYPE_CHECKING:
    from tests.attacks.target import Target

POLL_INTERVAL = 1.0
"""The ``min_poll_interval`` of the server."""

LIVES = ("\r", "\n", "\r\n", "\r\n\r\n", "\u2028", "\x85", "\x00")


@attack("400; no recursion, no 5xx; what is a number stays the text that it was")
def json_bombs(target: Target) -> str:
    """JSON nested 100,000 deep, numbers of 100,000 digits, NaN, lone surrogates, double members."""
    headers = target.bearer()
    deep = [b"[" * 30_000 + b"]" * 30_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"[" * 60_000]
    bodies = [b'{"channel":"mallory:a","data":%b}' % value for value in deep]
    bodies += [b"[" * 60_000, b'{"channel":' + b"[" * 60_000, b'{"messages":' + b"[" * 60_000]
    for value in (
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e",
        b"0x1",
        b"01",
        b"1_0",
        b"'a'",
        b"{1:2}",
    ):
        bodies.append(b'{"channel":"mallory:a","data":%b}' % value)
    bodies.append(b'{"channel":"mallory:a","data":1,"ttl":1' + b"0" * 50_000 + b"}")
    bodies.append(b'{"channel":"mallory:a","data":1,"version":1' + b"0" * 50_000 + b"}")
    bodies.append(b'{"channel":"mallory:a","data":"\xed\xa0\x80"}')
    bodies.append(b'{"channel":"mallory:a","data":1,"headers":{"a":1}}')
    for body in bodies:
        answer = target.post("/publish", body, headers)
        assert answer.status == 400, (body[:60], answer)
        line = target.websocket()
        line.send_command(b'{"type":"publish","ref":1,' + body[1:])
        answer_kind = line.read_kind()
        assert answer_kind in ("error", 1007), (body[:60], answer_kind)
    return f"{len(bodies)} bodies, over HTTP and over WebSocket"


@attack(
    "429 with `Retry-After` past `max_message_rate` and `max_byte_rate`", counts=("publish_rate",)
)
def publish_flood(target: Target) -> str:
    """One user publishes as fast as it can: small messages, large ones, and batches."""
    headers = target.bearer()
    bodies = [
        {"channel": "mallory:flood", "data": 1},
        {"channel": "mallory:flood", "data": "x" * 30_000},
        {"messages": [{"channel": "mallory:flood", "data": n} for n in range(10)]},
    ]
    requests = [("POST", "/publish", json.dumps(body).encode()) for body in bodies * 40]
    answers = target.connect().pipeline(requests, headers)
    statuses = Counter(answer.status for answer in answers)
    assert statuses.keys() == {200, 429}, statuses
    assert all(int(answer.headers.get("retry-after", 1)) >= 1 for answer in answers)
    return f"{statuses[200]} published, {statuses[429]} × 429"


@attack(
    "429 with `Retry-After` below `min_poll_interval`, whatever else differs", counts=("poll_rate",)
)
def poll_flood(target: Target) -> str:
    """One user polls as fast as it can, from changing addresses and as changing programs."""
    statuses: Counter[int] = Counter()
    headers = target.bearer()
    began = time.monotonic()
    for number in target.flood():
        requests = [("GET", f"/poll?channels=live:news&device={n}", None) for n in range(50)]
        agent = {"User-Agent": str(number)}
        statuses.update(one.status for one in target.connect().pipeline(requests, headers | agent))
    assert statuses.keys() <= {200, 429, 503}, statuses
    allowed = 2 + (time.monotonic() - began) / POLL_INTERVAL
    assert 0 < statuses[200] <= allowed, (statuses, allowed)
    return f"{statuses[200]} answers, {statuses[429]} × 429"


@attack("400, or taken for a position that is unknown: a gap, and never another channel's messages")
def hostile_event_ids(target: Target) -> str:
    """`Last-Event-ID` and cursors: 7 kB, NUL, another log's, the future, negative, no numbers."""
    target.publish("secret:ids", "hidden")
    foreign = target.publish("secret:ids", "hidden")["id"]
    epoch = foreign.rpartition("-")[0]
    ids = [
        "x" * 7_000,
        "1" * 7_000,
        f"{epoch}-" + "9" * 7_000,
        "-1",
        f"{epoch}--1",
        f"{epoch}-1e9",
        f"{epoch}-0x10",
        f"{epoch}-{2**63}",
        f"{epoch}-{2**64 + 1}",
        f"{epoch}-9007199254740993",
        "AAAA-1795392012345678",
        "../../etc/passwd",
        "' OR 1=1 --",
        "%00",
        "é",
        foreign,
        ",".join(["a-1"] * 500),
    ]
    found: Counter[int] = Counter()
    for text in ids:
        for path in ("/poll?channels=mallory:a", "/sse?channels=mallory:a"):
            line = target.connect()
            line.request("GET", path, target.bearer() | {"Last-Event-ID": text})
            status, fields = line.head()
            assert status in (200, 400), (text[:40], status)
            if status == 200 and path.startswith("/poll"):
                body = line.read_exactly(int(fields["content-length"]))
                assert b"hidden" not in body, body
            found[status] += 1
            line.socket.close()
    return f"{found[400]} × 400, {found[200]} taken as a position"


@attack("every reader sees one event, with the data that was published, and no other field")
def field_injection(target: Target) -> str:
    """Ends of lines and whole fields of event streams in data, events, headers and keys."""
    channel = "mallory:" + target.unique("fields")
    reader = target.stream(f"/sse?channels={channel}", target.bearer())
    raw = target.stream(f"/sse?channels={channel}&format=raw", target.bearer())
    headers = target.bearer()
    payloads = [
        f"a{line}id: evil{line}event: evil{line}data: evil{line}retry: 1{line}{line}"
        for line in LIVES
    ]
    for data in payloads:
        answer = target.post("/publish", {"channel": channel, "data": data}, headers)
        assert answer.status == 200, answer
        for name in ("event", "channel"):
            if name == "event" and "\u2028" in data:
                continue  # to an event stream that is no end of a line
            body = {"channel": channel, "data": 1} | {name: f"a{data}"}
            assert target.post("/publish", body, headers).status in (400, 403), body
    assert target.post("/publish", {"channel": channel, "data": "last"}, headers).status == 200
    stream = EventStream()
    events: list[Event] = []
    while not events or json.loads(events[-1].data).get("data") != "last":
        events += stream.feed(reader.chunk())
    messages = [event for event in events if event.type == "message"]
    assert [json.loads(event.data)["data"] for event in messages] == [*payloads, "last"]
    stream, events = EventStream(), []
    while not events or events[-1].data != "last":
        events += stream.feed(raw.chunk())
    assert {event.type for event in events} <= {"message", "tidewire.ready"}, events
    assert all(event.last_event_id != "evil" for event in events), events
    return f"{len(payloads)} messages, each one event"


@attack("escaped: each line of the log is one of the server's own")
def log_injection(target: Target) -> str:
    """Ends of lines, escapes of terminals and false entries in whatever a log may show."""
    evil = '\x1b[2J\x1b]0;owned\x07{"level":"info","event":"all is well"}'
    quoted = "%0d%0a%1b%5b2J%7b%22event%22:%22false%22%7d%e2%80%a8%c2%85"
    headers = target.bearer()
    for path in (f"/{quoted}", f"/poll?channels={quoted}", f"/poll?channels=secret:{quoted}"):
        assert target.get(path, headers).status in (400, 403, 404), path
    for name in ("User-Agent", "Referer", "X-Forwarded-For", "Authorization", "Origin"):
        answer = target.get("/poll?channels=mallory:a", {name: f"Bearer {evil}"})
        assert answer.status in (400, 401, 403), answer
    user = target.unique('mallory"}\u202e{"event":"false"')
    answer = target.get("/poll?channels=secret:plans", target.bearer(user))
    assert answer.status == 403, answer
    return "9 attempts"


@attack(
    "what is kept by channel is bounded; the pace holds for new channels as for old ones",
    counts=("publish_rate",),
)
def channel_flood(target: Target) -> str:
    """Each message in a channel of its own, each subscription to channels that nobody knows."""
    headers = target.bearer()
    requests: list[tuple[str, str, bytes | None]] = []
    for number in range(40):
        batch = [{"channel": f"mallory:{number}-{n}", "data": 1} for n in range(10)]
        names = ",".join(f"mallory:{number}-{n}" for n in range(100))
        requests.append(("POST", "/publish", json.dumps({"messages": batch}).encode()))
        requests.append(("GET", f"/poll?channels={names}", None))
    answers = target.connect().pipeline(requests, headers)
    published = Counter(answer.status for answer in answers[::2])
    assert published.keys() == {200, 429}, published
    return f"{published[200] * 10} channels made, {published[429]} × 429"


@attack("the pace of messages holds for them; each lives in the log, as a small record")
def consumer_flood(target: Target) -> str:
    """Durable consumers that nobody will read as again, each under a name of its own."""
    headers = target.bearer()
    query = "/longpoll?wait=1&channels=live:news&since=start&consumer="
    requests = [("GET", f"{query}c{number}", None) for number in range(200)]
    answers = target.connect().pipeline(requests, headers)
    statuses = Counter(answer.status for answer in answers)
    return f"{dict(statuses)}"
