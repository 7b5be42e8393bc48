"""What the hub keeps in memory, compared with the log that it is a part of."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidewire.hub.recent import Recent
from tidewire.log import MemoryEngine
from tidewire.model import Draft, Gap, Message, Namespaces, Page, Retention

FIRST_ID = 1_000_000
A_YEAR_US = 365 * 86_400 * 1_000_000
CHANNELS = ("a", "b", "c")


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = FIRST_ID / 1_000_000

    def __call__(self) -> float:
        return self.now


class Both:
    """A log, and the part of it that is kept in memory."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        most: int = 10_000,
        max_bytes: int = 1 << 20,
        most_channels: int = 100,
        retention: Retention | None = None,
    ) -> None:
        self.loop = loop
        self.clock = Clock()
        namespaces = Namespaces(retention or Retention(10_000, A_YEAR_US))
        self.log = MemoryEngine(namespaces, clock=self.clock)
        self.recent = Recent(
            0,
            namespaces,
            clock=self.clock,
            most=most,
            max_bytes=max_bytes,
            most_channels=most_channels,
        )
        self.messages: list[Message] = []
        self._fed: list[Message] = []
        loop.run_until_complete(self.log.open(self._fed.extend))

    def publish(self, channel: str, size: int = 1, ttl_ms: int | None = None) -> Message:
        """Publish a message of *size* bytes."""
        self.log.append([Draft(channel, b"1" * size, ttl_ms=ttl_ms)])
        return self._take_in()

    def purge(self, channel: str, *, forget: bool = False) -> Message:
        """Purge a channel; the record of it."""
        self.log.purge(channel, forget=forget)
        return self._take_in()

    def _take_in(self) -> Message:
        self.recent.extend(self._fed)
        self.messages += self._fed
        self._fed.clear()
        return self.messages[-1]

    def read_log(self, after: dict[str, int], upto: int, limit: int, max_bytes: int) -> Page:
        """The log's own page."""
        return self.loop.run_until_complete(self.log.read(after, upto, limit, max_bytes))

    def hides(self, gap: Gap, after: int, upto: int) -> bool:
        """Whether *gap* is for a message up to *upto*; the log tells of later ones too."""
        return any(m.channel == gap.channel and after < m.id <= upto for m in self.messages)

    def close(self) -> None:
        """End the log."""
        self.loop.run_until_complete(self.log.close())


class Read(NamedTuple):
    """A read; ids are counted from the first message's."""

    after: dict[str, int]
    upto: int
    limit: int
    max_bytes: int


def shown(page: Page) -> Page:
    """*page* with messages that compare as equal: the log's are copies."""
    messages: list[Any] = [(m.id, m.channel, m.seq, m.data) for m in page.messages]
    return page._replace(messages=messages)


READS = st.builds(
    Read,
    st.dictionaries(st.sampled_from(CHANNELS), st.integers(-1, 30), min_size=1),
    st.integers(0, 32),
    st.integers(1, 8),
    st.integers(1, 20),
)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(CHANNELS),
            st.integers(1, 5),
            st.sampled_from([None, None, None, None, "withdrawn", "purge", "forget"]),
        ),
        max_size=30,
    ),
    st.integers(0, 20),
    st.integers(1, 40),
    st.integers(0, 12),
    st.lists(READS, min_size=1, max_size=10),
)
def test_a_page_from_memory_is_the_page_of_the_log(
    steps: list[tuple[str, int, str | None]],
    most: int,
    max_bytes: int,
    kept: int,
    reads: list[Read],
) -> None:
    loop = asyncio.new_event_loop()
    both = Both(loop, most=most, max_bytes=max_bytes, retention=Retention(kept, A_YEAR_US))
    try:
        for channel, size, what in steps:
            if what in ("purge", "forget"):
                both.purge(channel, forget=what == "forget")
            else:
                both.publish(channel, size, 5_000 if what == "withdrawn" else None)
        both.clock.now += 10
        for read in reads:
            after = {channel: FIRST_ID + back for channel, back in read.after.items()}
            upto = min(FIRST_ID + read.upto, both.recent.head)
            page = both.recent.read(after, upto, read.limit, read.max_bytes)
            expected = both.read_log(after, upto, read.limit, read.max_bytes)
            gaps = [gap for gap in expected.gaps if both.hides(gap, after[gap.channel], upto)]
            if page is not None:
                assert shown(page) == shown(expected._replace(gaps=gaps))
            elif min(after.values()) >= both.recent.floor:
                assert gaps, "memory has it all, and said that it does not know"
    finally:
        both.close()
        loop.close()


