"""Who of a channel is on this node, and until when: plain values, and a wheel of their times.

What a member costs here, whatever its transport: about 400 bytes. Nothing runs while nobody comes
or goes: streams have no time, and pollers one that is looked at when it is due.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidewire.hub.presence_records import Who

STEP = 0.25
"""Seconds: by so much a time may be late."""

POLLS_MISSED = 3
"""A poller may be away for so many of its intervals."""


class Attendee:
    """A client on a channel, as this node sees it.

    It is there while something *holds* it, a stream or a held poll, and after that until ``until``.
    Then it is ``over``. ``stint`` is that of the record that this node wrote last, ``kept`` whether
    there may be such a record, ``again`` whether it is to be written once more, ``moved`` whether
    other nodes may know the client too.
    """

    __slots__ = (
        "again",
        "away",
        "channel",
        "holds",
        "kept",
        "moved",
        "over",
        "poller",
        "seen",
        "since",
        "slot",
        "stint",
        "until",
        "warned",
        "who",
    )

    def __init__(self, channel: str, who: Who) -> None:
        self.channel = channel
        self.who = who
        self.holds = 0
        self.until = 0.0
        self.over = False
        self.kept = False
        self.again = False
        self.moved = False
        self.warned = False  # the others were asked whether they have it
        self.stint = 0
        self.since = 0
        self.slot = 0  # of the wheel; 0: in none
        self.poller = False  # it began as one
        self.seen = -1.0  # a poller's last poll, when it ended
        self.away = -1.0  # how long a poller is away between two of them; below 0: not known

    def is_there(self, now: float) -> bool:
        """Whether something holds it, or its time is not over."""
        return self.holds > 0 or now < self.until

    def polled(self, now: float) -> None:
        """A poller has come: note for how long it was away."""
        if self.seen >= 0:
            away = now - self.seen
            # A longer absence counts at once, a shorter one bit by bit.
            self.away = away if away > self.away else (away + self.away) / 2

    def leaves_in(self, least: float, most: float) -> float:
        """Seconds for which a poller may stay away after a poll."""
        if self.away < 0:
            return most
        return min(max(self.away * POLLS_MISSED, least), most)


class Room:
    """The attendees of a channel on this node, by client; ``told``: how many the others know of."""

    __slots__ = ("attendees", "told")

    def __init__(self) -> None:
        self.attendees: dict[str, Attendee] = {}
        self.told = 0


class Wheel:
    """Attendees whose time is to be looked at, in steps."""

    def __init__(self) -> None:
        self._slots: dict[int, list[Attendee]] = {}

    def __bool__(self) -> bool:
        return bool(self._slots)

    def put(self, attendee: Attendee) -> None:
        """Have it looked at when its time is over, or before: then it is put in again."""
        slot = int(attendee.until / STEP) + 1
        if attendee.slot and attendee.slot <= slot:
            return
        # One that is looked at earlier than before stays where it was as well, and is passed over.
        attendee.slot = slot
        self._slots.setdefault(slot, []).append(attendee)

    def due(self, now: float) -> Iterator[Attendee]:
        """Those whose slot has come, the oldest slot first; they are in none when they come out."""
        upto = int(now / STEP)
        for slot in sorted(slot for slot in self._slots if slot <= upto):
            attendees = self._slots[slot]
            while attendees:
                attendee = attendees.pop()
                if attendee.slot == slot:
                    attendee.slot = 0
                    yield attendee
            del self._slots[slot]
