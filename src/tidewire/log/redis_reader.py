"""What is read of a log on Redis.

An entry of a channel's stream has the id of the channel's message before it, discarded or not. So
the first entry that a reader may still see tells exactly what it lacks: if the one before it is
above the reader's position, that is the channel's floor. Where no entry is left, the channel's
state tells the newest id there was. Sizes are exact in the streams, for each batch cuts its
channels; ages are a comparison of ids; and both stay right however late Redis lets go of anything.

Channels that nothing was published to for a month are forgotten altogether. Who comes with a
position from before that is told a gap, since nobody can know what was there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from tidewire.log.engine import Floor, page_of
from tidewire.log.redis_batch import stored_message
from tidewire.log.redis_connection import Argument, Lost, RedisError, Reply, refused
from tidewire.log.redis_feed import Follower
from tidewire.log.redis_keys import Keys
from tidewire.log.redis_link import Link
from tidewire.log.redis_scripts import LAST
from tidewire.model import Gap, Message, Namespaces, Page, Since

DAY_US: Final = 24 * 3600 * 1_000_000
LONG_DAYS: Final = 31  # a day less than states are kept: it is rounded down to whole days
FIRST_ENTRIES: Final = 32  # of all channels of a read together, in the first round
LEAST_ENTRIES: Final = 4
MOST_ENTRIES: Final = 2_000

_STATE = struct.Struct(">9Q")

_NEVER: Final = 1 << 63

Entry = list[Reply]


class _State(NamedTuple):
    """A channel's state, see ``redis_append.lua``."""

    seq: int
    last: int
    time: int
    forgotten: int
    version: int
    version_id: int
    version_seq: int
    kept: int
    refreshed: int


class _Log(NamedTuple):
    """What a read needs to know of the log: seams, and what is withdrawn for good."""

    seams: list[int]
    swept_ms: int
    swept_id: int


