"""From what a subscriber asks for to where it starts: cursors checked, the first page read."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple

from tidewire.hub.conflation import Flows, conflated, read_conflated
from tidewire.hub.pages import SharedReads
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

    ``recovered``: a cursor was given, and everything after it is still there; of a channel of which
    the latest only is wanted, that is its newest message.
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


async def start_from_log(
    engine: Engine, recent: Recent, wanted: Subscription, flows: Flows | None = None
) -> Start:
    """Where *wanted* starts, with the engine's help.

    A cursor of another epoch starts at the oldest message kept: whatever this log holds is news
    to its owner. A cursor beyond the log's end comes from a future that was lost, so nothing kept
    is news; it starts at the end. Both are told as ``reset``. Who wants the latest, which *flows*
    say, held a value of that future: the newest one kept is news to them.

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
    anew: list[str] = []
    head = recent.head
    for channel, cursor in zip(wanted.channels, _spread(wanted), strict=True):
        if cursor.epoch != engine.epoch:
            anew.append(channel)
        elif cursor.id > head and cursor.id > (head := max(head, await engine.head())):
            if flows is not None and flows.of(channel).policy == "latest":
                anew.append(channel)
            else:
                gaps.append(Gap(channel, head, "reset"))
                after[channel] = head
        else:
            after[channel] = cursor.id
    if anew:
        oldest = await engine.starts(anew, START)
        gaps += [Gap(channel, oldest[channel], "reset") for channel in anew]
        after |= oldest
    return Start(after, gaps)


def open_from_memory(
    recent: Recent, epoch: str, wanted: Subscription, upto: int, most: int, flows: Flows | None
) -> Opening | None:
    """The start of *wanted* and its first page of at most *most* messages, if memory can tell.

    Most openings are of this kind; they cost no task.
    """
    start = start_from_memory(recent, epoch, wanted)
    if start is None:
        return None
    page = recent.read(start.after, upto, most, PAGE_BYTES)
    if page is None or (flows is not None and page.more):
        return None
    if flows is not None:
        page = conflated(page, flows)
    return Opening(start, page, _recovered(wanted, start, page, flows))


async def open_from_log(
    engine: Engine,
    reads: SharedReads,
    recent: Recent,
    wanted: Subscription,
    upto: int,
    most: int,
    flows: Flows | None,
) -> Opening:
    """The start of *wanted* and its first page of at most *most* messages, asking the engine.

    With *flows* the page is what they leave of a whole stretch.

    Raises:
        BadRequest, EngineUnavailable: as ``start_from_log`` does.
    """
    start = await start_from_log(engine, recent, wanted, flows)
    read = partial(read_page, reads, recent, upto, most)
    if flows is None:
        page = await read(start.after)
    else:
        page = await read_conflated(read, start.after, flows)
    return Opening(start, page, _recovered(wanted, start, page, flows))


async def read_page(
    reads: SharedReads, recent: Recent, upto: int, most: int, after: dict[str, int]
) -> Page:
    """A page of at most *most* messages up to *upto*, from memory if it can tell.

    Raises:
        EngineUnavailable: if the engine is asked and away.
    """
    page = recent.read(after, upto, most, PAGE_BYTES)
    if page is None:
        return await reads.read(after, upto, most, PAGE_BYTES)
    await asyncio.sleep(0)  # who reads many pages leaves turns to others
    return page


def _recovered(wanted: Subscription, start: Start, page: Page, flows: Flows | None) -> bool:
    if not wanted.cursors:
        return False
    lost = {gap.channel: gap.id for gap in (*start.gaps, *page.gaps) if gap.reason != "slow"}
    if flows is None or not lost:
        return not lost
    newest = {message.channel: message.id for message in page.messages}
    return all(
        flows.of(channel).policy == "latest" and newest.get(channel, 0) > id
        for channel, id in lost.items()
    )


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
