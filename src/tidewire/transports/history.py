"""History: a channel's kept messages in pages."""

from __future__ import annotations

from typing import NamedTuple

from tidewire.hub import Hub
from tidewire.model import Message, Subscription
from tidewire.model.envelope import GapNotice, encode_control
from tidewire.transports.polling import gap_notices, position_after

MAX_HISTORY = 1_000
HISTORY_BYTES = 4 << 20


class HistoryPage(NamedTuple):
    """Messages in order; ``cursor`` goes on from the last, ``more`` says whether there is more."""

    messages: list[Message]
    gaps: list[GapNotice]
    cursor: str
    more: bool


async def read_history(hub: Hub, wanted: Subscription, limit: int) -> HistoryPage:
    """One page of at most *limit* messages (and 4 MiB) of one channel.

    Raises:
        EngineUnavailable: if the engine is away.
    """
    start = hub.start_now(wanted) or await hub.start_of(wanted)
    upto = hub.recent.head
    page = await hub.engine.read(start.after, upto, limit, HISTORY_BYTES)
    gaps = gap_notices(start.gaps, page.gaps, hub.engine.epoch)
    cursor = hub.cursor(position_after(page, start.after))
    return HistoryPage(page.messages, gaps, cursor, page.more)


def history_json(page: HistoryPage) -> bytes:
    """The page as ``GET /history`` answers it."""
    return b'{"messages":[%b],"cursor":"%b","more":%b,"gaps":[%b]}' % (
        b",".join([message.envelope for message in page.messages]),
        page.cursor.encode(),
        b"true" if page.more else b"false",
        b",".join([encode_control(gap) for gap in page.gaps]),
    )