class Reader:
    """Reads for one node."""

    def __init__(
        self, keys: Keys, namespaces: Namespaces, follower: Follower, now: Callable[[], int]
    ) -> None:
        self._keys = keys
        self._namespaces = namespaces
        self._follower = follower
        self._now = now
        self._link: Link | None = None

    def start(self, link: Link) -> None:
        """Read where *link* leads."""
        self._link = link

    async def ask(self, *commands: tuple[Argument, ...]) -> list[Reply]:
        """The answers to several commands, sent together.

        Raises:
            EngineUnavailable: if there is one that is an error, or none.
        """
        link = self._link
        assert link is not None
        connection = link.reading
        if connection is None:
            raise link.away("nothing was read")
        try:
            replies = await connection.calls(list(commands))
        except Lost as lost:
            raise link.away("nothing was read") from lost
        for reply in replies:
            if isinstance(reply, RedisError):
                raise refused("the log cannot be read", reply)
        return replies

    # Pages

    async def page(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        """The engine's ``read``."""
        if not after:
            return Page([], [], upto, False)
        now_us = self._now()
        names = list(after)
        torn = _NEVER
        most = max(LEAST_ENTRIES, min(FIRST_ENTRIES // len(names), limit + 1))
        starts = [max(after[name] + 1, self._cutoff(name, now_us)) for name in names]
        log, states, found = await self._read(names, starts, most)
        messages: list[Message] = []
        floors: dict[str, Floor] = {}
        for name, state, entries in zip(names, states, found, strict=True):
            if state is None:
                floor = self._horizon(name, now_us)
                if floor:
                    floors[name] = Floor(floor)
                continue
            taking = _Taking(self, log, upto, limit, max_bytes, now_us // 1000)
            wanted, asked = taking.take(entries), most
            while wanted and len(entries) == asked:
                asked = min(wanted, MOST_ENTRIES)
                [entries] = await self.ask(self._range(name, taking.end + 1, asked))
                wanted = taking.take(entries)
            messages += taking.messages
            if taking.torn:
                torn = min(torn, taking.end)
            floor = state.last if taking.before is None else taking.before
            floors[name] = Floor(floor, state.forgotten)
        if len(after) > 1:
            messages.sort(key=_by_id)
        if torn < upto:
            messages = [message for message in messages if message.id <= torn]
        page = page_of(messages, floors, after, min(upto, torn), limit, max_bytes, now_us // 1000)
        if torn < upto:
            page = page._replace(more=True)
        if log.seams:
            _add_seams(page, log.seams, after)
        return page

    async def _read(
        self, names: Sequence[str], starts: Sequence[int], most: int
    ) -> tuple[_Log, list[_State | None], list[list[Entry]]]:
        """Log, states, and entries from the ids *starts* on, *most* of each channel."""
        while True:
            commands: list[tuple[Argument, ...]] = [("HMGET", self._keys.log, "seams", "swept")]
            commands += [("GET", self._keys.state(name)) for name in names]
            commands += map(self._range, names, starts, [most] * len(names))
            [log, *replies] = await self.ask(*commands)
            states = [None if reply is None else _State(*_STATE.unpack(reply))
                      for reply in replies[: len(names)]]  # fmt: skip
            if not await self._shorten(names, states):
                return _log_of(log), states, replies[len(names) :]

    def _range(self, name: str, start: int, most: int) -> tuple[Argument, ...]:
        return ("XRANGE", self._keys.messages(name), start, "+", "COUNT", most)

    async def _shorten(self, names: Sequence[str], states: Sequence[_State | None]) -> bool:
        """Cut channels that were written with a larger size than is configured now."""
        commands: list[tuple[Argument, ...]] = []
        for name, state in zip(names, states, strict=True):
            size = self._namespaces.retention(name).size
            if state is not None and state.kept > size:
                commands.append(("XTRIM", self._keys.messages(name), "MAXLEN", size))
        return bool(commands) and any(await self.ask(*commands))

    def _cutoff(self, name: str, now_us: int) -> int:
        """The lowest id that is not too old."""
        return max(0, now_us - self._namespaces.retention(name).ttl_us)

    def _horizon(self, name: str, now_us: int) -> int:
        """Up to which id nobody knows what was in a channel that is not known."""
        days = max(LONG_DAYS, 2 * self._namespaces.retention(name).ttl_us // DAY_US - 1)
        horizon = (now_us // DAY_US - days) * DAY_US
        return horizon if horizon > self._follower.born else 0

    def message_of(self, entry: Entry, log: _Log) -> tuple[int, Message]:
        """The message of an entry, behind the id of the one before it."""
        id = int(entry[0].partition(b"-")[0])
        before, message = stored_message(self._follower.epoch, id, entry[1][1])
        if 0 < message.expires <= log.swept_ms and id <= log.swept_id:
            message = message.withdrawn()
        return before, message

    # Places

    async def starts(self, channels: Iterable[str], since: Since) -> dict[str, int]:
        """The engine's ``starts``."""
        names = list(channels)
        if not names:
            return {}
        now_us = self._now()
        cutoffs = [self._cutoff(name, now_us) for name in names]
        log, states, found = await self._read(names, cutoffs, 1)
        starts: dict[str, int] = {}
        for name, state, entries in zip(names, states, found, strict=True):
            if state is None:
                starts[name] = self._horizon(name, now_us)
            elif entries:
                starts[name], _ = self.message_of(entries[0], log)
            else:
                starts[name] = state.last
        known = [name for name, state in zip(names, states, strict=True) if state is not None]
        if since.kind == "last" and known:
            keys = [self._keys.messages(name) for name in known]
            lowest = [self._cutoff(name, now_us) for name in known]
            [ids] = await self.ask(
                ("EVAL", LAST.text, len(keys), *keys, min(since.number, 1 << 40), *lowest)
            )
            for name, id in zip(known, ids, strict=True):
                if id:
                    starts[name] = max(starts[name], int(id.partition(b"-")[0]))
        elif since.kind == "time":
            for name in known:
                starts[name] = max(starts[name], since.number * 1000 - 1)
        return starts

    async def newest(self, channels: Iterable[str], upto: int) -> dict[str, tuple[int, int]]:
        """The engine's ``newest``."""
        names = list(channels)
        if not names:
            return {}
        commands: list[tuple[Argument, ...]] = [("HMGET", self._keys.log, "seams", "swept")]
        commands += [("GET", self._keys.state(name)) for name in names]
        [fields, *replies] = await self.ask(*commands)
        log = _log_of(fields)
        newest: dict[str, tuple[int, int]] = {}
        passed: dict[str, int] = {}
        for name, reply in zip(names, replies, strict=True):
            state = None if reply is None else _State(*_STATE.unpack(reply))
            if state is None:
                newest[name] = 0, 0
            elif state.last <= upto:
                newest[name] = state.last, state.time
            else:
                passed[name] = state.last
        if passed:
            before: list[tuple[Argument, ...]] = []
            for name in passed:
                messages = self._keys.messages(name)
                before.append(("XREVRANGE", messages, upto, "-", "COUNT", 1))
                before.append(("XRANGE", messages, "-", "+", "COUNT", 1))
            found = iter(await self.ask(*before))
            for name, entries, first in zip(passed, found, found, strict=True):
                if entries:
                    _, message = self.message_of(entries[0], log)
                    newest[name] = message.id, message.time
                else:
                    id = self.message_of(first[0], log)[0] if first else passed[name]
                    id = min(id, upto)
                    newest[name] = id, id // 1000
        seam = max((seam for seam in log.seams if seam <= upto), default=0)
        if seam:
            newest = {name: max(known, (seam, seam // 1000)) for name, known in newest.items()}
        return newest

    async def head(self) -> int:
        """The engine's ``head``."""
        [last] = await self.ask(("HGET", self._keys.log, "last"))
        return int(last or 0)


class _Taking:
    """Takes a channel's entries, as many as a page may have and one more."""

    def __init__(
        self, reader: Reader, log: _Log, upto: int, limit: int, max_bytes: int, now_ms: int
    ) -> None:
        self.messages: list[Message] = []
        self.before: int | None = None  # the id before the first entry there is
        self.end = 0  # the id of the last message
        self.torn = False  # some behind it were discarded while the others were read
        self._reader = reader
        self._log = log
        self._upto = upto
        self._limit = limit
        self._max_bytes = max_bytes
        self._now_ms = now_ms
        self._size = 0

    def take(self, entries: list[Entry]) -> int:
        """Take *entries*; return how many more are wanted."""
        messages = self.messages
        for entry in entries:
            before, message = self._reader.message_of(entry, self._log)
            if self.before is None:
                self.before = before
            elif before != self.end:
                self.torn = True
                return 0
            if message.id > self._upto:
                return 0
            self.end = message.id
            messages.append(message)
            if not (message.expires and message.is_withdrawn(self._now_ms)):
                self._size += message.size
                if self._size > self._max_bytes and len(messages) > 1:
                    return 0  # the page is cut before this one at the latest
            if len(messages) > self._limit:
                return 0
        if not messages:
            return 0
        left = self._limit + 1 - len(messages)
        average = self._size // len(messages) + 1
        return max(LEAST_ENTRIES, min(left, (self._max_bytes - self._size) // average + 1))


def _log_of(fields: list[bytes | None]) -> _Log:
    seams, swept = fields
    ms, _, id = (swept or b"0 0").partition(b" ")
    return _Log([int(seam) for seam in seams.split()] if seams else [], int(ms), int(id))


def _add_seams(page: Page, seams: list[int], after: Mapping[str, int]) -> None:
    """Tell of each seam that *page* leads past; of later ones a later page does."""
    for channel, position in after.items():
        page.gaps.extend(
            Gap(channel, seam, "reset") for seam in seams if position < seam <= page.position
        )


def _by_id(message: Message) -> int:
    return message.id
