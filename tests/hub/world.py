"""A hub in a world without sockets and without time: each test moves the loop turn by turn.

Subscribers write down what they get, and check at every write and every step what must
always hold: each message once, in order, nothing left out unless a gap says so, and a cursor from
which the rest, and only the rest, would follow.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tidewire.hub import Form, Hub, Session, State
from tidewire.hub.recent import Recent
from tidewire.log import MemoryEngine
from tidewire.model import (
    Cursor,
    Draft,
    EngineUnavailable,
    Flow,
    Gap,
    Message,
    Namespaces,
    Page,
    Retention,
    Since,
    Subscription,
)
from tidewire.model.envelope import Control, GapNotice, Ready
from tidewire.model.subscription import NOW

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence

    from tidewire.hub import Opening
    from tidewire.log import Broken, Engine, Feed

T = TypeVar("T")

FIRST_ID = 1_000_000
MOST_TURNS = 300
A_YEAR_US = 365 * 86_400 * 1_000_000


class Plain:
    """A form of one line an envelope; counts how often it was asked to make bytes."""

    def __init__(self) -> None:
        self.made = 0

    def messages(self, messages: list[Message]) -> bytes:
        self.made += 1
        assert all(m.data or m.gap for m in messages), "a trace is nothing for subscribers"
        return b"".join(b"message %d %b\n" % (m.id, m.channel.encode()) for m in messages)

    def control(self, envelope: Control, cursor: str) -> bytes:
        if isinstance(envelope, Ready):
            return f"ready {envelope.id} {envelope.recovered}\n".encode()
        assert isinstance(envelope, GapNotice)
        assert envelope.id == cursor
        id = cursor.partition("-")[2]
        return f"gap {id} {envelope.channel} {envelope.reason} {envelope.skipped}\n".encode()


class Item(NamedTuple):
    """One line of a stream: a message, a gap or ready."""

    kind: str
    id: int
    channel: str = ""
    reason: str = ""
    skipped: int = 0


def items_of(data: bytes) -> list[Item]:
    """The lines that ``Plain`` wrote."""
    items = []
    for line in data.decode().splitlines():
        kind, *rest = line.split(" ")
        if kind == "ready":
            items.append(Item(kind, int(rest[0].partition("-")[2]), reason=rest[1]))
        elif kind == "gap":
            items.append(Item(kind, int(rest[0]), rest[1], rest[2], int(rest[3])))
        else:
            items.append(Item(kind, int(rest[0]), rest[1]))
    return items


class Subscriber:
    """A sink that writes down and checks what its session gives it.

    ``at`` says for each followed channel up to which id everything has come or was told as a gap.
    """

    def __init__(self, world: World, form: Form, policy: str | None = None) -> None:
        self.world = world
        self.session = Session(world.hub, self, form, "s", policy)
        self.takes = True
        self.refused = False
        self.items: list[Item] = []
        self.at: dict[str, int] = {}
        self.writes = 0
        self.ended: tuple[int, str, bool] | None = None

    def write(self, data: bytes) -> bool:
        self.writes += 1
        try:
            assert not self.refused, "written to although it wanted no more"
            assert data, "an empty write"
            self.receive(data)
        except AssertionError as failure:
            self.world.failures.append(failure)  # the hub must not keep it to itself
            raise
        self.refused = not self.takes
        return self.takes

    def end(self, code: int, reason: str, *, again: bool) -> None:
        self.ended = (code, reason, again)
        self.session.close()

    def receive(self, data: bytes) -> None:
        """Take in bytes of the stream, each item in its place."""
        for item in items_of(data):
            self.items.append(item)
            if item.kind == "ready":
                continue
            assert item.channel in self.at, f"{item} of a channel that is not followed"
            due = self.world.ids_after(item.channel, self.at[item.channel])
            if item.kind == "gap":
                assert item.reason == "reset" or (due and due[0] <= item.id), f"{item} hides none"
            else:
                assert due, f"{item} came again"
                assert due[0] == item.id, f"{item} came instead of {due[0]}"
            self.at[item.channel] = item.id

    def congest(self) -> None:
        """Refuse more from the next write on."""
        self.takes = False

    def drain(self) -> None:
        """Take everything again."""
        self.takes = True
        if self.refused:
            self.refused = False
            self.session.resume()

    def follow(self, channel: str, after: int, gaps: Sequence[Gap] = ()) -> None:
        """Follow *channel* too, from the id *after*."""
        self.at[channel] = after
        self.session.follow({channel: after}, list(gaps))

    def follow_now(self, channel: str) -> None:
        """Follow *channel* too, from the newest message, or on from where it is followed."""
        head = self.world.hub.recent.head
        self.at.setdefault(channel, head)
        self.session.follow({channel: head}, [], frozenset({channel}))

    def unfollow(self, channel: str) -> None:
        """Follow *channel* no longer."""
        del self.at[channel]
        self.session.unfollow(frozenset({channel}))

    def close(self) -> None:
        """Be gone."""
        self.session.close()

    @property
    def position(self) -> int:
        """The id in the session's cursor."""
        epoch, _, id = self.session.cursor.partition("-")
        assert epoch == self.world.engine.epoch
        return int(id)

    @property
    def ids(self) -> list[int]:
        """The ids of the messages received, in their order."""
        return [item.id for item in self.items if item.kind == "message"]

    @property
    def gaps(self) -> list[tuple[int, str, str]]:
        """The gaps received: id, channel, reason."""
        return [(item.id, item.channel, item.reason) for item in self.items if item.kind == "gap"]

    @property
    def skips(self) -> list[tuple[int, str, int]]:
        """What was left out: up to which id, of which channel, how many."""
        return [(item.id, item.channel, item.skipped) for item in self.items if item.skipped]

    def check_cursor(self) -> None:
        """Resuming from the cursor would lose nothing, and repeat nothing but a backfill."""
        session = self.session
        if session.state is State.CLOSED:
            return
        position = self.position
        for channel, at in self.at.items():
            lost = [id for id in self.world.ids_after(channel, at) if id <= position]
            told = self.world.floor(channel) > position  # who resumes there is told of a gap
            assert not lost or told, f"the cursor {position} hides {lost} of {channel}"
            if session.state is State.LIVE or len(set(session.after.values())) <= 1:
                again = [id for id in self.world.ids[channel] if position < id <= at]
                assert not again, f"the cursor {position} repeats {again} of {channel}"

    def check_whole(self) -> None:
        """Everything has come."""
        for channel, at in self.at.items():
            assert not self.world.ids_after(channel, at), f"{channel} is not complete"

    @property
    def live(self) -> bool:
        """Whether its session is live."""
        return self.session.state is State.LIVE

    @property
    def settled(self) -> bool:
        """Whether nothing more can come to it without something from outside."""
        state = self.session.state
        return (
            state is State.CLOSED
            or self.session.congested
            or (state is State.LIVE and self.position == self.world.last)
        )


