"""The stamp that every benchmark message carries: its number and the time it was published.

A stamp is 35 characters, ``@NNNNNNNNNNNN@TTTTTTTTTTTTTTTTTTTT@``: the number (1, 2, 3 … in one
stream) and the time in nanoseconds of the machine's monotonic clock, both of fixed width, so that
it can be found and replaced in the bytes on the wire without decoding them.
"""

from __future__ import annotations

from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int]
"""The number of a message and the time it was published, in ns of the monotonic clock."""

WIDTH = 35
_OPENING = b'"@'


def text(number: int, sent_ns: int, size: int) -> str:
    """The payload of message `number`: a string of `size` characters (at least 35) that starts with
    its stamp.
    """
    return f"@{number:012d}@{sent_ns:020d}@".ljust(size, "x")


def find(data: bytes, start: int = 0, end: int | None = None) -> int:
    """Index of the first stamp in ``data[start:end]``, or -1."""
    at = data.find(_OPENING, start, len(data) if end is None else end)
    return at + 1 if at >= 0 else -1


def read(data: bytes, at: int) -> Stamp:
    """The stamp at index `at`. Raises `ValueError` when there is none."""
    return int(data[at + 1 : at + 13]), int(data[at + 14 : at + 34])


def replace(data: bytes, at: int, number: int, sent_ns: int) -> bytes:
    """`data` with the stamp at index `at` replaced by another; its length stays the same."""
    return data[:at] + text(number, sent_ns, WIDTH).encode() + data[at + WIDTH :]
