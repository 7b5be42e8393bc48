"""Who is on a channel: a count and a cursor, and the members in pages if they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tidewire.hub import Presence
from tidewire.model import BadRequest, NotFound, check_channel
from tidewire.model.envelope import Ok
from tidewire.transports import commands

if TYPE_CHECKING:
    from tidewire.transports.dialogue import Dialogue

MOST_MEMBERS = 1_000
MEMBERS = 100
_MOST_CLIENT = 64


class Wanted(msgspec.Struct, frozen=True):
    """What is asked: ``members`` above the client ``after``; ``nodes``: for operators."""

    channel: str
    members: bool = False
    after: str = ""
    limit: int = MEMBERS
    nodes: bool = False


class Attendance(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer. ``cursor`` is where to follow who comes and goes from; ``next``: more members."""

    channel: str
    count: int
    cursor: str
    members: list[dict[str, Any]] | None = None
    next: str | None = None


def check_wanted(presence: Presence | None, wanted: Wanted) -> Presence:
    """Return what answers *wanted*.

    Raises:
        BadRequest, InvalidChannel: if it is not as it should be.
        NotFound: ``no_presence``: if nobody keeps who is there.
    """
    check_channel(wanted.channel)
    if not 1 <= wanted.limit <= MOST_MEMBERS:
        raise BadRequest(f"limit: use 1 to {MOST_MEMBERS}", code="invalid_limit")
    if len(wanted.after) > _MOST_CLIENT:
        raise BadRequest("after: send back what `next` said")
    if presence is None or not presence.of((wanted.channel,)):
        raise NotFound(
            f"nobody keeps who is on {wanted.channel!r}: see the setting presence",
            code="no_presence",
        )
    return presence


async def read_presence(presence: Presence, wanted: Wanted) -> Attendance:
    """The answer to *wanted*, which was checked.

    Raises:
        EngineUnavailable: if the log cannot be read now.
    """
    channel, total, cursor = await presence.snapshot(wanted.channel)
    if not wanted.members:
        return Attendance(channel, total, cursor)
    page = await presence.members(channel, wanted.after, wanted.limit, nodes=wanted.nodes)
    members = [msgspec.to_builtins(member) for member in page.members]
    return Attendance(channel, total, cursor, members, page.next)


def presence(dialogue: Dialogue, command: commands.Presence) -> None:
    """The WebSocket command ``presence``: as ``GET /presence``."""
    nodes = dialogue.gate.caller.has("admin")
    wanted = Wanted(command.channel, command.members, command.after, command.limit, nodes)
    asked = check_wanted(dialogue.rules.presence, wanted)
    dialogue.block(command.ref, _answer_later(dialogue, command, asked, wanted))


async def _answer_later(
    dialogue: Dialogue, command: commands.Presence, asked: Presence, wanted: Wanted
) -> None:
    found = await read_presence(asked, wanted)
    dialogue.answer(
        Ok(
            command.ref,
            channel=found.channel,
            count=found.count,
            cursor=found.cursor,
            members=found.members,
            next=found.next,
        )
    )
