"""The promise as a plain list: what was published, and what each subscriber may and must see.

``judge`` compares the two, ``judge_server`` looks at the process, ``judge_healing`` at the time
taken. Each broken invariant is named by its letter:

===  ==============================================================================
a    no acknowledged message is lost
b    ids ascend on every subscriber's stream, and nothing comes twice, resumed or not
c    a gap is always told, and ``recovered`` never says what is not so
d    all subscribers, on whatever transport, see the same
e    what one publisher published comes in the publisher's order
f    a publish that is tried again with its key is there once, or not at all
g    the server's memory is bounded, however slow its clients are
h    after the network has healed everybody catches up within the time allowed
i    no connection and no descriptor is left when all clients have gone
===  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.acceptance.checker import (
    BrokenPromiseError,
    Envelope,
    Message,
    body_of,
    from_envelope,
    position,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

SHOWN = 5
"""Broken invariants that a failure spells out; the others are counted."""

EVERYBODY = "everybody"
"""Who suffers from what is wrong with the log or the server itself."""


class Ready(NamedTuple):
    """A stream began, or the first of some polls was answered; a cursor had been given."""

    recovered: bool


class Gap(NamedTuple):
    """The server told that messages of a channel, up to a position, are gone."""

    channel: str
    epoch: str
    position: int
    reason: str


class Answered(NamedTuple):
    """A poll's answer ended: what ``ready`` said of the first holds no longer."""


Event = Message | Gap | Ready | Answered


class Attempt(NamedTuple):
    """Whose message it is, and which of the publisher's."""

    publisher: str
    number: int


class Published:
    """All that was published: attempted at first, and acknowledged once there is an answer.

    A message is known by its body, so each must be unlike the others.
    """

    def __init__(self) -> None:
        self.attempts: dict[str, Attempt] = {}
        self.acknowledged: dict[str, Message] = {}
        self.broken: list[str] = []

    def attempt(self, publisher: str, number: int, command: Mapping[str, Any]) -> None:
        """Note a message before it is published for the first time."""
        self.attempts[body_of(command)] = Attempt(publisher, number)

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Note where the server says that messages stand; it must never say two things of one."""
        for message in messages:
            first = self.acknowledged.setdefault(message.body, message)
            if first != message:
                self.broken.append(f"(f) two answers for one key: {first}; {message}")


@dataclass
class View:
    """What one subscriber, which resumed from before the first message, saw in its order."""

    channels: Collection[str]
    events: list[Event] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """The messages alone."""
        return [event for event in self.events if isinstance(event, Message)]

    def take(self, envelope: Envelope) -> None:
        """Note an envelope of whatever type."""
        match envelope["type"]:
            case "message":
                self.events.append(from_envelope(envelope))
            case "ready":
                self.events.append(Ready(bool(envelope["recovered"])))
            case "gap":
                epoch, place = position(envelope["id"])
                self.events.append(Gap(envelope["channel"], epoch, place, envelope["reason"]))
            case "position":
                self.events.append(Answered())


class Footprint(NamedTuple):
    """What the server holds at one moment: bytes of memory, connections, file descriptors."""

    memory: int
    connections: int
    descriptors: int


@dataclass
class Verdict:
    """What became of what was sent: each message counted once for each subscriber."""

    sent: int
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    told: int = 0
    """Messages that are missing and that a gap has told of."""
    broken: list[str] = field(default_factory=list)

    def add(self, invariant: str, what: str) -> None:
        """Note a broken invariant by its letter."""
        self.broken.append(f"({invariant}) {what}")

    def check(self) -> None:
        """Fail if anything is broken, and say what."""
        if self.broken:
            shown = "\n  ".join(self.broken[:SHOWN])
            raise BrokenPromiseError(
                f"{len(self.broken)} broken, {self.lost} lost, {self.duplicated} duplicated:"
                f"\n  {shown}"
            )


def judge(
    published: Published,
    views: Mapping[str, View],
    *,
    kept: Collection[str],
    survived: Collection[Message] | None = None,
    partitioned: bool = False,
) -> dict[str, Verdict]:
    """Compare what each subscriber saw with what was published; give each a verdict.

    ``kept`` are the channels that keep everything: of them nothing may be missing, gap or not.
    The verdict on what does not depend on a subscriber is under ``EVERYBODY``.

    Where the storage itself has lost something ``kept`` is empty, and ``survived`` is all that the
    log has in the end. Of that nothing may be missing, either, and a gap must tell of all else.
    A publisher without an answer may have published anew what was lost.

    In a ``partitioned`` log a batch is in its order in each channel, but not over all of them.
    """
    sent = len(published.attempts)
    verdicts = {who: Verdict(sent) for who in (*views, EVERYBODY)}
    log = {(m.epoch, m.position): m for m in published.acknowledged.values()}
    for who, view in views.items():
        for message in view.messages:
            known = log.setdefault((message.epoch, message.position), message)
            if known != message:
                verdicts[who].add("d", f"sees {message}, others {known}")
    everybody = verdicts[EVERYBODY]
    everybody.broken += published.broken
    if survived is not None:
        log = {(message.epoch, message.position): message for message in survived}
    everybody.broken += _of_publishers(published, log, by_channel=partitioned)
    for who, view in views.items():
        _judge_one(verdicts[who], published, view, kept, survived)
    return verdicts


def _judge_one(
    verdict: Verdict,
    published: Published,
    view: View,
    kept: Collection[str],
    survived: Collection[Message] | None,
) -> None:
    verdict.received = len(view.messages)
    told = _told(view)
    there = frozenset(survived or ())
    for message in _missing(published, view):
        if (
            message.channel not in kept
            and message not in there
            and _is_told(message, told.get(message.channel, ()))
        ):
            verdict.told += 1
        else:
            verdict.lost += 1
            verdict.add("a", f"lost {message}")
    for message in _doubles(view):
        verdict.duplicated += 1
        verdict.add("b", f"received twice: {message}")
    for text in _disorder(view):
        verdict.add("b", text)
    for text in _untold_gaps(view, kept, live=survived is not None):
        verdict.add("c", text)


def judge_server(
    verdict: Verdict, before: Footprint, after: Footprint, *, most: int, allowed: int
) -> None:
    """Compare what the server held at first, in its worst moment (``most`` bytes), and at last.

    ``allowed`` is the growth in bytes that the published messages themselves explain.
    """
    if most - before.memory > allowed:
        grown = (most - before.memory) >> 10
        verdict.add("g", f"the server grew by {grown} KiB, {allowed >> 10} are allowed")
    if after.connections or after.descriptors > before.descriptors:
        files = f"{before.descriptors} descriptors before, {after.descriptors} after"
        verdict.add("i", f"left behind: {after.connections} connections; {files}")


def judge_healing(verdict: Verdict, took: float | None, *, within: float) -> None:
    """Look at how long a subscriber took after the healing; ``None``: it never caught up."""
    if took is None or took > within:
        seconds = "never" if took is None else f"after {took:.1f} s"
        verdict.add("h", f"has caught up {seconds}, {within} s are allowed")


def _of_publishers(
    published: Published, log: Mapping[tuple[str, int], Message], *, by_channel: bool
) -> Iterator[str]:
    seen: dict[str, Message] = {}
    newest: dict[tuple[str, str, str], Attempt] = {}
    for key in sorted(log, key=lambda key: key[1]):
        message = log[key]
        attempt = published.attempts.get(message.body)
        if attempt is None:
            yield f"(f) there, but never published: {message}"
            continue
        first = seen.setdefault(message.body, message)
        if first is not message:
            yield f"(f) published once, there twice: {first}; {message}"
            continue
        series = message.epoch, attempt.publisher, message.channel if by_channel else ""
        before = newest.get(series)
        newest[series] = attempt
        if before is not None and before.number > attempt.number:
            who = attempt.publisher
            yield f"(e) number {attempt.number} of {who} comes after {before.number}: {message}"


def _missing(published: Published, view: View) -> list[Message]:
    seen = {(m.epoch, m.position) for m in view.messages}
    return [
        message
        for message in published.acknowledged.values()
        if message.channel in view.channels and (message.epoch, message.position) not in seen
    ]


def _told(view: View) -> dict[str, list[tuple[Message | None, Gap]]]:
    """The gaps of each channel, each with the channel's last message before it."""
    reached: dict[str, Message] = {}
    told: dict[str, list[tuple[Message | None, Gap]]] = {}
    for event in view.events:
        if isinstance(event, Message):
            reached[event.channel] = event
        elif isinstance(event, Gap):
            told.setdefault(event.channel, []).append((reached.get(event.channel), event))
    return told


