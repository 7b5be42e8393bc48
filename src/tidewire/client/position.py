"""Where a subscriber is in the log, so that any transport can go on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidewire.client.envelope import Event, Gap, Message, Reached, Ready

if TYPE_CHECKING:
    from collections.abc import Sequence


class Position:
    """What a subscription asks for, and how far it has come.

    It starts from ``since`` (``now``, ``start``, ``-N`` or a Unix time in ms) until there is a
    cursor: one for all channels, as a stream has them in the order of their ids. If it was
    started with a cursor for each channel, the channels are followed one by one, because an id
    of one of them may then be behind what was already read of another.

    A ``consumer`` that gives no cursor starts after what it has acknowledged. ``policy`` is what
    the server does when this subscriber is too slow: ``catch_up``, ``latest`` or ``disconnect``.
    With the ``session`` of an earlier connection, the channels may be left out: they are what that
    connection had. A reconnect keeps the session.
    """

    def __init__(
        self,
        channels: Sequence[str] = (),
        *,
        since: str | None = None,
        cursor: str | None = None,
        consumer: str | None = None,
        policy: str | None = None,
        session: str | None = None,
    ) -> None:
        """``cursor`` is one cursor, or as many as there are channels, separated by commas."""
        self.channels = tuple(dict.fromkeys(channels))
        self.consumer = consumer
        self.session = session
        self._policy = policy
        self._since = since
        self._cursor = cursor or None
        self._by_channel: dict[str, str] | None = None
        cursors = self._cursor.split(",") if self._cursor else []
        if len(cursors) > 1:
            if len(cursors) != len(self.channels):
                raise ValueError(
                    f"{len(cursors)} cursors do not fit {len(self.channels)} channels: "
                    "give one for all, or one for each"
                )
            self._by_channel = dict(zip(self.channels, cursors, strict=True))

    @property
    def cursor(self) -> str | None:
        """What resumes exactly here, or ``None`` before the server has said where *here* is."""
        return ",".join(self._by_channel.values()) if self._by_channel else self._cursor

    def query(self) -> list[tuple[str, str]]:
        """The parameters of a subscription that goes on from here."""
        query = [("channels", ",".join(self.channels))] if self.channels else []
        if self.cursor is not None:
            query.append(("cursor", self.cursor))
        elif self._since is not None:
            query.append(("since", self._since))
        given = {"consumer": self.consumer, "policy": self._policy, "session": self.session}
        return query + [(name, value) for name, value in given.items() if value is not None]

    def advance(self, event: Event) -> None:
        """Go past what was received."""
        if isinstance(event, Reached):
            self._reach(event.cursor)
            return
        envelope = event.envelope
        if isinstance(envelope, Ready):
            self._reach(envelope.id)
            self.session = envelope.session or None
            self.channels = self.channels or envelope.channels
        elif isinstance(envelope, Message) and envelope.deliveries > 1:
            # It has come before, so it may stand before others that have come since.
            return
        elif isinstance(envelope, Message | Gap):
            if self._by_channel is not None:
                # What @me stands for is followed from one place, and comes in one order.
                named = envelope.channel in self._by_channel
                name = envelope.channel if named else "@me"
                if name in self._by_channel:
                    self._by_channel[name] = envelope.id
            elif event.moves:
                self._cursor = envelope.id

    def _reach(self, cursor: str) -> None:
        # Given for all channels together, so of no use where each is followed on its own.
        if self._by_channel is None:
            self._cursor = cursor
