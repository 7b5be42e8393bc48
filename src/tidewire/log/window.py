"""The newest messages of one channel, in memory, in id order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter

from tidewire.model import Message

_id = attrgetter("id")
_COMPACT = 512
_DROPPED = Message("", 0, "", 0, 0, b"")


class Window:
    """A list that is appended at its end and dropped from its start, in constant time each.

    A deque would do that too, but is searched in linear time.
    """

    __slots__ = ("_first", "_messages", "count")

    def __init__(self) -> None:
        self.count = 0  # of the messages that are here: read for each that is published
        self._messages: list[Message] = []
        self._first = 0

    def __len__(self) -> int:
        return self.count

    def append(self, message: Message) -> None:
        """Add a message newer than all that are here."""
        self._messages.append(message)
        self.count += 1

    @property
    def oldest(self) -> Message:
        """The oldest message; there must be one."""
        return self._messages[self._first]

    @property
    def newest(self) -> Message:
        """The newest message; there must be one."""
        return self._messages[-1]

    def from_end(self, count: int) -> Message | None:
        """The message that has *count* - 1 newer ones, if so many are here."""
        return self._messages[-count] if 0 < count <= self.count else None

    def last_before(self, id: int) -> Message | None:
        """The newest message whose id is below *id*."""
        index = bisect_left(self._messages, id, self._first, key=_id)
        return self._messages[index - 1] if index > self._first else None

    def newest_upto(self, id: int) -> Message | None:
        """The newest message whose id is *id* or below."""
        return self.last_before(id + 1)

    def drop_oldest(self) -> Message:
        """Remove and return the oldest message; there must be one."""
        first = self._first
        message = self._messages[first]
        # The slot stays until the next compaction; what it held must not.
        self._messages[first] = _DROPPED
        self._first = first = first + 1
        self.count -= 1
        if first >= _COMPACT and first * 2 >= len(self._messages):
            del self._messages[:first]
            self._first = 0
        return message

    def drop_upto(self, id: int) -> Message | None:
        """Remove every message whose id is *id* or below; return the newest one removed."""
        index = bisect_right(self._messages, id, self._first, key=_id)
        if index == self._first:
            return None
        last = self._messages[index - 1]
        del self._messages[:index]
        self._first = 0
        self.count = len(self._messages)
        return last

    def withdraw(self, now_ms: int) -> int:
        """Empty the messages that are withdrawn by *now_ms*; when the next one will be; 0: none."""
        messages = self._messages
        earliest = 0
        for index in range(self._first, len(messages)):
            expires = messages[index].expires
            if not expires:
                continue
            if expires > now_ms:
                earliest = min(earliest or expires, expires)
            elif messages[index].gap is None:
                messages[index] = messages[index].withdrawn()
        return earliest

    def read(self, after: int, upto: int, limit: int) -> list[Message]:
        """At most *limit* messages with ids above *after*, none above *upto*."""
        messages = self._messages
        if len(messages) == self._first or messages[-1].id <= after:
            return []
        begin = bisect_right(messages, after, self._first, key=_id)
        end = (
            len(messages)
            if messages[-1].id <= upto
            else bisect_right(messages, upto, begin, key=_id)
        )
        return messages[begin : min(end, begin + limit)]
