"""What is known of a durable consumer, as plain values: what it acknowledged, what it was sent.

The order of ids is total, so little is needed, whatever the number of channels and messages. Up to
the *floor* everything is acknowledged; a few ids above it are too, singly. Above the floor lie the
*regions*: all messages up to here were sent so many times, and come again at that moment if they
are not acknowledged until then. What was never sent lies above them all. All channels
of a consumer share these; ids of other channels in between mean nothing.

Nothing here has a clock, a loop or a log. Times are Unix ms.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tidewire.model import Message, TooManySingleAcks

MOST_SINGLE = 1_000  # acknowledged ids above the floor, and the like: a record stays small


class Redelivery(NamedTuple):
    """When a message comes again: after *wait* ms; and how often at *most*, 0: without end."""

    wait: int
    most: int

    @property
    def slack(self) -> int:
        """Ms by which it may be late, so that messages sent soon after each other are one region.

        Never early: that would be work done twice.
        """
        return self.wait // 16


class Region(NamedTuple):
    """Messages up to *upto*, from the region before, were sent *times* times, and are *due*.

    *spared* of those times do not bring a message nearer to the dead letters.
    """

    upto: int
    times: int
    due: int
    spared: int = 0


_UNSENT = Region(0, 0, 0)


class ConsumerState(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One consumer.

    ``begun`` is the first floor: what is not above it is not for this consumer. ``holder`` is the
    claim by which a connection reads as it, ``came`` the floor at that moment, ``channels`` those
    that it read last. ``acked`` and ``regions`` are ascending. ``delayed`` has ids that the
    consumer wants again, and when.
    """

    floor: int
    begun: int
    holder: int = 0
    came: int = 0
    channels: tuple[str, ...] = ()
    acked: tuple[int, ...] = ()
    regions: tuple[Region, ...] = ()
    delayed: dict[int, int] = {}

    @property
    def sent(self) -> int:
        """The id up to which something is known to have been sent."""
        return self.regions[-1].upto if self.regions else self.floor

    @property
    def due(self) -> int | None:
        """When the next message is to be sent again, if it is not acknowledged until then."""
        times = [region.due for region in self.regions]
        times += self.delayed.values()
        return min(times, default=None)

    def first_due(self, now: int, after: int = 0) -> int | None:
        """The id behind which something above *after* is to be sent again; ``None``: nothing."""
        found = [id - 1 for id, due in self.delayed.items() if due <= now and id > after]
        lower = self.floor
        for upto, _, due, _ in self.regions:
            if due <= now and upto > after:
                found.append(max(lower, after))
                break
            lower = upto
        return min(found, default=None)

    def has_acknowledged(self, id: int) -> bool:
        """Whether the message is done with."""
        return id <= self.floor or id in self.acked

    def deliveries(self, id: int) -> int:
        """How often the message was sent; 0 also if that is forgotten, as it is at the floor."""
        if id <= self.floor:
            return 0
        index = bisect_left(self.regions, id, key=_upto)
        return self.regions[index].times if index < len(self.regions) else 0


class Choice(NamedTuple):
    """What becomes of a stretch of the log for a consumer, and the state after that.

    ``send`` goes to it now. ``dead`` was sent often enough: it is to be buried, then acknowledged.
    ``again`` is how many of ``send`` were sent before.
    """

    state: ConsumerState
    send: list[Message]
    dead: list[Message]
    again: int


def acknowledge(state: ConsumerState, upto: int) -> ConsumerState:
    """Everything up to *upto* is done with."""
    return state if upto <= state.floor else _raised(state, upto)


def acknowledge_single(state: ConsumerState, ids: Iterable[int]) -> ConsumerState:
    """These messages are done with; those between them are not."""
    done = {id for id in ids if id > state.floor}.difference(state.acked)
    if not done:
        return state
    return msgspec.structs.replace(
        state,
        acked=tuple(sorted(done.union(state.acked))),
        delayed={id: due for id, due in state.delayed.items() if id not in done},
    )


