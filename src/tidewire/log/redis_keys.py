"""The names of all keys of one log on Redis; they share a hash tag, so a cluster has them together.

==================  ======  ==============================================================
``log``             hash    epoch, newest id, number of the newest batch, seams
``feed``            stream  the newest batches by their numbers, as they are published
``c:CHANNEL``       string  a channel's state: see ``redis_append.lua``
``m:CHANNEL``       stream  a channel's messages by their ids
``k:CHANNEL\\0KEY``  string  an idempotency key: until when, and the receipt
``a:NODE``          string  the last answer that a node was given, for a minute
``records``         hash    TABLE\\0KEY to a record: until when, and the value
``names``           zset    the names of the records, in their order
``expiry``          zset    the same by the time at which they are forgotten
``turn``            string  there while no other node is to look for what is forgotten
==================  ======  ==============================================================
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Share(NamedTuple):
    """Which of its *of* partitions a log is, from 0; it gives the ids that leave *number*."""

    number: int
    of: int

    def prefix(self, prefix: str) -> str:
        """The hash tag of the partition: another number of partitions is another log."""
        return prefix if self.of == 1 else f"{prefix}.{self.number}of{self.of}"


WHOLE: Final = Share(0, 1)


class Keys:
    """Makes the names for what is kept under *prefix*."""

    def __init__(self, prefix: str) -> None:
        tag = f"{{{prefix}}}:"
        self.log = f"{tag}log".encode()
        self.feed = f"{tag}feed".encode()
        self.records = f"{tag}records".encode()
        self.names = f"{tag}names".encode()
        self.expiry = f"{tag}expiry".encode()
        self.turn = f"{tag}turn".encode()
        self._state = f"{tag}c:".encode()
        self._messages = f"{tag}m:".encode()
        self._key = f"{tag}k:".encode()
        self._answer = f"{tag}a:".encode()

    def state(self, channel: str) -> bytes:
        """A channel's state."""
        return self._state + channel.encode()

    def messages(self, channel: str) -> bytes:
        """A channel's messages."""
        return self._messages + channel.encode()

    def key(self, channel: str, key: str) -> bytes:
        """An idempotency key of a channel."""
        return b"%b%b\0%b" % (self._key, channel.encode(), key.encode())

    def answer(self, node: str) -> bytes:
        """The last answer given to a node."""
        return self._answer + node.encode()


def record_name(table: str, key: str) -> bytes:
    """What a record is called among all records."""
    return f"{table}\0{key}".encode()
