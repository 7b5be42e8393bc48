"""Audiences: live sessions that hold the same channels in the same form.

All of them get the same bytes, so those are made once per audience and round, whatever its size.
A round's deliveries to one audience are a ``Delivery``; large ones are worked off in slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tidewire.model import Message
from tidewire.model.envelope import Control

if TYPE_CHECKING:
    from tidewire.hub.session import Session


class Form(Protocol):
    """How a transport writes envelopes. One object per form, compared by identity."""

    def messages(self, messages: list[Message]) -> bytes:
        """The bytes that carry *messages*, at least one, in their order."""
        ...

    def control(self, envelope: Control, cursor: str) -> bytes:
        """The bytes that carry a control envelope at the position *cursor*."""
        ...


class Audience:
    """Members are kept in the order they came; ``delivery`` is what they are being given.

    ``held`` is what waits to be given to them in one piece with what follows it (see
    ``coalescing``); it begins after the hub's position ``held_base``.
    """

    __slots__ = ("channels", "delivery", "form", "held", "held_base", "members")

    def __init__(self, channels: frozenset[str], form: Form) -> None:
        self.channels = channels
        self.form = form
        self.members: dict[Session, None] = {}
        self.delivery: Delivery | None = None
        self.held: list[Message] = []
        self.held_base = 0


class Delivery:
    """One round's bytes for one audience, and how far they have been handed out.

    ``base`` is the hub's position before the round, ``last`` the round's newest id.
    """

    __slots__ = ("audience", "base", "data", "index", "last", "members")

    def __init__(self, audience: Audience, data: bytes, base: int, last: int) -> None:
        self.audience = audience
        self.data = data
        self.base = base
        self.last = last
        self.members = list(audience.members)
        self.index = 0

    def run(self, most: int) -> int:
        """Hand the bytes to at most *most* further members.

        Returns how many members are left, or minus the part of *most* that was not needed.
        """
        audience, data, last, index = self.audience, self.data, self.last, self.index
        end = index + most
        members = self.members[index:end] if index or end < len(self.members) else self.members
        for session in members:
            # A session that left since the round began has its own position and reads the rest;
            # one that is back already has read it.
            if session.audience is audience and session.position < last:
                session.position = last
                try:
                    if not session.sink.write(data):
                        session.fall_behind()
                except Exception as error:  # the others must get theirs
                    session.give_up(error)
        self.index = end
        return len(self.members) - end