@pytest.fixture
def both(loop: asyncio.AbstractEventLoop) -> Both:
    """Memory for five messages of 40 bytes in all, and of three channels."""
    return Both(loop, most=5, max_bytes=40, most_channels=3)


def read(both: Both, channel: str, after: int) -> list[int] | None:
    """The ids that memory gives, if it knows."""
    page = both.recent.read({channel: after}, both.recent.head, 100, 1 << 20)
    return None if page is None else [message.id for message in page.messages]


def test_all_above_the_floor_is_there(both: Both) -> None:
    ids = [both.publish("a").id for _ in range(8)]
    assert both.recent.floor == ids[2]
    assert both.recent.head == ids[7]
    assert read(both, "a", ids[2]) == ids[3:]
    assert read(both, "a", ids[1]) is None
    assert read(both, "a", ids[7]) == []


def test_a_quiet_channel_is_known_below_the_floor(both: Both) -> None:
    """Nothing newer than the cursor: no need to ask the log."""
    quiet = both.publish("quiet").id
    for _ in range(8):
        both.publish("a")
    assert quiet < both.recent.floor
    assert read(both, "quiet", quiet) == []
    assert read(both, "quiet", quiet - 1) is None
    assert read(both, "unknown", quiet) is None
    assert read(both, "unknown", both.recent.floor) == []


def test_whether_anything_may_have_come(both: Both) -> None:
    """Of a channel that never had a message, none is expected."""
    a, b = both.publish("a"), both.publish("b")
    assert both.recent.may_have("a", a.id - 1)
    assert not both.recent.may_have("a", a.id)
    assert both.recent.may_have("ab", a.id)
    assert not both.recent.may_have("ab", b.id)
    assert not both.recent.may_have("c", both.recent.floor)


def test_it_may_have_come_where_memory_does_not_know(both: Both) -> None:
    ids = {channel: both.publish(channel).id for channel in "abcdefgh"}
    assert both.recent.may_have("unknown", both.recent.floor - 1)
    assert not both.recent.may_have("unknown", both.recent.floor)
    assert both.recent.newest(("d",)) is None
    assert both.recent.may_have("d", ids["c"])


def test_bytes_are_bounded(both: Both) -> None:
    ids = [both.publish("a", 20).id for _ in range(3)]
    assert both.recent.floor == ids[0]
    both.publish("a", 100)
    assert read(both, "a", both.recent.head - 1) is None, "larger than all of memory"
    assert both.recent.floor == both.recent.head


def test_channels_are_bounded(both: Both) -> None:
    for channel in "abcdef":
        both.publish(channel)
    assert [both.recent.newest((channel,)) is not None for channel in "abcdef"] == [
        False, False, False, True, True, True,
    ]  # fmt: skip


def test_what_was_learned_is_bounded_too(both: Both) -> None:
    """Else polls for channels that nobody publishes in would fill the memory."""
    for n in range(1_000):
        both.recent.learn({f"c{n}": (0, 0)})
    assert sum(both.recent.newest((f"c{n}",)) is not None for n in range(1_000)) == 3
    both.recent.learn({f"d{n}": (0, 0) for n in range(10)})
    assert sum(both.recent.newest((f"d{n}",)) is not None for n in range(10)) == 3


def test_newest_of_many_channels(both: Both) -> None:
    both.clock.now += 1
    a = both.publish("a")
    b = both.publish("b")
    assert both.recent.newest(("a",)) == (a.id, a.time)
    assert both.recent.newest(("b", "a")) == (b.id, b.time)
    assert both.recent.newest(("a", "unknown")) is None
    both.recent.learn({"unknown": (0, 0)})
    assert both.recent.newest(("a", "unknown")) == (a.id, a.time)