def _is_told(missing: Message, told: Iterable[tuple[Message | None, Gap]]) -> bool:
    """Whether one of the channel's gaps stands in the place of the missing message."""
    for before, gap in told:
        begins = before.position if before and before.epoch == missing.epoch else 0
        ends = gap.position if gap.epoch == missing.epoch else missing.position
        if begins < missing.position <= ends:
            return True
    return False


def _doubles(view: View) -> Iterator[Message]:
    places: set[tuple[str, int]] = set()
    for message in view.messages:
        place = message.epoch, message.position
        if place in places:
            yield message
        places.add(place)


def _disorder(view: View) -> Iterator[str]:
    earlier: Message | None = None
    for message in view.messages:
        if (
            earlier is not None
            and message.epoch == earlier.epoch
            and message.position < earlier.position
        ):
            yield f"{message} comes after {earlier}"
        earlier = message


def _untold_gaps(view: View, kept: Collection[str], *, live: bool) -> Iterator[str]:
    """What is wrong with gaps; with ``live`` they may also come later on a recovered stream."""
    newest: dict[str, Message] = {}
    gaps: dict[str, Gap] = {}
    recovered = False
    for event in view.events:
        match event:
            case Ready():
                recovered = event.recovered
                if not recovered and all(c in kept for c in view.channels):
                    yield "resumed and not recovered, though everything is kept"
            case Answered():
                recovered = False
            case Gap():
                gaps[event.channel] = event
                if event.channel in kept:
                    yield f"told of a gap where everything is kept: {event}"
                if recovered and not live and event.reason != "slow":
                    yield f"was told that all is recovered, and then {event}"
            case Message():
                yield from _hole(event, newest.get(event.channel), gaps.pop(event.channel, None))
                newest[event.channel] = event


def _hole(message: Message, before: Message | None, gap: Gap | None) -> Iterator[str]:
    """What is wrong between two messages of a channel that come one after the other."""
    if before is not None and message.epoch != before.epoch:
        if gap is None or gap.reason != "reset":
            yield f"the epoch changed without a word: {before}; {message}"
    elif message.seq > (before.seq if before else 0) + 1 and gap is None:
        yield f"a hole without a gap: {before or 'the start'}; {message}"
