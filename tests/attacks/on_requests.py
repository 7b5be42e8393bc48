"""Attacks by HTTP requests that are wrong, too large, or meant for somebody else."""

from __future__ import annotations

import time
from collections import Counter
from itertools import cycle
from typing import TYPE_CHECKING

from tests.attacks.attack import MiB, attack
from tests.conformance.http_attacks import CHUNKS, CODINGS, FIELDS, HANDSHAKE, LENGTHS

if TYPE_CHECKING:
    from tests.attacks.target import Line, Target

LINGERS = 10.0
"""Seconds after which a connection that was answered with an error is surely closed."""
NEXT = b"GET /healthz?smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


def statuses(data: bytes) -> list[int]:
    """The statuses of all answers in what a connection has sent until its end."""
    heads = [part for part in data.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]
    return [int(head[:3]) for head in heads]


def only_answer(line: Line, data: bytes) -> int:
    """Send *data*; the status of the one answer, behind which the server closes."""
    line.send_until_refused(data)
    found = statuses(line.read_to_end())
    assert len(found) == 1, found
    return found[0]


@attack("400, and the connection ends: what is behind it is never answered")
def smuggled_requests(target: Target) -> str:
    """Requests that two servers read in two ways (CL.TE, TE.CL, chunks, folds), others behind."""
    wrong = cycle([*LENGTHS.items(), *CODINGS.items(), *CHUNKS.items(), *FIELDS.items()])
    count = 0
    for _ in target.flood():
        name, data = next(wrong)
        with target.connect() as line:
            status = only_answer(line, data + NEXT)
        if status != 503:  # too many at once
            assert status == 400, (name, status)
            count += 1
    return f"{count} × 400"


@attack("the bytes behind a refused upgrade are nobody's: one answer, and the end")
def refused_tunnels(target: Target) -> str:
    """Upgrades to h2c and to a WebSocket that are refused, and requests right behind them."""
    host = b"Host: " + target.facts.authority.encode()
    fields = b"\r\n".join(HANDSHAKE)
    tunnels = [
        b"GET /ws HTTP/1.1\r\n" + host + b"\r\n" + fields.replace(b": 13", b": 12") + b"\r\n\r\n",
        b"GET /ws HTTP/1.1\r\n" + host + b"\r\n" + fields + b"\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\n" + host + b"\r\n" + fields + b"\r\n\r\n",
        b"CONNECT localhost:8480 HTTP/1.1\r\n" + host + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + host + b"\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    ]
    found: Counter[int] = Counter()
    for data in tunnels * 10:
        with target.connect() as line:
            found[only_answer(line, data + NEXT * 5)] += 1
    assert 101 not in found, found
    return ", ".join(f"{count} × {status}" for status, count in sorted(found.items()))


@attack(
    "431 past `max_head_size` or 100 fields, 414 past `max_target_size`; read no further",
    counts=("head_size", "target_size"),
)
def large_heads(target: Target) -> str:
    """Heads without end: one field, many fields, a name, a target, an extension of a chunk."""
    host = b"\r\nHost: " + target.facts.authority.encode() + b"\r\n"
    endless = {
        b"GET /healthz HTTP/1.1" + host + b"X: ": 431,
        b"GET /healthz HTTP/1.1" + host + b"X": 431,
        b"GET /healthz HTTP/1.1" + host + b"X: y\r\n" * 101: 431,
        b"POST /publish HTTP/1.1" + host + b"Transfer-Encoding: chunked\r\n\r\n1;": 431,
        b"GET /": 414,
    }
    for begin, status in endless.items():
        with target.connect() as line:
            line.send(begin)
            line.send_until_refused(b"x" * 65_536)
            assert line.response().status in (status, 503), begin[:40]
            # What still comes is thrown away for a moment, so that the answer is not lost.
            until = time.monotonic() + LINGERS
            while line.send_until_refused(b"x" * 65_536):
                assert time.monotonic() < until, "it goes on taking"
    return f"{len(endless)} heads without end"


@attack(
    "413 by the length, or as soon as chunks exceed the limit; 100 is not said",
    counts=("body_size",),
)
def large_bodies(target: Target) -> str:
    """Bodies of 1 TB by their length, chunks without end, and both where no body is of use."""
    host = b" HTTP/1.1\r\nHost: " + target.facts.authority.encode() + b"\r\n"
    lengths = [
        b"POST /publish" + host + b"Content-Length: 1000000000000\r\n\r\n",
        b"POST /publish" + host + b"Content-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n",
        b"POST /tickets" + host + b"Content-Length: 1000000\r\n\r\n",
        b"GET /poll" + host + b"Content-Length: 1000000\r\n\r\n",
    ]
    for data in lengths * 5:
        with target.connect() as line:
            assert only_answer(line, data) in (413, 503)  # 503: there were many at once
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    for path in (b"/publish", b"/tickets"):
        with target.connect() as line:
            line.send(b"POST " + path + host + b"Transfer-Encoding: chunked\r\n\r\n")
            sent = 0
            while sent < 64 * MiB and line.send_until_refused(chunk):
                sent += len(chunk)
            assert sent < 64 * MiB, "it was all taken"
    return "22 × 413"


@attack("a few of one connection are answered in each turn, so that everybody else's get between")
def pipeline_flood(target: Target) -> str:
    """20 connections ask for thousands of small things in a pipeline, and take all answers."""
    request = f"GET /healthz HTTP/1.1\r\nHost: {target.facts.authority}\r\n\r\n".encode()
    lines = target.connections(20)
    answered = 0
    unsent = [b""] * len(lines)
    for number in target.flood(2):
        turn = number % len(lines)
        unsent[turn] = unsent[turn] or request * 2_000
        unsent[turn] = unsent[turn][lines[turn].send_some(unsent[turn]) :]
        answered += lines[turn].drop_answers()
    assert answered > 1_000, answered
    return f"{answered:,} answers"
