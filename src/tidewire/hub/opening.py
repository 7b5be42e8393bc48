"""From what a subscriber asks for to where it starts: cursors checked, the first page read."""

from __future__ import annotations

from typing import NamedTuple

from tidewire.hub.recent import Recent
from tidewire.log.engine import Engine
from tidewire.model import BadRequest, Cursor, Gap, Page, Subscription
from tidewire.model.subscription import NOW, START

PAGE_MESSAGES = 256
PAGE_BYTES = 256 << 10
FIRST_MESSAGES = 16  # of a stream's opening, made within its request; the rest takes its turns


class Start(NamedTuple):
    """Where channels start: a position for each, and resets to be told in their place."""

    after: dict[str, int]
    gaps: list[Gap]


class Opening(NamedTuple):
    """A start with the first page after it.

    ``recovered``: a cursor was given, and everything after it is still there.
    """

    start: Start
    page: Page
    recovered: bool

    @property
    def position(self) -> int:
        """The position that the whole subscription starts from."""
        return min(self.start.after.values())


def start_from_memory(recent: Recent, epoch: str, wanted: Subscription) -> Start | None:
    """Where *wanted* starts, if memory alone can tell."""
    if not wanted.cursors:
        return (
            Start(dict.fromkeys(wanted.channels, recent.head), []) if wanted.since == NOW else None
        )
    after = {}
    for channel, cursor in zip(wanted.channels, _spread(wanted), strict=True):
        if cursor.epoch != epoch or cursor.id > recent.head:
            return None
        after[channel] = cursor.id
    return Start(after, [])


async def start_from_log(engine: Engine, recent: Recent, wanted: Subscription) -> Start:
    """Where *wanted* starts, with the engine's help.

    A cursor of another epoch starts at the oldest message kept: whatever this log holds is news
    to its owner. A cursor beyond the log's end comes from a future that was lost, so nothing kept
    is news; it starts at the end. Both are told as ``reset``.

    Raises:
        BadRequest: if there are several cursors, but not one for each channel.
        EngineUnavailable: if the engine is away.
    """
    if not wanted.cursors:
        if wanted.since == NOW:
            return Start(dict.fromkeys(wanted.channels, recent.head), [])
        return Start(await engine.starts(wanted.channels, wanted.since), [])
    after: dict[str, int] = {}
    gaps: list[Gap] = []
    foreign: list[str] = []
    head = recent.head
    for channel, cursor in zip(wanted.channels, _spread(wanted), strict=True):
        if cursor.epoch != engine.epoch:
            foreign.append(channel)
        elif cursor.id > head and cursor.id > (head := max(head, await engine.head())):
            gaps.append(Gap(channel, head, "reset"))
            after[channel] = head
        else:
            after[channel] = cursor.id
    if foreign:
        oldest = await engine.starts(foreign, START)
        gaps += [Gap(channel, oldest[channel], "reset") for channel in foreign]
        after |= oldest
    return Start(after, gaps)


def open_from_memory(
    recent: Recent, epoch: str, wanted: Subscription, upto: int, most: int
) -> Opening | None:
    """The start of *wanted* and its first page of at most *most* messages, if memory can tell.

    Most openings are of this kind; they cost no task.
    """
    start = start_from_memory(recent, epoch, wanted)
    if start is None:
        return None
    page = recent.read(start.after, upto, most, PAGE_BYTES)
    return None if page is None else Opening(start, page, bool(wanted.cursors))


async def open_from_log(
    engine: Engine, recent: Recent, wanted: Subscription, upto: int, most: int
) -> Opening:
    """The start of *wanted* and its first page of at most *most* messages, asking the engine.

    Raises:
        BadRequest, EngineUnavailable: as ``start_from_log`` does.
    """
    start = await start_from_log(engine, recent, wanted)
    page = recent.read(start.after, upto, most, PAGE_BYTES)
    if page is None:
        page = await engine.read(start.after, upto, most, PAGE_BYTES)
    return Opening(start, page, bool(wanted.cursors) and not start.gaps and not page.gaps)


def _spread(wanted: Subscription) -> tuple[Cursor, ...]:
    cursors = wanted.cursors
    count = len(wanted.channels)
    if len(cursors) == count:
        return cursors
    if len(cursors) == 1:
        return cursors * count
    raise BadRequest(
        f"{len(cursors)} cursors for {count} channels: give one for all, or one for each",
        code="invalid_cursor",
    )
