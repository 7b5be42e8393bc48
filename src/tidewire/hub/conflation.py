"""The latest only: what is left of a stretch of the log for a subscriber who wants no more.

Of each channel whose flow is ``latest`` the newest message stays, or the newest of each value of
the header that the namespace names. The others are counted, and told as a gap in their place. All
of the channels with another flow stays.

A stretch is as long as what stays of it may be; so this is bounded, and for a subscriber who is
further behind another stretch follows when it has taken the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import NamedTuple

import msgspec

from tidewire.model import Flow, Gap, Message, Namespaces, Page

MOST_KEPT = 10_000
MOST_BYTES = 8 << 20

_headers = msgspec.json.Decoder(dict[str, str]).decode


class Flows(NamedTuple):
    """What one subscriber wants of each channel; *policy* is its own, before the namespaces'."""

    namespaces: Namespaces
    policy: str | None

    def of(self, channel: str) -> Flow:
        """What is wanted of *channel*."""
        flow = self.namespaces.flow(channel)
        return flow if self.policy is None else flow._replace(policy=self.policy)

    def any_is(self, policy: str, channels: Iterable[str]) -> bool:
        """Whether *policy* is that of at least one of *channels*."""
        if self.policy is not None:
            return self.policy == policy
        return any(self.namespaces.flow(channel).policy == policy for channel in channels)


class _Kept(NamedTuple):
    """A message that stays: its number in its channel's stretch, and the id of the one before."""

    number: int
    before: int
    message: Message


class Conflation:
    """One stretch of the log: ``add`` its pages in their order, then take what is left as one."""

    __slots__ = ("_bytes", "_flow_of", "_flows", "_gaps", "_kept", "_last")

    def __init__(self, flow_of: Callable[[str], Flow]) -> None:
        self._flow_of = flow_of
        self._flows: dict[str, Flow] = {}
        self._kept: dict[Hashable, _Kept] = {}  # in the order of their ids
        self._last: dict[str, tuple[int, int]] = {}  # by channel: number and id of the newest
        self._gaps: dict[Hashable, Gap] = {}
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether the stretch is to end here."""
        return len(self._kept) >= MOST_KEPT or self._bytes >= MOST_BYTES

    def add(self, page: Page) -> None:
        """Take in the next page."""
        for gap in page.gaps:
            latest = self._flow(gap.channel).policy == "latest"
            # A later one tells of what the earlier one said, too.
            self._gaps[(gap.channel, gap.reason) if latest else gap] = gap
        kept, last = self._kept, self._last
        for message in page.messages:
            number, before = last.get(message.channel, (0, 0))
            last[message.channel] = (number + 1, message.id)
            key = self._key(message)
            older = kept.pop(key, None)
            if older is not None:
                self._bytes -= older.message.size
            kept[key] = _Kept(number + 1, before, message)
            self._bytes += message.size

    def result(self, position: int, *, more: bool) -> Page:
        """The stretch up to *position* as one page; *more*: it may go on behind that."""
        gaps = list(self._gaps.values())
        told: dict[str, int] = {}
        for number, before, message in self._kept.values():
            skipped = number - told.get(message.channel, 0) - 1
            if skipped:
                gaps.append(Gap(message.channel, before, "slow", skipped))
            told[message.channel] = number
        return Page([kept.message for kept in self._kept.values()], gaps, position, more)

    def _flow(self, channel: str) -> Flow:
        flow = self._flows.get(channel)
        if flow is None:
            flow = self._flows[channel] = self._flow_of(channel)
        return flow

    def _key(self, message: Message) -> Hashable:
        """Messages of equal keys replace each other."""
        channel = message.channel
        flow = self._flow(channel)
        if flow.policy != "latest" or message.gap is not None:
            return message.id
        if flow.conflate_by is None:
            return channel
        values = _headers(message.headers) if message.headers else {}
        return channel, values.get(flow.conflate_by)


def conflated(page: Page, flows: Flows) -> Page:
    """What is left of one page."""
    conflation = Conflation(flows.of)
    conflation.add(page)
    return conflation.result(page.position, more=page.more)


async def read_conflated(
    read: Callable[[dict[str, int]], Awaitable[Page]], after: dict[str, int], flows: Flows
) -> Page:
    """What is left of the stretch after *after*, read page by page with *read*."""
    conflation = Conflation(flows.of)
    after = dict(after)
    while True:
        page = await read(after)
        conflation.add(page)
        if not page.more or conflation.full:
            return conflation.result(page.position, more=page.more)
        for gap in page.gaps:
            after[gap.channel] = max(after[gap.channel], gap.id)
        after = {channel: max(id, page.position) for channel, id in after.items()}