class World:
    """One hub on one log, and everybody who follows it.

    *recent* bounds the messages that the hub keeps in memory, *size* those the log keeps.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        recent: int = 10_000,
        size: int = 10_000,
        wrap: Callable[[MemoryEngine], Engine] | None = None,
        flows: Mapping[str, Flow] | None = None,
    ) -> None:
        self.loop = loop
        self.size = size
        self.now = FIRST_ID / 1_000_000
        self.log = MemoryEngine(
            Namespaces(Retention(size, A_YEAR_US), flows=flows),
            clock=self.time,
            idempotency_window=60,
        )
        self.engine: Engine = self.log if wrap is None else wrap(self.log)
        self.hub = Hub(self.engine)
        self.ids: dict[str, list[int]] = {}
        self.last = 0
        self.subscribers: list[Subscriber] = []
        self.form: Form = Plain()
        self.failures: list[BaseException] = []
        loop.set_exception_handler(self._failed)
        self.do(self.hub.start())
        self.hub.recent = Recent(
            self.hub.position, self.log.namespaces, clock=self.time, most=recent
        )

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(context.get("exception") or AssertionError(context["message"]))

    def time(self) -> float:
        """The clock of the log: it stands still."""
        return self.now

    def do(self, work: Awaitable[T]) -> T:
        """Run a coroutine or future to its end."""
        return self.loop.run_until_complete(work)

    def end(self) -> None:
        """Stop the hub."""
        self.do(self.hub.stop())

    def turn(self, count: int = 1) -> None:
        """Let the loop run what is ready now, *count* times."""
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            if self.failures:
                raise self.failures[0]

    def until(self, condition: Callable[[], object], why: str = "it never comes so far") -> None:
        """Turn until *condition* is true."""
        for _ in range(MOST_TURNS):
            if condition():
                return
            self.turn()
        raise AssertionError(why)

    def settle(self) -> None:
        """Turn until every subscriber is live at the end of the log, or wants no more."""
        self.until(
            lambda: self.hub.position == self.last and all(s.settled for s in self.subscribers),
            "the hub does not come to rest",
        )

    def publish(self, *channels: str, headers: bytes | None = None) -> list[int]:
        """Publish one message to each of *channels*, as one batch; return their ids."""
        drafts = [Draft(channel, b"1", headers=headers) for channel in channels]
        receipts = self.log.append(drafts).result()
        for receipt in receipts:
            self.ids.setdefault(receipt.channel, []).append(receipt.id)
            self.last = receipt.id
        return [receipt.id for receipt in receipts]

    def publish_elsewhere(self, *channels: str) -> list[int]:
        """Publish as another process would: the log has it, the hub has not heard of it yet."""
        feed, self.log._feed = self.log._feed, None
        ids = self.publish(*channels)
        self.log._feed = feed
        return ids

    def ids_after(self, channel: str, position: int) -> list[int]:
        """The ids published in *channel* after *position*."""
        ids = self.ids.setdefault(channel, [])
        return ids[bisect_right(ids, position) :]

    def floor(self, channel: str) -> int:
        """The newest id of *channel* that the log has discarded."""
        ids = self.ids.get(channel, [])
        return ids[-self.size - 1] if len(ids) > self.size else 0

    def subscribe(
        self,
        *channels: str,
        after: int | None = None,
        since: Since = NOW,
        form: Form | None = None,
        policy: str | None = None,
    ) -> Subscriber:
        """A new subscriber, opened as the transports do it; turns the loop if the log is asked."""
        cursors = () if after is None else (Cursor(self.engine.epoch, after),)
        return self.open(Subscription(channels, cursors, since), form, policy)

    def open(
        self, wanted: Subscription, form: Form | None = None, policy: str | None = None
    ) -> Subscriber:
        """A new subscriber of *wanted*."""
        upto = self.hub.position
        opening = self.hub.open_now(wanted, upto, policy=policy)
        if opening is None:
            opening = self.do(self.hub.open(wanted, upto, policy=policy))
        return self.begin(opening, form, policy)

    def begin(
        self, opening: Opening | None, form: Form | None = None, policy: str | None = None
    ) -> Subscriber:
        """A new subscriber that starts at *opening*."""
        subscriber = Subscriber(self, form or self.form, policy)
        self.subscribers.append(subscriber)
        if opening is not None:
            subscriber.at.update(opening.start.after)
        first = subscriber.session.begin(opening)
        taken = subscriber.write(first)
        subscriber.session.go_on(
            more=opening is not None and opening.page.more, congested=not taken
        )
        return subscriber

    def check(self) -> None:
        """What must hold at every moment."""
        if self.failures:
            raise self.failures[0]
        for subscriber in self.subscribers:
            subscriber.check_cursor()

    def check_end(self) -> None:
        """Let everybody drain; then nobody may lack anything."""
        for subscriber in self.subscribers:
            subscriber.drain()
        self.settle()
        self.check()
        for subscriber in self.subscribers:
            if subscriber.session.state is not State.CLOSED:
                subscriber.check_whole()


class HeldEngine:
    """A log whose reads wait until the test lets them go on, or fail.

    ``waiting`` are the reads under way, oldest first, ``reads`` the bounds of all so far. While
    ``holds`` is false they go through at once. With ``traces`` the feed has those of messages
    that nobody has asked for, as if another process had appended all.
    """

    wanted: Container[str] | None = None
    broken: Broken | None = None

    def __init__(self, log: MemoryEngine) -> None:
        self.log = log
        self.epoch = log.epoch
        self.drops = log.drops
        self.namespaces = log.namespaces
        self.close = log.close
        self.append = log.append
        self.starts = log.starts
        self.newest = log.newest
        self.purge = log.purge
        self.change = log.change
        self.get = log.get
        self.scan = log.scan
        self.head = log.head
        self.holds = True
        self.traces = False
        self.reads: list[dict[str, int]] = []
        self.waiting: list[asyncio.Future[None]] = []

    async def open(self, feed: Feed, broken: Broken | None = None) -> int:
        self.broken = broken

        def traced(messages: list[Message]) -> None:
            feed([self._seen(message) for message in messages])

        return await self.log.open(traced)

    def _seen(self, message: Message) -> Message:
        if not self.traces or message.gap or self.wanted is None or message.channel in self.wanted:
            return message
        return Message(message.epoch, message.id, message.channel, message.seq, message.time, b"")

    async def read(self, after: Mapping[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        self.reads.append(dict(after))
        if self.holds:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate
        return await self.log.read(after, upto, limit, max_bytes)

    def let_go(self) -> None:
        """Let the oldest read go on."""
        self.waiting.pop(0).set_result(None)

    def fail(self, error: Exception | None = None) -> None:
        """Let the oldest read fail."""
        self.waiting.pop(0).set_exception(error or EngineUnavailable("the disk is away"))


def ascending(ids: Iterable[int]) -> bool:
    """Whether each id is above the one before it."""
    return all(a < b for a, b in pairwise(ids))
