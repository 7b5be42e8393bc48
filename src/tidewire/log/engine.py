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
  however late the storage is cleaned in the background. So is the time to live of one message.
* Beside the log there are *records*, small values by table and key, as safe as messages.

Channels whose name begins with ``!`` are the servers' own: what one node has to tell the others
travels in the log, in its order.
"""

from __future__ import annotations

from asyncio import Future
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from tidewire.model import Draft, Gap, Message, Namespaces, Page, Receipt, Since

Feed = Callable[[list[Message]], None]

#: The feed goes on behind the id of the second argument, without what the log has, or had and lost,
#: between those of both; whoever stands there has to read the log after the first.
Broken = Callable[[int, int], None]

#: From a record's value to its new one; ``None`` stands for no record. It may run on another
#: thread, and more than once, so it must depend on its argument alone.
Change = Callable[[bytes | None], bytes | None]


class Engine(Protocol):
    """One log. All methods are called on the event loop's thread, after ``open``."""

    #: Names this life of the storage; a cursor of another epoch is worth nothing here.
    epoch: str

    #: How much of each channel is kept.
    namespaces: Namespaces

    #: What was given up before its time because a bound was reached, by reason.
    drops: Counter[str]

    #: Says of a channel whether this process has a use for its messages; ``None``: for all. Of
    #: others that another process wrote, the feed may have ``Message.is_trace`` instead, one for
    #: the last of several.
    wanted: Container[str] | None

    async def open(self, feed: Feed, broken: Broken | None = None) -> int:
        """Start, and return the id of the newest message (0 when there is none).

        *feed* is called on the loop's thread with every later message, *broken* in its place where
        the engine cannot do that: it was cut off from its storage for too long, or that has lost
        messages. Then ``epoch`` may be another, if it is another log.

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
        again and appends nothing; one whose version is not above the channel's newest gets the
        receipt of that. The future may be done on return. It fails with
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

    def purge(self, channel: str, *, forget: bool) -> Future[Receipt]:
        """Discard all messages of *channel*; the feed gets a gap record in their place.

        The receipt's id is the record's. With *forget* the channel begins anew: ``seq`` at 1, no
        idempotency keys, no version, and the reason that readers are told is ``reset``, not
        ``expired``. It fails with ``EngineUnavailable`` when nothing was discarded.
        """
        ...

    # Records

    def change(self, table: str, key: str, change: Change, ttl: float) -> Future[bytes | None]:
        """Replace a record's value by what *change* makes of it, in one step; return that.

        The record is forgotten *ttl* seconds after its last change. A *change* that returns the
        very object it was given leaves all as it is. What it raises is the future's exception.
        The answer comes when the engine holds the value as safely as a message, and changes of
        one process are made in the order of their calls. It fails with ``EngineUnavailable``
        when nothing was changed.
        """
        ...

    async def get(self, table: str, key: str) -> bytes | None:
        """A record's value; at least as new as the last change answered to this process."""
        ...

    async def scan(
        self, table: str, prefix: str, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        """The records whose keys begin with *prefix*, above the key *after*, at most *limit*."""
        ...


class Floor(NamedTuple):
    """What a channel has discarded: all up to ``id``, of which up to ``forgotten`` by request."""

    id: int
    forgotten: int = 0


def page_of(
    messages: list[Message],
    floors: Mapping[str, Floor],
    after: Mapping[str, int],
    upto: int,
    limit: int,
    max_bytes: int,
    now_ms: int,
) -> Page:
    """Cut *messages*, in id order, to one page; name the channels whose floor is past the reader.

    *messages* must hold up to *limit* + 1 of each channel, so that a cut is noticed and nothing
    below it is missing. Those that are withdrawn by *now_ms* count, without their bytes, and
    become gaps.
    """
    gaps = [
        Gap(channel, floor.id, "reset" if after[channel] < floor.forgotten else "expired")
        for channel, floor in floors.items()
        if after[channel] < floor.id
    ]
    count = size = 0
    withdrawn = False
    for message in messages[:limit]:
        if message.expires and message.is_withdrawn(now_ms):
            withdrawn = True
        else:
            size += message.size
            if size > max_bytes and count:
                break
        count += 1
    more = count < len(messages)
    if more:
        messages = messages[:count]
        upto = messages[-1].id
    if withdrawn:
        messages = _without_withdrawn(messages, gaps, now_ms)
    return Page(messages, gaps, upto, more)


def _without_withdrawn(messages: list[Message], gaps: list[Gap], now_ms: int) -> list[Message]:
    """The messages that are there; of a channel's consecutive others one gap is added to *gaps*."""
    kept: list[Message] = []
    runs: dict[str, int] = {}
    for message in messages:
        channel = message.channel
        if not message.is_withdrawn(now_ms):
            kept.append(message)
            runs.pop(channel, None)
        elif channel in runs:
            index = runs[channel]
            gaps[index] = Gap(channel, message.id, "expired", gaps[index].skipped + 1)
        else:
            runs[channel] = len(gaps)
            gaps.append(Gap(channel, message.id, "expired", 1))
    return kept