def delay(state: ConsumerState, id: int, due: int) -> ConsumerState:
    """The consumer wants the message again, at *due*."""
    if state.has_acknowledged(id):
        return state
    return msgspec.structs.replace(state, delayed=state.delayed | {id: due})


def check_size(state: ConsumerState) -> ConsumerState:
    """Return *state* if its record is small enough to be kept.

    Raises:
        TooManySingleAcks: if too many single messages were acknowledged, or asked for again.
    """
    if len(state.acked) > MOST_SINGLE or len(state.delayed) + len(state.regions) > MOST_SINGLE:
        raise TooManySingleAcks(
            f"more than {MOST_SINGLE} single messages above the first unacknowledged one: "
            "acknowledge that one, or all up to an id"
        )
    return state


def settle(state: ConsumerState, ids: Iterable[int], upto: int) -> ConsumerState:
    """Raise the floor as far as everything is acknowledged.

    *ids* are those of all messages there are between the floor and *upto*, ascending.
    """
    acked = frozenset(state.acked)
    open_id = next((id for id in ids if id > state.floor and id not in acked), upto + 1)
    return acknowledge(state, open_id - 1)


def mark_sent(state: ConsumerState, upto: int, now: int, rules: Redelivery) -> ConsumerState:
    """Everything up to *upto* that was not sent before was sent now, for the first time."""
    if upto <= state.sent:
        return state
    regions = list(state.regions)
    _put_sent(regions, upto, 1, now, rules)
    return msgspec.structs.replace(state, regions=tuple(regions))


def come_back(state: ConsumerState, received: int, now: int, rules: Redelivery) -> ConsumerState:
    """The consumer is on a new connection, and has received everything up to *received*.

    What is above that comes again at once; what is below when its time has come. What the
    consumer asked for later comes later all the same.
    """
    state = mark_sent(state, received, now, rules)
    latest = now + rules.wait + rules.slack  # a due time beyond is from a clock that went back
    regions: list[Region] = []
    lower = state.floor
    for region in state.regions:
        if lower < received:
            upto, due = min(region.upto, received), min(region.due, latest)
            _put(regions, region._replace(upto=upto, due=due))
        if region.upto > received:
            _put(regions, region._replace(due=0))
        lower = region.upto
    return msgspec.structs.replace(state, regions=tuple(regions))


def take_over(state: ConsumerState, holder: int) -> ConsumerState:
    """A new connection reads it from now on.

    If something was acknowledged since the one before came, the consumer was at work. Then what
    waited behind that was not refused, however often it was sent.
    """
    regions = state.regions
    if state.floor > state.came:
        regions = tuple(region._replace(spared=region.spared + 1) for region in regions)
    return msgspec.structs.replace(state, holder=holder, came=state.floor, regions=regions)


