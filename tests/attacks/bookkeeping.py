"""Which of the published messages an honest client must have, one by one and in order.

The messages 1, 2, 3 … are dealt out over all channels in turn; a client follows some of them. The
ledger of the load generator books what comes without a hole: so a message's number is turned into
its place among those that the client follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.loadgen.ledger import Account, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNELS = ("live:news", "live:quotes", "live:chat", "live:tides")


def channel_of(number: int) -> str:
    """The channel in which a message is published."""
    return CHANNELS[number % len(CHANNELS)]


class Followed(Ledger):
    """The ledger of clients that follow the same ``channels``."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__()
        self._each = len(channels)
        turns = [turn for turn, channel in enumerate(CHANNELS) if channel in channels]
        self._places = {turn: place for place, turn in enumerate(turns)}

    def announce(self, number: int) -> None:
        """Note that this message is being published."""
        if number % len(CHANNELS) in self._places:
            self.publish(1)

    def join(self) -> Account:
        self.subscribers += 1
        return _Account(self, self.published)

    def place(self, number: int) -> int:
        """The how manieth of the messages that are followed this is, from 1.

        Raises:
            KeyError: if it is in a channel that is not followed.
        """
        first = len(CHANNELS)  # of the first whole turn: there is no message 0
        turn, at = divmod(number + first, len(CHANNELS))
        skipped = 1 if 0 in self._places else 0
        return (turn - 1) * self._each + self._places[at] + 1 - skipped


class _Account(Account):
    __slots__ = ()

    def enter(self, number: int) -> None:
        assert isinstance(self.ledger, Followed)
        super().enter(self.ledger.place(number))
