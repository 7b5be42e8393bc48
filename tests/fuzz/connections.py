"""Fuzzed: the bytes of connections: heads of requests, handshakes, frames."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import h11

from tests.fuzz import reference
from tests.fuzz.pieces import is_sentence, numbers, pieces
from tidewire.model import BadRequest
from tidewire.server.http1 import RequestReader
from tidewire.server.request import HttpLimits, Request
from tidewire.transports.framing import Event, FrameParser, ProtocolError
from tidewire.transports.handshake import accept_key, agree_deflate, choose_subprotocol

if TYPE_CHECKING:
    from collections.abc import Iterable

FRAME_BOUNDS = [
    reference.Bounds(size, fragments, deflated)
    for deflated in (False, True)
    for size, fragments in ((300, 4096), (70_000, 4096), (20, 3), (0, 1))
]

HTTP_LIMITS = HttpLimits(1_000, 200, 10, 30, 60)
BODY_LIMIT = 100


def frames(data: bytes) -> None:
    """Frames are read as a slow and simple reader reads them, whole and in pieces."""
    (bounds, cut), wire = numbers(data, 2)
    wanted = FRAME_BOUNDS[bounds % len(FRAME_BOUNDS)]
    expected = reference.read(wire, wanted)
    assert frames_of([wire], wanted) == expected
    assert frames_of(pieces(wire, cut), wanted) == expected


def frames_of(parts: Iterable[bytes], bounds: reference.Bounds) -> list[Event | int]:
    """What the parser makes of *parts*: events, and at the end the code of a refusal."""
    parser = FrameParser(
        max_size=bounds.size, max_fragments=bounds.fragments, deflated=bounds.deflated
    )
    found: list[Event | int] = []
    try:
        for part in parts:
            found += parser.feed(part)
            assert held(parser) <= max(2 * bounds.size + bounds.size // 1024 + 64, 125) + 14
    except ProtocolError as error:
        found += [*error.before, error.code]
        check_end(parser, error.reason)
    return found


def check_end(parser: FrameParser, reason: str) -> None:
    """After a refusal nothing is held, and nothing counts."""
    assert held(parser) == 0
    assert len(reason.encode()) <= 123
    assert parser.feed(b"\x81\x80abcd") == []


def held(parser: FrameParser) -> int:
    """Bytes that a parser keeps of what is not complete."""
    return len(parser._buffer) + sum(map(len, parser._parts or ()))


class Seen(NamedTuple):
    """A request as a handler sees it."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    keep_alive: bool
    upgrade: bool
    body: bytes


def requests(data: bytes) -> None:
    """Requests are read the same whole as in pieces, and as another HTTP server reads them."""
    (cut,), wire = numbers(data, 1)
    found, failure, over = requests_of([wire])
    again, other, over_again = requests_of(pieces(wire, cut))
    assert found == again
    assert over == over_again
    # Of two things that are wrong either may be told. A head without an end is refused after as
    # many bytes as have come of it alone, and in one piece with whole requests those may be more.
    both = None not in (failure, other)
    assert both or failure == other or "head_too_large" in (failure, other)
    if found and failure is None and not over:
        check_with_h11(wire, [(one.method, one.target, one.body) for one in found])


def requests_of(parts: Iterable[bytes]) -> tuple[list[Seen], str | None, bool]:
    """The requests, why no more are read, and whether what follows is not HTTP."""
    reader = RequestReader(HTTP_LIMITS, lambda request: BODY_LIMIT)
    found: list[Seen] = []
    for part in parts:
        found += map(seen, reader.feed(part))
        while reader.held:
            found += map(seen, reader.go_on())
    failure = reader.failure
    assert failure is None or is_sentence(failure.detail)
    return found, None if failure is None else failure.code, reader.rest is not None


def seen(request: Request) -> Seen:
    assert len(request.body) <= BODY_LIMIT
    return Seen(
        request.method,
        request.target,
        tuple(request.headers.items()),
        request.keep_alive,
        request.upgrade,
        request.body,
    )


def check_with_h11(wire: bytes, requests: list[tuple[bytes, bytes, bytes]]) -> None:
    """Methods, targets and bodies are those that h11 reads, as far as it does not refuse them."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(wire)
    for method, target, content in requests:
        body = b""
        try:
            head = connection.next_event()
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
        except h11.RemoteProtocolError:
            return
        assert isinstance(head, h11.Request)
        assert isinstance(event, h11.EndOfMessage)
        assert (head.method, path_of(head.target), body) == (method, target, content)
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is h11.MUST_CLOSE:
            return
        connection.start_next_cycle()


def path_of(target: bytes) -> bytes:
    """A target without scheme, host and fragment, where it has a scheme."""
    absolute = re.fullmatch(rb"https?://[^/?#]*([^#]*).*", target, re.IGNORECASE | re.DOTALL)
    if absolute is None:
        return target
    return absolute[1] if absolute[1].startswith(b"/") else b"/" + absolute[1]


def handshakes(data: bytes) -> None:
    """Whatever the headers of a handshake are, the answer has no line of theirs."""
    key, version, protocols, extensions = (data.decode("latin-1").split("\n", 3) + [""] * 3)[:4]
    try:
        accepted = accept_key({"sec-websocket-key": key, "sec-websocket-version": version})
        assert len(accepted) == 28
    except BadRequest:
        pass
    assert choose_subprotocol(protocols, {"a": 1, "b": 2}) in ("a", "b", None)
    agreed = agree_deflate(extensions)
    if agreed is not None:
        assert 9 <= agreed.window_bits <= 15
        assert agreed.header.isascii()
        assert agreed.header.isprintable()
