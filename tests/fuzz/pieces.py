"""What the targets have in common: numbers from their inputs, and bytes in pieces."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def numbers(data: bytes, count: int) -> tuple[list[int], bytes]:
    """The first *count* bytes as numbers, 0 where there are none, and what follows them."""
    first = data[:count]
    return [*first, *[0] * (count - len(first))], data[count:]


def is_sentence(text: str) -> bool:
    """Whether *text* can be told to whoever sent the bytes: something, and not much."""
    return 0 < len(text) < 2_000


def pieces(data: bytes, how: int) -> Iterator[bytes]:
    """*data* cut in the way that *how*, a number, stands for: 0 is byte by byte."""
    choose = random.Random(how)
    longest = 1 if how == 0 else choose.choice((2, 5, 20, 100))
    at = 0
    while at < len(data):
        size = choose.randint(1, longest)
        yield data[at : at + size]
        at += size
