"""The state of one upload while its chunks come in: no files, no sockets.

Chunks come in order. Those that were taken wait to be written; only what has been written, and
is safely kept, counts when the client comes back after a cut.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tidewire.model import BadRequest, TooLarge

_HEAD = struct.Struct("!IQ")


class Chunk(NamedTuple):
    """A part of an upload: its number on the connection, where in the file it goes, its bytes."""

    number: int
    offset: int
    data: memoryview


def parse_chunk(frame: bytes) -> Chunk:
    """Read a chunk as a binary frame carries it: number (4 bytes), offset (8), and the data.

    Raises:
        BadRequest: if the frame is shorter than its head.
    """
    if len(frame) < _HEAD.size:
        raise BadRequest(f"a chunk begins with a head of {_HEAD.size} bytes")
    number, offset = _HEAD.unpack_from(frame)
    return Chunk(number, offset, memoryview(frame)[_HEAD.size :])


class WrongOffset(BadRequest):
    """A chunk is not the next one; ``offset`` is where that begins."""

    code = "wrong_offset"

    def __init__(self, offset: int) -> None:
        super().__init__(f"the next chunk begins at {offset}")
        self.offset = offset


class Receiving:
    """An upload of *size* bytes, of which *kept* are there already."""

    __slots__ = ("_astray", "_waiting", "expected", "kept", "size")

    def __init__(self, size: int, kept: int) -> None:
        self.size = size
        self.kept = kept
        self.expected = kept
        self._waiting: list[memoryview | bytes] = []
        self._astray = False

    def take(self, offset: int, data: memoryview | bytes) -> bool:
        """Take in a chunk; ``False`` when it follows one that was refused for its offset.

        Those were on their way already when the client was told, and need no answer each.

        Raises:
            WrongOffset: if it is not the next one.
            TooLarge: if it goes beyond the end.
        """
        if offset != self.expected:
            if self._astray:
                return False
            self._astray = True
            raise WrongOffset(self.expected)
        self._astray = False
        if offset + len(data) > self.size:
            raise TooLarge(f"the upload has {self.size} bytes, this chunk goes beyond")
        self.expected += len(data)
        if data:
            self._waiting.append(data)
        return True

    def due(self) -> list[memoryview | bytes]:
        """What waits to be written, in order; the caller writes it and says so by ``wrote``."""
        due, self._waiting = self._waiting, []
        return due

    def wrote(self, kept: int) -> None:
        """The first *kept* bytes are safely kept."""
        self.kept = kept

    @property
    def whole(self) -> bool:
        """Whether every byte is safely kept."""
        return self.kept == self.size
