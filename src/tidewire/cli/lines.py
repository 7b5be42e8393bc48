"""Lines from standard input as they come, without a thread and without waiting for more."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_AT_ONCE = 256 << 10
LONGEST_LINE = 64 << 20


class LineTooLong(Exception):
    """A line is longer than any message could be; ``number`` counts from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} has more than {LONGEST_LINE} bytes")
        self.number = number


class Line(NamedTuple):
    """One line, without its end; ``number`` counts from 1."""

    number: int
    text: bytes


async def read_lines(descriptor: int) -> AsyncGenerator[list[Line], None]:
    """Yield the lines that are there, as lists of at least one, until the end of the input.

    What comes while the caller is busy waits in the pipe: so a slow server slows the writer down,
    and whatever is read at once is published at once.

    Raises:
        LineTooLong: to protect memory.
    """
    pieces: list[bytes] = []  # of the line that has not ended
    held = 0
    number = 0
    while chunk := await _read(descriptor):
        *ended, rest = chunk.split(b"\n")
        lines: list[Line] = []
        for piece in ended:
            text = piece
            if pieces:
                text = b"".join((*pieces, piece))
                pieces.clear()
                held = 0
            number += 1
            lines.append(Line(number, text.removesuffix(b"\r")))
        if rest:
            pieces.append(rest)
            held += len(rest)
            if held > LONGEST_LINE:
                raise LineTooLong(number + 1)
        if lines:
            yield lines
    if pieces:
        yield [Line(number + 1, b"".join(pieces).removesuffix(b"\r"))]


async def _read(descriptor: int) -> bytes:
    """What there is to read, or ``b""`` at the end."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        try:
            loop.add_reader(descriptor, _set, ready)
        except PermissionError:
            pass  # such as /dev/null: always ready
        else:
            try:
                await ready
            finally:
                loop.remove_reader(descriptor)
    return os.read(descriptor, _AT_ONCE)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