def at_work(state: ConsumerState, now: int, rules: Redelivery) -> ConsumerState:
    """The consumer has just acknowledged something.

    What lies above all that it acknowledged has not had its turn yet: its time begins anew. Else a
    consumer with much to do would be sent the same again, and lose it to the dead letters. What is
    due already stays so: it may never have arrived, and must come before anything newer.
    """
    due = now + rules.wait
    if not any(now < region.due <= due - rules.wait // 2 for region in state.regions):
        return state
    done = state.acked[-1] if state.acked else state.floor
    regions: list[Region] = []
    lower = state.floor
    for region in state.regions:
        if region.upto <= done or not now < region.due < due:
            _put(regions, region)
        else:
            if lower < done:
                _put(regions, region._replace(upto=done))
            _put(regions, region._replace(due=due + rules.slack))
        lower = region.upto
    return msgspec.structs.replace(state, regions=tuple(regions))


def merge(record: ConsumerState, own: ConsumerState, served: Mapping[int, int]) -> ConsumerState:
    """*record* with what only the holder of the consumer knows, from its *own* state.

    What was acknowledged, and is wanted again, is the record's to say, since that comes from
    anywhere; what was sent is the holder's. *served* are the delays that it has carried out.
    """
    delayed = {id: due for id, due in record.delayed.items() if served.get(id) != due}
    whole = msgspec.structs.replace(
        record, channels=own.channels, regions=own.regions, delayed=delayed
    )
    return _raised(whole, max(record.floor, own.floor))


def choose(
    state: ConsumerState,
    messages: Sequence[Message],
    start: int,
    end: int,
    now: int,
    rules: Redelivery,
) -> Choice:
    """What of *messages*, all that there are above *start* and up to *end*, goes out now."""
    send: list[Message] = []
    dead: list[Message] = []
    again = 0
    delayed = dict(state.delayed)
    acked = frozenset(state.acked)
    old = state.regions
    index = bisect_left(old, start + 1, key=_upto)
    regions = list(old[:index])
    if index < len(old) and start > (regions[-1].upto if regions else state.floor):
        regions.append(old[index]._replace(upto=start))
    for message in messages:
        id = message.id
        if id <= state.floor or id in acked:
            continue
        while index < len(old) and old[index].upto < id:
            index += 1
        _, times, due, spared = old[index] if index < len(old) else _UNSENT
        due = delayed.get(id, due)
        if due > now:
            _put(regions, Region(id, times, due, spared))
            continue
        delayed.pop(id, None)
        if message.gap is not None and times:
            _put_sent(regions, id, times, now, rules, spared)  # it was told
        elif rules.most and times - spared >= rules.most:
            dead.append(message)
            _put_sent(regions, id, times, now, rules, spared)
        else:
            send.append(message.bare(times + 1) if times else message)
            again += times > 0
            _put_sent(regions, id, times + 1, now, rules, spared)
    # Where there are no messages any more, nothing is due.
    regions += [region for region in old[index:] if region.upto > end]
    changed = msgspec.structs.replace(state, regions=tuple(regions), delayed=delayed)
    return Choice(changed, send, dead, again)


def choose_late(
    state: ConsumerState,
    messages: Sequence[Message],
    late: Mapping[str, int],
    now: int,
    rules: Redelivery,
) -> Choice:
    """The same, of a stretch that lacks messages of some channels.

    *late* are those channels that the consumer took up later than others: what they have above
    the id was not sent with the others of its region.
    """
    send: list[Message] = []
    regions = list(state.regions)
    for message in messages:
        id = message.id
        if state.has_acknowledged(id):
            continue
        if id > state.sent:
            send.append(message)
            _put_sent(regions, id, 1, now, rules)
        elif id > late.get(message.channel, id):
            times = state.deliveries(id)
            send.append(message.bare(times) if times > 1 else message)
    return Choice(msgspec.structs.replace(state, regions=tuple(regions)), send, [], 0)


def _upto(region: Region) -> int:
    return region.upto


def _raised(state: ConsumerState, floor: int) -> ConsumerState:
    """*state* without what is at or below *floor*, which is not below its own."""
    if not state.acked and not state.regions and not state.delayed:
        return msgspec.structs.replace(state, floor=floor)
    return msgspec.structs.replace(
        state,
        floor=floor,
        acked=tuple(id for id in state.acked if id > floor),
        regions=tuple(region for region in state.regions if region.upto > floor),
        delayed={id: due for id, due in state.delayed.items() if id > floor},
    )


def _put(regions: list[Region], region: Region) -> None:
    """Go on to the end of *region*, with the last one if it is of the same kind."""
    if regions and regions[-1][1:] == region[1:]:
        regions.pop()
    regions.append(region)


def _put_sent(
    regions: list[Region], upto: int, times: int, now: int, rules: Redelivery, spared: int = 0
) -> None:
    """Go on to *upto*, which was sent now as the *times*-th time."""
    due = now + rules.wait
    last = regions[-1] if regions else None
    if (
        last is not None
        and (last.times, last.spared) == (times, spared)
        and 0 <= last.due - due <= rules.slack
    ):
        due = regions.pop().due
    else:
        due += rules.slack
    regions.append(Region(upto, times, due, spared))
