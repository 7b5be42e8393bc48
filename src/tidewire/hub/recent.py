"""The newest messages of the whole log, and the newest id of each channel, in memory.

Most reads ask for the last moments only: a client that comes back after a hiccup, a poller that
comes round, a slow stream that has drained. Those are answered from here at once, without the
engine. Both parts are caches of bounded size: when they do not know, they say so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from tidewire.hub.pages import Pages
from tidewire.log.engine import Floor, page_of
from tidewire.log.window import Window
from tidewire.model import Message, Namespaces, Page

_NO_FLOORS: dict[str, Floor] = {}


class Recent:
    """Everything with an id above ``floor``, up to ``head``.

    At most *most* messages of *max_bytes* payload in all, and the newest ids of at most
    *most_channels* channels. What *namespaces* say is discarded, or was purged, is not shown,
    though it is here. Where a trace is in the way, only the engine knows.
    """

    __slots__ = (
        "_bytes",
        "_clock",
        "_max_bytes",
        "_most",
        "_most_channels",
        "_namespaces",
        "_newest",
        "_order",
        "_pages",
        "_purged",
        "_traced",
        "_windows",
        "floor",
        "head",
    )

    def __init__(
        self,
        head: int,
        namespaces: Namespaces,
        *,
        clock: Callable[[], float] = time.time,
        most: int = 10_000,
        max_bytes: int = 8 << 20,
        most_channels: int = 100_000,
    ) -> None:
        self.floor = head
        self.head = head
        self._namespaces = namespaces
        self._clock = clock
        self._most = most
        self._max_bytes = max_bytes
        self._most_channels = most_channels
        self._bytes = 0
        self._order: deque[Message] = deque()
        self._windows: dict[str, Window] = {}
        self._purged: dict[str, int] = {}  # up to which id; as long as the record of it is here
        self._traced: dict[str, int] = {}  # the newest one; as long as it is here
        self._newest: dict[str, tuple[int, int]] = {}
        self._pages = Pages()

    def extend(self, messages: Iterable[Message]) -> None:
        """Take in the log's next messages, in id order."""
        order, windows, newest = self._order, self._windows, self._newest
        for message in messages:
            channel, id = message.channel, message.id
            order.append(message)
            window = windows.get(channel)
            if window is None:
                window = windows[channel] = Window()
            window.append(message)
            newest[channel] = (id, message.time)
            if not message.data:
                (self._traced if message.gap is None else self._purged)[channel] = id
                self._pages = Pages()
            self._bytes += message.size
            self.head = id
        while len(order) > self._most or self._bytes > self._max_bytes:
            self._drop_oldest()
        if len(newest) > self._most_channels:
            self._bound_channels()

    def _drop_oldest(self) -> None:
        message = self._order.popleft()
        channel = message.channel
        window = self._windows[channel]
        window.drop_oldest()
        if not window.count:
            del self._windows[channel]
        self._bytes -= message.size
        self.floor = message.id
        if not message.data:
            for ids in (self._purged, self._traced):
                if ids.get(channel) == message.id:
                    del ids[channel]
        message.forget_forms()

    def forget_below(self, id: int) -> None:
        """Leave what is older than *id* to the engine: the feed did not bring all of it."""
        self._pages = Pages()
        while self._order and self._order[0].id < id:
            self._drop_oldest()
        self.floor = max(self.floor, id - 1)

    def skip_to(self, id: int) -> None:
        """Leave all up to *id* to the engine, and what there is of each channel too."""
        for known in (self._order, self._windows, self._purged, self._traced, self._newest):
            known.clear()
        self._pages = Pages()
        self._bytes = 0
        self.floor = self.head = id

    def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page | None:
        """The page that an engine would give, or ``None`` when only the engine can know."""
        messages: list[Message] = []
        now_us = int(self._clock() * 1_000_000)
        floor = self.floor
        for channel, position in after.items():
            if position < floor:
                known = self._newest.get(channel)
                if known is None or known[0] > position:
                    return None
            elif position < self._traced.get(channel, 0):
                return None
            elif window := self._windows.get(channel):
                found = window.read(position, upto, limit + 1)
                if found and self._is_discarded(found[0], window, now_us):
                    return None
                messages += found
        if not messages:
            return Page([], [], upto, False)
        if len(after) > 1:
            messages.sort(key=_by_id)
        return page_of(messages, _NO_FLOORS, after, upto, limit, max_bytes, now_us // 1000)

    def page(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page | None:
        """What ``read`` gives, or gave a moment ago: many stand at the same place."""
        key = tuple(after.items())
        page = self._pages.get(key)
        if page is None:
            page = self.read(after, upto, limit, max_bytes)
            if page is not None:
                self._pages.put(key, page)
        return page

    def may_have(self, channels: Iterable[str], after: int) -> bool:
        """Whether there may be anything of *channels* above the id *after*."""
        for channel in channels:
            known = self._newest.get(channel)
            if known is None:
                if after < self.floor or channel in self._windows:
                    return True
            elif known[0] > after:
                return True
        return False

    def _is_discarded(self, message: Message, window: Window, now_us: int) -> bool:
        """Whether the log has discarded *message* by now: then there is a gap for it to tell."""
        size, ttl_us = self._namespaces.retention(message.channel)
        if message.id < now_us - ttl_us or message.id <= self._purged.get(message.channel, 0):
            return True
        newest_discarded = window.from_end(size + 1)
        return newest_discarded is not None and message.id <= newest_discarded.id

    def newest(self, channels: tuple[str, ...]) -> tuple[int, int] | None:
        """Id and time (Unix ms) of the newest message in any of *channels*; ``None``: unknown."""
        newest = self._newest
        if len(channels) == 1:
            return newest.get(channels[0])
        best = (0, 0)
        for channel in channels:
            known = newest.get(channel)
            if known is None:
                return None
            best = max(best, known)
        return best

    def learn(self, newest: Mapping[str, tuple[int, int]]) -> None:
        """Take in what an engine said of channels; what was fed meanwhile is newer and stays."""
        for channel, known in newest.items():
            self._newest[channel] = max(known, self._newest.get(channel, known))
        self._bound_channels()

    def _bound_channels(self) -> None:
        newest = self._newest
        while len(newest) > self._most_channels:
            del newest[next(iter(newest))]


def _by_id(message: Message) -> int:
    return message.id
