"""Who should have had which message, and who has had it.

Every message of a stream has a number: 1, 2, 3 … A subscriber that joins when `n` have been
published owes nothing for those, and must then receive n + 1, n + 2, … each once and in order. The
ledger of a stream sums over its subscribers; the cost of a message that arrives as it should is one
comparison and one addition.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Ledger:
    """What the subscribers of one stream have received, and what they should have."""

    published: int = 0
    """Number of the newest message published."""
    expected: int = 0
    """Messages that the subscribers together should have received by now."""
    received: int = 0
    """Messages received by the one who should have had them, each counted once."""
    duplicates: int = 0
    """Messages received again, or by one who joined after they were published."""
    out_of_order: int = 0
    """Messages received after one with a higher number."""
    gaps: int = 0
    """`gap` envelopes: the server said that messages are gone."""
    closed: int = 0
    """Subscribers whose connection ended while their stream was open."""
    subscribers: int = 0
    faults: list[str] = field(default_factory=list)
    """The first few protocol errors, in words."""

    @property
    def missing(self) -> int:
        """Messages that should have been received and were not (yet)."""
        return self.expected - self.received

    def publish(self, count: int) -> int:
        """Notes that `count` more messages are being published; returns the number of the first."""
        first = self.published + 1
        self.published += count
        self.expected += count * self.subscribers
        return first

    def join(self) -> Account:
        """The account of one more subscriber, for the messages published from now on."""
        self.subscribers += 1
        return Account(self, self.published)

    def fault(self, what: str) -> None:
        """Notes a protocol error; past ten they are only counted as closed connections."""
        if len(self.faults) < 10:
            self.faults.append(what)


class Account:
    """One subscriber's side of the ledger."""

    __slots__ = ("_skipped", "ledger", "next")

    def __init__(self, ledger: Ledger, published: int) -> None:
        self.ledger = ledger
        self._skipped: set[int] | None = None
        self.next = published + 1
        """The number that the next message must have."""

    def enter(self, number: int) -> None:
        """Books one received message."""
        ledger = self.ledger
        if number == self.next:
            self.next = number + 1
            ledger.received += 1
        elif number > self.next:
            if self._skipped is None:
                self._skipped = set()
            self._skipped.update(range(self.next, number))
            self.next = number + 1
            ledger.received += 1
        elif self._skipped and number in self._skipped:
            self._skipped.remove(number)
            ledger.received += 1
            ledger.out_of_order += 1
        else:
            ledger.duplicates += 1
