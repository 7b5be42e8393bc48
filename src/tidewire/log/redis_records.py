"""Records: small values beside the log.

A change is any function of the old value, so it is made here and not in Redis: the values are read,
the changes are made in the order of their calls, and a script writes what became of them if the
records are still what they were, all or none. If another node was faster, the script says what is
there now, and the changes are made once more from that. One such round is under way at a time; what
arrives meanwhile goes with the next. A round whose answer was lost is sent again, under its token,
as a batch of messages is (see ``redis_writer.py``).
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from tidewire.log.engine import Change
from tidewire.log.redis_connection import Argument, Connection, Lost, RedisError, Reply, refused
from tidewire.log.redis_keys import Keys, record_name
from tidewire.log.redis_link import Link
from tidewire.log.redis_reader import Reader
from tidewire.log.redis_scripts import CHANGE
from tidewire.log.redis_writer import ELSEWHERE, PATIENCE_SECONDS, REPLICA_SECONDS
from tidewire.model import EngineUnavailable

GROUP: Final = 2_000  # changes of one round
CONFLICTS: Final = 3  # rounds with as many changes; then half as many are tried together
PAGE: Final = 1_000  # records of a scan that are read at once

_EXPIRES = struct.Struct(">Q")


class _Call(NamedTuple):
    name: bytes
    change: Change
    ttl_us: int
    future: Future[bytes | None]


class _Made(msgspec.Struct, eq=False):
    """A record in a round: what it is in Redis, and what it becomes there."""

    raw: bytes | None
    value: bytes | None
    ttl_us: int = 0
    changed: bool = False


class Records:
    """The records of the log, for one node."""

    def __init__(
        self,
        keys: Keys,
        node: str,
        reader: Reader,
        *,
        replicas: int,
        now: Callable[[], int],
        scripts_now: Callable[[], int],
    ) -> None:
        self._keys = keys
        self._answers = keys.answer(node + ":records")
        self._reader = reader
        self._replicas = replicas
        self._now = now
        self._scripts_now = scripts_now
        self._waiting: deque[_Call] = deque()
        self._working: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._back: asyncio.Event | None = None

    def start(self, link: Link) -> None:
        """Keep them where *link* leads."""
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._back = asyncio.Event()
        self._back.set()

    async def finish(self, seconds: float) -> None:
        """Wait until all changes are answered, so long at most."""
        working = self._working
        if working is not None:
            await asyncio.wait([working], timeout=seconds)
            working.cancel()
            self._fail(self._waiting, EngineUnavailable("the server stops"))

    def down(self) -> None:
        """There is no connection now: what was not begun fails."""
        assert self._back is not None
        self._back.clear()
        waiting, self._waiting = self._waiting, deque()
        self._fail(waiting, self._away())

    def up(self) -> None:
        """There is a connection again."""
        if self._back is not None:
            self._back.set()

    # Changing

    def change(self, table: str, key: str, change: Change, ttl: float) -> Future[bytes | None]:
        """The engine's ``change``."""
        link = self._link
        assert link is not None
        future: Future[bytes | None] = self._loop.create_future()
        if link.log is None:
            future.set_exception(link.away())
            return future
        self._waiting.append(_Call(record_name(table, key), change, int(ttl * 1_000_000), future))
        if self._working is None:
            self._working = self._loop.create_task(self._work())
        return future

    async def _work(self) -> None:
        try:
            while self._waiting:
                calls = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                try:
                    await self._round(calls)
                except EngineUnavailable as error:
                    self._fail(calls, error)
                except Exception:
                    self._fail(calls, EngineUnavailable("the change could not be made"))
                    raise
        finally:
            self._working = None

    async def _round(self, calls: list[_Call]) -> None:
        """Make the changes of *calls*, and answer.

        Raises:
            EngineUnavailable: if they were not made, or nobody can tell.
        """
        names = list(dict.fromkeys(call.name for call in calls))
        raws = dict(zip(names, await self._read(names), strict=True))
        conflicts = 0
        while True:
            made, results = self._make(calls, raws)
            changed = {name: record for name, record in made.items() if record.changed}
            reply = await self._write(changed) if changed else []
            if not reply:
                break
            ordered = list(changed)
            for place, raw in zip(reply[::2], reply[1::2], strict=True):
                raws[ordered[place - 1]] = raw[1:] if raw else None
            conflicts += 1
            if conflicts % CONFLICTS == 0 and len(calls) > 1:
                half = len(calls) // 2
                self._waiting.extendleft(reversed(calls[half:]))
                del calls[half:]
        for call, result in zip(calls, results, strict=True):
            if call.future.done():
                continue
            if isinstance(result, Exception):
                call.future.set_exception(result)
            else:
                call.future.set_result(result)

    async def _read(self, names: list[bytes]) -> list[bytes | None]:
        until = self._loop.time() + PATIENCE_SECONDS
        while True:
            connection = self._connection()
            try:
                found: list[bytes | None] = await connection.call(
                    "HMGET", self._keys.records, *names
                )
            except RedisError as error:
                raise refused("the record cannot be read", error) from error
            except Lost:
                await self._until_back(until, "nothing was changed")
            else:
                return found

    def _make(
        self, calls: Sequence[_Call], raws: dict[bytes, bytes | None]
    ) -> tuple[dict[bytes, _Made], list[bytes | Exception | None]]:
        """What the changes make of the records, and what each call is answered."""
        now_us = self._now()
        made: dict[bytes, _Made] = {}
        results: list[bytes | Exception | None] = []
        for call in calls:
            record = made.get(call.name)
            if record is None:
                raw = raws[call.name]
                record = made[call.name] = _Made(raw, _value_of(raw, now_us))
            old = record.value
            try:
                value = call.change(old)
            except Exception as error:
                results.append(error)
                continue
            if value is not old:
                record.value = value
                record.ttl_us = call.ttl_us
                record.changed = True
            results.append(value)
        return made, results

    async def _write(self, changed: dict[bytes, _Made]) -> list[Reply]:
        """Write them if they are what they were; return what the script does of those that are not.

        Raises:
            EngineUnavailable: if nobody can tell whether they were written.
        """
        token = secrets.token_bytes(16)
        values: list[Argument] = []
        for name, record in changed.items():
            before = b"" if record.raw is None else b"v" + record.raw
            after = b"" if record.value is None else b"v" + record.value
            values += (name, before, after, record.ttl_us)
        keys = (self._keys.records, self._keys.names, self._keys.expiry, self._answers)
        until = self._loop.time() + PATIENCE_SECONDS
        again = 0
        while True:
            connection = self._connection()
            try:
                arguments = (self._scripts_now(), token, again, *values)
                reply: list[Reply] = await CHANGE.call(connection, keys, arguments)
                if self._replicas and not reply:
                    await self._be_held(connection)
            except (Lost, RedisError) as error:
                if isinstance(error, RedisError):
                    if error.code not in ELSEWHERE:
                        raise refused("the record was not changed", error) from error
                    connection.close(str(error))
                await self._until_back(until, "nobody can tell whether the change was made")
                again = 1
            else:
                return reply

    async def _be_held(self, connection: Connection) -> None:
        held = await connection.call("WAIT", self._replicas, int(REPLICA_SECONDS * 1000))
        if held < self._replicas:
            raise EngineUnavailable(
                f"{held} of {self._replicas} replicas have the change after {REPLICA_SECONDS:.0f} s"
            )

    async def _until_back(self, until: float, otherwise: str) -> None:
        assert self._back is not None
        try:
            async with asyncio.timeout_at(until):
                await self._back.wait()
        except TimeoutError:
            raise self._away(otherwise) from None

    def _connection(self) -> Connection:
        link = self._link
        assert link is not None
        if link.log is None:
            raise link.away()
        return link.log

    def _away(self, so: str = "nothing was changed") -> EngineUnavailable:
        assert self._link is not None
        return self._link.away(so)

    def _fail(self, calls: Iterable[_Call], error: EngineUnavailable) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(EngineUnavailable(error.detail, why=error.why))

    # Reading

    async def get(self, table: str, key: str) -> bytes | None:
        """The engine's ``get``."""
        [raw] = await self._reader.ask(("HGET", self._keys.records, record_name(table, key)))
        return _value_of(raw, self._now())

    async def scan(
        self, table: str, prefix: str, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        """The engine's ``scan``."""
        head = record_name(table, "")
        first = record_name(table, prefix)
        lowest = b"[" + first
        if (begin := record_name(table, after)) >= first:
            lowest = b"(" + begin
        highest = b"(" + first + b"\xff"  # which is in no UTF-8
        now_us = self._now()
        found: list[tuple[str, bytes]] = []
        while len(found) < limit:
            most = min(limit - len(found), PAGE)
            [names] = await self._reader.ask(
                ("ZRANGEBYLEX", self._keys.names, lowest, highest, "LIMIT", 0, most)
            )
            if not names:
                break
            [raws] = await self._reader.ask(("HMGET", self._keys.records, *names))
            for name, raw in zip(names, raws, strict=True):
                value = _value_of(raw, now_us)
                if value is not None:
                    found.append((name[len(head) :].decode(), value))
            if len(names) < most:
                break
            lowest = b"(" + names[-1]
        return found


def _value_of(raw: bytes | None, now_us: int) -> bytes | None:
    """A record's value, if there is one that has not expired."""
    if raw is None or _EXPIRES.unpack_from(raw)[0] <= now_us:
        return None
    return raw[_EXPIRES.size :]
