"""The engine contract: one totally ordered log, kept in memory, in SQLite, or elsewhere.

Every engine passes the same tests, ``tests/log/contract.py``. In short:

* ``append`` gives each message an id, ``max(last + 1, now in µs)``, and a ``seq`` of 1, 2, 3 … in
  its channel. Ids are strictly increasing in the whole log, also across restarts, also when
  several processes write to it, also when the clock goes back.
* An answered append is held as safely as the engine promises, and one that failed is held whole
  or not at all.
* The *feed* gets every message once, in id order, whichever process wrote it. It gets a
  message no later than the append's answer is given.
* ``read`` never leaves out a message silently: what it cannot return it names as a gap.
* A channel keeps at most its retention's size and age. Both bounds are exact for readers,
  however late the storage is cleaned in the background.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from tidewire.model import Draft, Gap, Message, Namespaces, Page, Receipt, Since

Feed = Callable[[list[Message]], None]


class Engine(Protocol):
    """One log. All methods are called on the event loop's thread, after ``open``."""

    #: Names this life of the storage; a cursor of another epoch is worth nothing here.
    epoch: str

    #: How much of each channel is kept.
    namespaces: Namespaces

    async def open(self, feed: Feed) -> int:
        """Start, and return the id of the newest message (0 when there is none).

        *feed* is called on the loop's thread with every later message.

        Raises:
            EngineUnavailable: if the storage cannot be opened; the detail says why.
        """
        ...

    async def close(self) -> None:
        """Finish the appends already accepted, then let go of the storage."""
        ...

    def append(self, drafts: Sequence[Draft]) -> Future[list[Receipt]]:
        """Accept *drafts* in their order, all or none, and after those of earlier calls.

        A draft whose key was used in its channel within the window gets the first receipt
        again and appends nothing. The future may be done on return. It fails with
        ``EngineUnavailable`` when nothing was kept.
        """
        ...

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        """Messages of the channels in *after*, each strictly after its id, up to the id *upto*.

        At most *limit* messages of *max_bytes* in all, but at least one if there is one.
        """
        ...

    async def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        """For each channel, the id after which to read to start at *since* (not ``now``)."""
        ...

    async def newest(self, channels: Iterable[str], upto: int) -> dict[str, tuple[int, int]]:
        """For each channel, id and time of the newest message up to the id *upto*.

        A message counts although it was discarded; 0, 0 where there never was one. Where the
        one meant is discarded and forgotten, a later id that is not above *upto* stands for it.
        """
        ...

    async def head(self) -> int:
        """The id of the newest message that any process has appended."""
        ...


def page_of(
    messages: list[Message],
    floors: Mapping[str, int],
    after: Mapping[str, int],
    upto: int,
    limit: int,
    max_bytes: int,
) -> Page:
    """Cut *messages*, in id order, to one page; name the channels whose floor is past the reader.

    *messages* must hold up to *limit* + 1 of each channel, so that a cut is noticed and nothing
    below it is missing.
    """
    gaps = [
        Gap(channel, floor, "expired")
        for channel, floor in floors.items()
        if after[channel] < floor
    ]
    count = size = 0
    for message in messages[:limit]:
        size += message.size
        if size > max_bytes and count:
            break
        count += 1
    if count < len(messages):
        return Page(messages[:count], gaps, messages[count - 1].id, True)
    return Page(messages, gaps, upto, False)
