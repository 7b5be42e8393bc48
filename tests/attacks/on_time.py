"""Attacks on the server's time: who does things slowly, or begins and never goes on."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.acceptance.waiting import wait_until
from tests.attacks.attack import MiB, attack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.attacks.target import Line, Target

SLOW = 500
"""Connections of who is slow: from 250 addresses, so two each."""
DRIP_SECONDS = 0.2
GRACE = 1.0
"""Seconds by which a time-out may be late on a loaded machine."""
LATE = 10.0
"""The same on one that stands still now and then."""
READERS = 20
LARGE = 60_000
"""Bytes of the messages for those who do not read."""


def drip(lines: Sequence[Line], data: Iterable[bytes], seconds: float) -> None:
    """Send each connection a piece now and then, until the time is over."""
    until = time.monotonic() + seconds
    for piece in data:
        for line in lines:
            line.send_some(piece)
        left = until - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(DRIP_SECONDS, left))


def answers(lines: Sequence[Line]) -> Counter[int]:
    """The statuses of the answers, 0 without one; each connection must end.

    Those that came faster than ``max_connection_rate`` are put off, or cut off. How many those are
    depends on how fast the machine takes them in.
    """
    statuses: Counter[int] = Counter()
    for line in lines:
        try:
            statuses[line.response().status] += 1
        except ConnectionError:
            statuses[0] += 1
        assert line.ended
    assert statuses.keys() <= {408, 503, 0}, statuses
    assert statuses[408] >= SLOW / 10, statuses
    return statuses


@attack("each is answered 408 and closed when `head_timeout` is over", counts=("slow_head",))
def slow_heads(target: Target) -> str:
    """Slowloris: 500 connections send the head of a request a byte at a time, for ever."""
    lines = target.connections(SLOW)
    head = f"GET /poll?channels=live:news HTTP/1.1\r\nHost: {target.facts.authority}\r\nX: "
    for line in lines:
        line.send(head.encode())
    drip(lines, iter(lambda: b"x", None), target.facts.head_timeout + GRACE)
    return f"{answers(lines)[408]} × 408"


@attack("each is answered 408 and closed when `body_timeout` is over", counts=("slow_body",))
def slow_bodies(target: Target) -> str:
    """500 publishes whose bodies come a byte at a time, half of them in chunks of one byte."""
    lines = target.connections(SLOW)
    for number, line in enumerate(lines):
        framing = "Transfer-Encoding: chunked" if number % 2 else "Content-Length: 60000"
        head = f"POST /publish HTTP/1.1\r\nHost: {target.facts.authority}\r\n{framing}\r\n\r\n"
        line.send(head.encode())
    # To those with a length it is six bytes of the body.
    drip(lines, iter(lambda: b"1\r\nx\r\n", None), target.facts.body_timeout + GRACE)
    return f"{answers(lines)[408]} × 408"


@attack("each is closed when `head_timeout` is over, without a word")
def silent_connections(target: Target) -> str:
    """500 connections that send nothing at all."""
    began = time.monotonic()
    lines = target.connections(SLOW)
    for line in lines:
        assert line.ended
    seconds = time.monotonic() - began
    assert seconds < target.facts.head_timeout + LATE, seconds
    return f"all closed after {seconds:.1f} s"


@attack(
    "a stream that takes no byte for `stall_timeout` is ended; what it was not given waits in the "
    "log, not in memory",
    peak=64 * MiB,
)
def unread_streams(target: Target) -> str:
    """20 streams, over WebSocket and SSE, of which nothing is read while much is published."""
    channel = "mallory:" + target.unique("unread")
    lines = []
    for number in range(READERS):
        if number % 2:
            lines.append(target.websocket(f"channels={channel}", receive_buffer=4096))
        else:
            headers = target.bearer()
            lines.append(target.stream(f"/sse?channels={channel}", headers, receive_buffer=4096))
    for _ in range(40):
        target.publish(channel, "x" * LARGE)
    wait_until_given_up(target, lines)
    ended = sum(_was_cut(line) for line in lines)
    assert ended == READERS, f"{ended} of {READERS} were ended"
    return f"{READERS} streams were ended, 2.4 MB behind each"


# Each connection holds one page of history, and for a moment what it is made of.
@attack(
    "no more answers are made than are taken; the connection ends after `stall_timeout`",
    memory=32 * MiB,
    peak=96 * MiB,
)
def unread_answers(target: Target) -> str:
    """20 connections ask for 1,000 pages of history in a pipeline, and read none of them."""
    channel = "mallory:" + target.unique("pages")
    for _ in range(20):
        target.publish(channel, "x" * LARGE)
    headers = target.bearer()["Authorization"]
    request = (
        f"GET /history?channel={channel} HTTP/1.1\r\nHost: {target.facts.authority}\r\n"
        f"Authorization: {headers}\r\n\r\n"
    ).encode()
    lines = [target.connect(receive_buffer=4096) for _ in range(READERS)]
    for line in lines:
        line.send_some(request * 1_000)
    wait_until_given_up(target, lines)
    ended = sum(_was_cut(line) for line in lines)
    assert ended == READERS, f"{ended} of {READERS} were ended"
    return f"{READERS} connections were ended"


def wait_until_given_up(target: Target, lines: Sequence[Line]) -> None:
    """Wait for the server to end all these; nothing is read from them before that."""
    within = target.facts.stall_timeout * 1.5 + LATE
    wait_until(lambda: not any(line.is_held() for line in lines), within=within)


def _was_cut(line: Line) -> bool:
    """Whether the stream ends, after what the kernel had of it."""
    try:
        line.read_to_end()
    except TimeoutError:
        return False
    return True


@attack("the held poll or the stream ends at once")
def half_closed_clients(target: Target) -> str:
    """100 held polls and streams whose clients close their side and stay."""
    lines = []
    for number in range(100):
        line = target.connect()
        path = "/longpoll?wait=60&" if number % 2 else "/sse?"
        line.request("GET", f"{path}channels=mallory:half", target.bearer())
        if not number % 2:
            line.head()
        lines.append(line)
    # Those that are held have no answer to wait for; that they are held shows in the next line's.
    assert target.get("/readyz").status == 200
    began = time.monotonic()
    for line in lines:
        line.socket.shutdown(1)
    for line in lines:
        line.read_to_end()
    seconds = time.monotonic() - began
    assert seconds < 10, seconds
    return f"100 ended within {seconds:.2f} s"