def test_what_was_learned_is_never_newer_than_what_was_fed(both: Both) -> None:
    """The log was asked, and meanwhile a message came."""
    a = both.publish("a")
    both.recent.learn({"a": (a.id - 5, a.time)})
    assert both.recent.newest(("a",)) == (a.id, a.time)
    both.recent.learn({"b": (7, 7)})
    both.recent.learn({"b": (9, 9)})
    assert both.recent.newest(("b",)) == (9, 9)


def test_what_is_too_old_for_the_log_is_for_the_log_to_tell(
    loop: asyncio.AbstractEventLoop,
) -> None:
    both = Both(loop, retention=Retention(100, 10_000_000))
    old = both.publish("a").id
    both.clock.now += 8
    new = both.publish("a").id
    assert read(both, "a", old - 1) == [old, new]
    both.clock.now += 3
    assert read(both, "a", old - 1) is None
    assert read(both, "a", old) == [new]
    assert [gap.id for gap in both.read_log({"a": old - 1}, new, 9, 99).gaps] == [old]


def test_what_was_purged_is_for_the_log_to_tell(loop: asyncio.AbstractEventLoop) -> None:
    both = Both(loop, most=4)
    old = both.publish("a").id
    record = both.purge("a").id
    new = both.publish("a").id
    assert read(both, "a", old) is None
    assert read(both, "a", record) == [new]
    assert both.recent.newest(("a",)) == (new, both.messages[-1].time)
    both.publish("b")
    assert read(both, "b", old) == [both.recent.head]
    for _ in range(3):  # the record goes, and what is known of it
        both.publish("a")
    assert read(both, "a", record) is None
    assert read(both, "a", both.recent.floor) is not None


def test_what_is_withdrawn_is_a_gap_at_once(both: Both) -> None:
    first, second = both.publish("a", ttl_ms=5_000).id, both.publish("a").id
    both.clock.now += 5
    page = both.recent.read({"a": first - 1}, second, 100, 1 << 20)
    assert page is not None
    assert [message.id for message in page.messages] == [second]
    assert page.gaps == [Gap("a", first, "expired", 1)]


def first_page(both: Both) -> Page | None:
    """What is shared among all who begin at the start of the channel: two messages of it."""
    return both.recent.page({"a": 0}, both.recent.head, 2, 1 << 20)


def test_a_page_is_shared_by_all_who_stand_at_its_place(both: Both) -> None:
    first = [both.publish("a") for _ in range(4)][:2]
    page = first_page(both)
    assert page is not None
    assert page.messages == first
    both.publish("a")
    assert first_page(both) is page
    assert both.recent.page({"a": first[0].id}, both.recent.head, 2, 1 << 20) is not page


def test_the_last_page_is_read_anew(both: Both) -> None:
    both.publish("a")
    page = first_page(both)
    both.publish("a")
    again = first_page(both)
    assert page is not None
    assert again is not None
    assert (len(page.messages), len(again.messages)) == (1, 2)


def test_what_was_purged_is_shared_no_longer(both: Both) -> None:
    for _ in range(4):
        both.publish("a")
    assert first_page(both) is not None
    both.purge("a")
    assert first_page(both) is None


def test_what_may_lack_a_message_is_shared_no_longer(both: Both) -> None:
    for _ in range(4):
        both.publish("a")
    page = first_page(both)
    assert page is not None
    both.recent.forget_below(page.messages[0].id)
    assert first_page(both) is not page
    both.recent.skip_to(both.recent.head)
    assert first_page(both) is None


def test_encodings_are_forgotten_with_the_message(both: Both) -> None:
    message = both.publish("a")
    message.forms = {"form": b"bytes"}
    assert message.envelope
    for _ in range(5):
        both.publish("a")
    kept: list[object] = [message.forms, message.made_envelope]
    assert kept == [None, None]
