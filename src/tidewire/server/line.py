"""What a supervisor and its workers tell each other, and how that is put into bytes.

Each worker has a stream socket to its supervisor. A message is its length, in four bytes, and a
MessagePack map. When the socket ends, the other one is gone.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

HEAD = 4
LONGEST = 16 << 20
"""Bytes of a message; a worker's metrics are some ten thousand."""


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One value of a metric."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """A metric with all its values, as Prometheus knows it."""

    name: str
    documentation: str
    type: str
    samples: list[Sample]


# From a worker


class Ready(msgspec.Struct, frozen=True, tag=True):
    """It serves."""


class Leaving(msgspec.Struct, frozen=True, tag=True):
    """It was told to end, by somebody else."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot start; the *log* is why, or something else."""

    text: str
    log: bool


class Ask(msgspec.Struct, frozen=True, tag=True):
    """It wants to know the metrics of all: the *question* is a number of its own."""

    question: int


class Pong(msgspec.Struct, frozen=True, tag=True):
    """It has taken a ping, so its loop runs."""


class Told(msgspec.Struct, frozen=True, tag=True):
    """Its metrics, because it was asked for the *round*, or because it ends (0)."""

    round: int
    families: list[Family]


# From the supervisor


class Leave(msgspec.Struct, frozen=True, tag=True):
    """Accept nothing more, say goodbye, end: another worker serves the slot."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Say goodbye and end."""


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Say something."""


class Tell(msgspec.Struct, frozen=True, tag=True):
    """Tell your metrics."""

    round: int


class Everything(msgspec.Struct, frozen=True, tag=True):
    """The metrics of all workers, by a name for each, and of those that are no more.

    *silent* are those that did not answer in time; *restarts* counts those that had to be replaced.
    """

    question: int
    workers: dict[str, list[Family]]
    retired: list[Family]
    silent: list[str]
    restarts: int


Message = Ready | Leaving | Failed | Ask | Pong | Told | Leave | Stop | Ping | Tell | Everything

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def to_bytes(message: Message) -> bytes:
    """A message as it goes over the line."""
    data = _encode(message)
    return len(data).to_bytes(HEAD, "big") + data


class Incoming:
    """Takes bytes as they come, and gives the messages in them."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole now.

        Raises:
            ValueError: if the other one talks nonsense.
        """
        self._buffer += data
        while len(self._buffer) >= HEAD:
            length = int.from_bytes(self._buffer[:HEAD], "big")
            if length > LONGEST:
                raise ValueError(f"a message of {length} bytes on a worker's line")
            end = HEAD + length
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[HEAD:end])
            del self._buffer[:end]
            yield _decode(message)
