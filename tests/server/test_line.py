"""Messages between a supervisor and its workers, as bytes."""

from __future__ import annotations

import msgspec
import pytest

from tidewire.server.line import (
    LONGEST,
    Ask,
    Everything,
    Failed,
    Family,
    Incoming,
    Leave,
    Leaving,
    Message,
    Ping,
    Pong,
    Ready,
    Sample,
    Stop,
    Tell,
    Told,
    to_bytes,
)

FAMILY = Family("tidewire_x", "What x is.", "counter", [Sample("tidewire_x_total", {"a": "b"}, 7)])

MESSAGES: list[Message] = [
    Ready(),
    Leaving(),
    Failed("why", log=True),
    Ask(3),
    Pong(),
    Ping(),
    Told(4, [FAMILY]),
    Leave(),
    Stop(),
    Tell(5),
    Everything(6, {"1": [FAMILY], "2": []}, [FAMILY], ["3"], 7),
]


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_messages_come_out_as_they_went_in_however_they_are_cut(size: int) -> None:
    data = b"".join(map(to_bytes, MESSAGES))
    incoming = Incoming()
    found: list[Message] = []
    for begin in range(0, len(data), size):
        found += incoming.feed(data[begin : begin + size])
    assert found == MESSAGES


def test_nonsense_is_told_as_such() -> None:
    with pytest.raises(ValueError, match="bytes on a worker's line"):
        list(Incoming().feed((LONGEST + 1).to_bytes(4, "big")))
    with pytest.raises(msgspec.MsgspecError):
        list(Incoming().feed(b"\0\0\0\1\x01"))
