"""Random calls against a model: whatever the order, the engine answers as plain lists would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Log, Logs, Storage, draft
from tests.log.model_log import Entry, ModelLog
from tidewire.model import Message, Since

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from tidewire.model import Draft

SIZE = 6

channels = st.sampled_from(["a", "b", "c"])
fractions = st.floats(0, 1)


@dataclass
class Purge:
    """Purge or forget a channel."""

    channel: str
    forget: bool


@dataclass
class Change:
    """Add to a record, or remove it."""

    key: str
    more: bytes | None


@dataclass
class Write:
    """Append, purge and change at once, without awaiting one before the next."""

    works: list[list[Draft] | Purge | Change]


@dataclass
class Move:
    """Move the clock; only some runs let it go back."""

    seconds: float


@dataclass
class Read:
    """Read; positions are places in the list of all ids, from 0 to 1, give or take ``near``."""

    after: dict[str, float]
    upto: float
    near: int
    limit: int
    max_bytes: int


@dataclass
class Start:
    """Ask for a start, and read from there."""

    channel: str
    kind: str
    count: int
    when: float


@dataclass
class Newest:
    """Ask for the newest message."""

    channel: str
    upto: float


@dataclass
class Get:
    """Ask for a record."""

    key: str


@dataclass
class Clean:
    """Let the background cleaning run."""


Step = Write | Move | Read | Start | Newest | Get | Clean


def a_draft(
    channel: str, key: str | None, size: int, ttl: float | None, version: int | None
) -> Draft:
    """A draft with so many bytes of data."""
    return draft(channel, b"x" * size, key=key, ttl=ttl, version=version)


keys = st.sampled_from(["k", "l"])
some_drafts = st.builds(
    a_draft,
    channels,
    st.none() | keys,
    st.integers(1, 30),
    st.sampled_from([None, None, None, 0.5, 3.0]),
    st.none() | st.integers(1, 9),
)
batches = st.lists(some_drafts, max_size=4)
works = st.one_of(
    batches,
    batches,
    batches,
    st.builds(Purge, channels, st.booleans()),
    st.builds(Change, keys, st.none() | st.just(b"x")),
)
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(Write, st.lists(works, min_size=1, max_size=3)),
        st.builds(Write, st.lists(works, min_size=1, max_size=3)),
        st.builds(Move, st.floats(-2, 2).map(lambda exponent: 10**exponent)),
        st.builds(
            Read,
            st.dictionaries(channels, fractions, min_size=1),
            fractions,
            st.integers(-1, 1),
            st.integers(1, 8),
            st.integers(1, 90),
        ),
        st.builds(
            Start,
            channels,
            st.sampled_from(["start", "last", "time"]),
            st.integers(1, 8),
            fractions,
        ),
        st.builds(Newest, channels, fractions),
        st.builds(Get, keys),
        st.builds(Clean),
    ),
    min_size=8,
    max_size=40,
)


class _Run:
    def __init__(self, log: Log, model: ModelLog, window: float, *, back: bool) -> None:
        self.log = log
        self.model = model
        self.window = window
        self.back = back
        self.moves = 0

    def place(self, fraction: float) -> int:
        """An id, or 0, as far into the log as *fraction* says."""
        ids = [0, *(entry.id for entry in self.model.entries)]
        return ids[round(fraction * (len(ids) - 1))]

    async def take(self, step: Step) -> None:
        match step:
            case Write(works):
                answers = await asyncio.gather(*map(self.begin, works))
                assert answers == [self.expected(work) for work in works]
            case Move(seconds):
                self.moves += 1
                backwards = self.back and self.moves % 2
                self.log.clock.move(-seconds if backwards else seconds)
            case Read():
                await self.read(step)
            case Start(channel, kind, count, when):
                await self.start(channel, kind, count, when)
            case Newest(channel, where):
                await self.newest(channel, self.place(where))
            case Get(key):
                assert await self.log.engine.get("t", key) == self.model.record(key)
            case Clean():
                await self.log.clean()

    def begin(self, work: list[Draft] | Purge | Change) -> Future[Any]:
        engine = self.log.engine
        match work:
            case Purge(channel, forget):
                return engine.purge(channel, forget=forget)
            case Change(key, more):
                change = (lambda old: None) if more is None else (lambda old: (old or b"") + more)
                return engine.change("t", key, change, self.window)
            case drafts:
                return engine.append(self.lasting(drafts))

    def expected(self, work: list[Draft] | Purge | Change) -> object:
        match work:
            case Purge(channel, forget):
                return self.model.purge(channel, forget=forget)
            case Change(key, more):
                return self.model.change(key, more)
            case drafts:
                return self.model.append(self.lasting(drafts))

    def lasting(self, drafts: list[Draft]) -> list[Draft]:
        """Where the clock goes back nothing is withdrawn, as nothing grows too old."""
        return [structs.replace(d, ttl_ms=None) for d in drafts] if self.back else drafts

    async def read(self, step: Read) -> None:
        after = {c: max(0, self.place(where) + step.near) for c, where in step.after.items()}
        upto = self.place(step.upto)
        page = await self.log.read(after, upto, limit=step.limit, max_bytes=step.max_bytes)
        entries, gaps, position, more = self.model.read(after, upto, step.limit, step.max_bytes)
        got = [entry_of(message) for message in page.messages]
        assert (got, page.gaps, page.position, page.more) == (entries, gaps, position, more)

    async def start(self, channel: str, kind: str, count: int, when: float) -> None:
        since = Since(kind, count if kind == "last" else self.place(when) // 1000)
        start = await self.log.start(channel, since.kind, since.number)
        page = await self.log.read({channel: start})
        assert all(gap.skipped for gap in page.gaps), "only what is withdrawn is missing"
        assert [m.id for m in page.messages] == [e.id for e in self.model.first(channel, since)]

    async def newest(self, channel: str, upto: int) -> None:
        found = await self.log.newest(channel, upto)
        expected = self.model.newest(channel, upto)
        floor = self.model.floor(channel)
        if expected[0] > floor or floor == 0 or expected[0] == self.model.of(channel)[-1].id:
            assert found == expected
        else:  # it is discarded: which one it was, and when, may be forgotten
            assert expected[0] <= found[0] <= upto
            assert expected[1] <= found[1]

    async def finish(self) -> None:
        """What the feed got in all."""
        assert await self.log.engine.head() == self.model.head
        assert [entry_of(message) for message in self.log.fed] == self.model.entries


def entry_of(message: Message) -> Entry:
    """A message as the model keeps it."""
    return Entry(
        message.id, message.channel, message.seq, message.time,
        message.data, message.expires, message.gap,
    )  # fmt: skip


class ModelContract(Contract):
    """The engine against the model."""

    examples = 60
    """Runs of each test; fewer where an engine is slow to open."""

    @pytest.mark.timeout(600)  # a failure is made small before it is told, which takes minutes
    @pytest.mark.parametrize("back", [False, True], ids=["clock goes on", "clock goes back"])
    def test_any_calls_answer_as_the_model(
        self, storages: Callable[[], Storage], back: bool
    ) -> None:
        # Where the clock goes back, no message and no key grows too old: what did would stay away
        # in an engine that has cleaned, and come back in one that has not. Both are right.
        ttl, window = (10_000 * HOUR, 10_000 * HOUR) if back else (30.0, 60.0)

        async def run(steps: list[Step]) -> None:
            logs = Logs(storages())
            log = await logs.open(size=SIZE, ttl=ttl, window=window)
            model = ModelLog(logs.clock, SIZE, int(ttl * 1_000_000), window)
            running = _Run(log, model, window, back=back)
            try:
                for step in steps:
                    await running.take(step)
                await running.finish()
            finally:
                await logs.close_all()

        @settings(
            max_examples=self.examples,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(steps)
        def compare(steps: list[Step]) -> None:
            asyncio.run(run(steps))

        compare()
