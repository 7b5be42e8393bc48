"""History: a channel's kept messages in pages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tidewire.hub import Hub
from tidewire.model import BadRequest, Message, Subscription, check_channel, parse_cursor
from tidewire.model.envelope import GapNotice, Ok, encode_control
from tidewire.model.subscription import START, parse_since
from tidewire.transports.commands import History
from tidewire.transports.polling import gap_notices, position_after

if TYPE_CHECKING:
    from tidewire.transports.dialogue import Dialogue

MAX_HISTORY = 1_000
HISTORY_BYTES = 4 << 20
_LARGE = 64 << 10
"""Bytes of messages from which on a page has a turn of the loop for itself."""


class HistoryPage(NamedTuple):
    """Messages in order; ``cursor`` goes on from the last, ``more`` says whether there is more."""

    messages: list[Message]
    gaps: list[GapNotice]
    cursor: str
    more: bool


async def read_history(hub: Hub, wanted: Subscription, limit: int) -> HistoryPage:
    """One page of at most *limit* messages (and 4 MiB) of one channel, ready to be sent.

    To make a large one takes milliseconds. Many that are asked for together come one by one, so
    that other clients' messages get between.

    Raises:
        EngineUnavailable: if the engine is away.
    """
    start = hub.start_now(wanted) or await hub.start_of(wanted)
    upto = hub.recent.head
    page = await hub.engine.read(start.after, upto, limit, HISTORY_BYTES)
    if sum(message.size for message in page.messages) > _LARGE:
        async with hub.large_page:
            await asyncio.sleep(0)
    gaps = gap_notices(start.gaps, page.gaps, hub.engine.epoch)
    cursor = hub.cursor(position_after(page, start.after))
    return HistoryPage(page.messages, gaps, cursor, page.more)


def history_json(page: HistoryPage) -> bytes:
    """The page as ``GET /history`` answers it."""
    more = b"true" if page.more else b"false"
    gaps = b",".join([encode_control(gap) for gap in page.gaps])
    parts = [b'{"messages":[']
    for message in page.messages:
        parts += (message.envelope, b",")
    if page.messages:
        parts.pop()
    parts.append(b'],"cursor":"%b","more":%b,"gaps":[%b]}' % (page.cursor.encode(), more, gaps))
    return b"".join(parts)


def history(dialogue: Dialogue, command: History) -> None:
    """The WebSocket command ``history``: as ``GET /history``."""
    if not 1 <= command.limit <= MAX_HISTORY:
        raise BadRequest(f"limit: use 1 to {MAX_HISTORY}", code="invalid_limit")
    channel = check_channel(command.channel)
    if command.cursor is not None:
        wanted = Subscription((channel,), (parse_cursor(command.cursor),))
    else:
        since = START if command.since is None else parse_since(str(command.since))
        wanted = Subscription((channel,), (), since)
    dialogue.block(command.ref, _history_later(dialogue, command, wanted))


async def _history_later(dialogue: Dialogue, command: History, wanted: Subscription) -> None:
    page = await read_history(dialogue.hub, wanted, command.limit)
    codec = dialogue.form.codec
    dialogue.answer(
        Ok(
            command.ref,
            channel=command.channel,
            cursor=page.cursor,
            more=page.more,
            messages=[msgspec.Raw(codec.message(message)) for message in page.messages],
            gaps=[msgspec.to_builtins(gap) for gap in page.gaps],
        )
    )
