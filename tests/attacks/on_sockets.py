"""Attacks by connections: more of them, or more often, than the server has room for."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.acceptance.raw_websocket import TEXT, frame
from tests.acceptance.waiting import wait_until
from tests.attacks.attack import MiB, attack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.raw_http import Response
    from tests.attacks.target import Target

PER_ADDRESS = 100
"""``max_connections_per_ip`` of deploy/internet.toml."""
PER_USER = 20
FILES = 1024
"""Open files that the server may have."""


def put_off(answer: Response, status: int) -> None:
    """Check that this is a refusal which says when to come back."""
    assert answer.status == status, answer
    assert 1 <= int(answer.headers["retry-after"]) <= 60, answer.headers


@attack(
    "503 with `Retry-After`, another one each time, once `max_connection_rate` is exceeded",
    counts=("connection_rate",),
)
def connection_flood(target: Target) -> str:
    """1,000 connections in one moment, each with one request, from 250 addresses."""
    lines = target.connections(1_000)
    for line in lines:
        line.send_some(_request(target, "GET /poll?channels=mallory:a HTTP/1.1", {}))
    statuses: Counter[int] = Counter()
    delays: set[str] = set()
    for line in lines:
        try:
            answer = line.response()
        except ConnectionError:  # there are too many even to be told
            statuses[0] += 1
            continue
        statuses[answer.status] += 1
        if answer.status == 503:
            put_off(answer, 503)
            delays.add(answer.headers["retry-after"])
    assert statuses.keys() <= {401, 503, 0}, statuses
    assert statuses[503] >= 10, statuses
    assert len(delays) > 1, delays
    return f"{dict(statuses)}"


@attack("429 with `Retry-After` past `max_connections_per_ip`", counts=("connections_per_ip",))
def one_address(target: Target) -> str:
    """One address opens twice as many connections as it may have, and keeps them."""
    source = "127.0.4.1"
    statuses: Counter[int] = Counter()
    kept = []
    for _ in range(2 * PER_ADDRESS):
        line = target.connect(source)
        answer = line.get("/poll?channels=mallory:a")
        statuses[answer.status] += 1
        if answer.status != 401:  # 503: there were too many of all addresses together
            put_off(answer, 429 if answer.status == 429 else 503)
        kept.append(line)
    assert statuses.keys() <= {401, 429, 503}, statuses
    assert 0 < statuses[401] <= PER_ADDRESS, statuses
    return f"{statuses[401]} were let in, {statuses[429]} × 429"


@attack("that is not believed: they count by where they are", counts=("connections_per_ip",))
def spoofed_addresses(target: Target) -> str:
    """The same, with another address in `X-Forwarded-For` and `Forwarded` each time."""
    source = "127.0.4.2"
    statuses: Counter[int] = Counter()
    kept = []
    for number in range(PER_ADDRESS + 50):
        line = target.connect(source)
        spoofed = f"198.51.100.{number}"
        headers = {"X-Forwarded-For": spoofed, "Forwarded": f"for={spoofed}", "X-Real-IP": spoofed}
        statuses[line.get("/poll?channels=mallory:a", headers).status] += 1
        kept.append(line)
    assert statuses.keys() <= {401, 429, 503}, statuses
    assert 0 < statuses[401] <= PER_ADDRESS, statuses
    return f"{statuses[401]} were let in, {statuses[429]} × 429"


@attack("429 past `max_connections_per_user`", counts=("connections_per_user",))
def one_user(target: Target) -> str:
    """One user opens more streams than it may, from many addresses."""
    headers = target.bearer()
    statuses: Counter[int] = Counter()
    for _ in range(2 * PER_USER):
        answer = target.connect().handshake("/ws?channels=mallory:a", headers)
        statuses[answer.status] += 1
        if answer.status != 101:
            put_off(answer, 429 if answer.status == 429 else 503)
    assert 0 < statuses[101] <= PER_USER, statuses
    assert statuses[429] > 0, statuses
    return f"{statuses[101]} streams, {statuses[429]} × 429"


@attack("nothing of it is kept: no connection, no session, no memory")
def resets(target: Target) -> str:
    """Clients vanish by RST in the middle of everything: heads, bodies, frames, streams."""
    headers = target.bearer()
    rng = random.Random(5)  # the same cuts in every run
    count = 0
    whole = [
        _request(target, "GET /sse?channels=mallory:a HTTP/1.1", headers),
        _request(target, "GET /longpoll?channels=mallory:a HTTP/1.1", headers),
        _request(target, "GET /poll?channels=mallory:a HTTP/1.1", headers) * 5,
        _request(target, "POST /publish HTTP/1.1", headers | {"Content-Length": "50000"})
        + b"x" * 9_000,
        _request(target, "GET /ws?channels=mallory:a HTTP/1.1", headers | HANDSHAKE)
        + frame(TEXT, b'{"type":"subscribe","ref":1,"channels":["mallory:b"]}') * 3,
        _request(target, "GET /history?channel=live:news&limit=1000 HTTP/1.1", headers),
    ]
    for number in target.flood():
        data = whole[number % len(whole)]
        line = target.connect()
        line.send(data[: rng.randrange(1, len(data) + 1)])
        if number % 3 == 0:
            line.is_over()  # lets the server come to its answer now and then
        line.reset()
        count += 1
    return f"{count} connections were reset"


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def _request(target: Target, first: str, headers: dict[str, str]) -> bytes:
    fields = {"Host": target.facts.authority} | headers
    return "\r\n".join([first, *(f"{k}: {v}" for k, v in fields.items()), "", ""]).encode()


@attack("400, 426 or 401 each, and nothing is kept", counts=("credentials",))
def bad_handshakes(target: Target) -> str:
    """A stream of WebSocket handshakes that are wrong: keys, versions, methods, no token."""
    wrong: Iterator[tuple[dict[str, str | None], int]] = itertools.cycle(
        [
            ({"Sec-WebSocket-Key": "short"}, 400),
            ({"Sec-WebSocket-Key": None}, 400),
            ({"Sec-WebSocket-Version": "12"}, 426),
            ({"Upgrade": None}, 426),
            ({"Authorization": None}, 401),
            ({"Authorization": "Bearer no.token.atall"}, 401),
        ]
    )
    token = target.bearer()
    count = 0
    for _ in target.flood():
        changes, status = next(wrong)
        with target.connect() as line:
            answer = line.handshake("/ws?channels=mallory:a", token | changes)
        if answer.status != 503:  # too many at once
            assert answer.status == status, (changes, answer)
            count += 1
    return f"{count} handshakes were refused"


@attack(
    "503 before descriptors run out; health and metrics are answered; all is well when they go",
    counts=("files",),
)
def all_descriptors(target: Target) -> str:
    """More connections than the server may have files open, each with a request in the making."""
    lines = []
    # So many a second are let in, and those that have asked for something may stay.
    for number in range(FILES + 200):
        line = target.connect()
        line.send(_request(target, "GET /poll?channels=mallory:a HTTP/1.1", {}))
        lines.append(line)
        if number % 100 == 99:
            time.sleep(0.4)
    statuses: Counter[int] = Counter()
    for line in lines:
        try:
            statuses[line.response().status] += 1
        except ConnectionError:  # there was no descriptor even to tell it
            statuses[0] += 1
    assert statuses.keys() <= {401, 503, 0}, statuses
    assert statuses[401] < FILES - 100, statuses
    assert target.get("/healthz").status == 200
    assert target.get("/metrics", target.back_end).status == 200
    for line in lines:
        line.socket.close()
    wait_until(lambda: target.get("/poll?channels=mallory:a").status == 401)
    return f"{statuses[401]} were let in, {statuses[503] + statuses[0]} were not"


@attack("each gets all that it missed, at the cost of few reads of the log", peak=64 * MiB)
def reconnect_storm(target: Target) -> str:
    """300 clients come back at once, again and again, each behind by all that the log keeps."""
    channel = "mallory:" + target.unique("storm")
    batch = {"messages": [{"channel": channel, "data": "x" * 100} for _ in range(1_000)]}
    assert target.post("/publish", batch, target.back_end).status == 200
    tokens = [target.bearer() for _ in range(300)]
    until = time.monotonic() + 2
    rounds = 0
    while time.monotonic() < until:
        lines = []
        for number, headers in enumerate(tokens):
            line = target.connect()
            kind = ("sse", "longpoll")[number % 2]
            line.request("GET", f"/{kind}?channels={channel}&since=start", headers)
            lines.append(line)
        for line in lines:
            status, _ = line.head()
            assert status in (200, 503), status
            line.reset()
        rounds += 1
    return f"{rounds} × 300 clients"
