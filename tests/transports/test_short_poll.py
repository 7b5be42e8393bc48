"""Short polls: answered at once, mostly with "nothing new"."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.transports.world import EPOCH, FIRST_ID, World
from tidewire.model import BadRequest, Cursor, Draft, EngineUnavailable, Subscription
from tidewire.model.subscription import NOW, START, Since
from tidewire.transports.polling import http_date
from tidewire.transports.query import Query
from tidewire.transports.short_poll import Answer, ShortPolls

HEADERS = b"X-Constant: yes\r\n"
INTERVAL = 3.0


def asking(
    *channels: str, after: int | None = None, since: Since = NOW, raw: bool = False
) -> Query:
    """A poll of *channels*, or of "news"."""
    cursors = () if after is None else (Cursor(EPOCH, after),)
    return Query(Subscription(channels or ("news",), cursors, since), raw, None)


def poll(world: World, query: Query, tag: bytes | None = None, date: str | None = None) -> Answer:
    """The answer, given as the server gives it."""
    polls = ShortPolls(world.hub, INTERVAL, HEADERS)
    answer = polls.answer_now(query, tag, date)
    return answer or world.do(polls.answer(query, tag, date))


def body(answer: Answer) -> dict[str, Any]:
    """The body of an answer of 200."""
    assert answer.status == 200
    value: dict[str, Any] = json.loads(answer.body)
    assert value["interval"] == 3000
    return value


def ids(answer: Answer) -> list[int]:
    """The ids of the messages of an answer of 200."""
    return [int(item["id"].partition("-")[2]) for item in body(answer)["messages"]]


def header(answer: Answer, name: str) -> str | None:
    """A header line's value."""
    assert answer.headers.startswith(HEADERS)
    assert answer.headers.endswith(b"\r\n")
    lines = answer.headers.decode().removesuffix("\r\n").split("\r\n")
    values = dict(line.split(": ", 1) for line in lines)
    assert len(values) == len(lines)
    assert values["Tidewire-Poll-Interval"] == "3"
    return values.get(name)


def tag_of(answer: Answer) -> bytes:
    """The entity tag of an answer."""
    tag = header(answer, "ETag")
    assert tag is not None
    return tag.encode()


# Bodies


@pytest.mark.parametrize("forgotten", [False, True])
def test_nothing_new(world: World, forgotten: bool) -> None:
    id = world.publish()
    if forgotten:
        world.forget()
    answer = poll(world, asking())
    assert body(answer) == {
        "messages": [],
        "cursor": f"{EPOCH}-{id}",
        "hasNew": False,
        "recovered": False,
        "gaps": [],
        "interval": 3000,
    }
    assert body(poll(world, asking(after=id)))["recovered"] is True


@pytest.mark.parametrize("forgotten", [False, True])
def test_what_is_new(world: World, forgotten: bool) -> None:
    sent = [world.publish() for _ in range(4)]
    other = world.publish("other")
    if forgotten:
        world.forget()
    answer = poll(world, asking(after=sent[1]))
    assert ids(answer) == sent[2:]
    assert body(answer)["cursor"] == f"{EPOCH}-{other}"
    assert (body(answer)["hasNew"], body(answer)["recovered"]) == (True, True)
    assert ids(poll(world, asking(since=START))) == sent
    assert ids(poll(world, asking("other", "news", after=sent[2]))) == [sent[3], other]


def test_a_channel_that_nobody_has_published_to(world: World) -> None:
    answer = poll(world, asking())
    assert body(answer)["messages"] == []
    assert tag_of(answer) == b'"epoch1-0"'
    # Without one a client may send the answer's date back, and miss the rest of its second.
    assert header(answer, "Last-Modified") == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_the_form_raw(world: World) -> None:
    world.publish(data=b'"text"')
    assert body(poll(world, asking(since=START, raw=True)))["messages"] == ["text"]


def test_a_gap(small_world: World) -> None:
    sent = [small_world.publish() for _ in range(6)]
    answer = poll(small_world, asking(after=sent[0]))
    assert ids(answer) == sent[3:]
    assert [gap["reason"] for gap in body(answer)["gaps"]] == ["expired"]
    assert body(answer)["recovered"] is False


def test_a_cursor_of_another_log(world: World) -> None:
    id = world.publish()
    query = Query(Subscription(("news",), (Cursor("other", id),)), False, None)
    answer = poll(world, query)
    assert ids(answer) == [id]
    assert [gap["reason"] for gap in body(answer)["gaps"]] == ["reset"]


def test_a_cursor_of_the_future_is_told(world: World) -> None:
    id = world.publish()
    answer = poll(world, asking(after=id + 100))
    assert [gap["reason"] for gap in body(answer)["gaps"]] == ["reset"]
    assert body(answer)["cursor"] == f"{EPOCH}-{id}"


def test_cursors_for_each_channel(world: World) -> None:
    a = [world.publish("a") for _ in range(2)]
    b = [world.publish("b") for _ in range(2)]
    cursors = (Cursor(EPOCH, a[1]), Cursor(EPOCH, b[0]))
    answer = poll(world, Query(Subscription(("a", "b"), cursors), False, None))
    assert ids(answer) == [b[1]]


def test_a_cursor_beyond_what_the_hub_has_seen_hides_nothing_of_the_other_channel(
    world: World,
) -> None:
    """One cursor goes on for all channels: it must not stand behind any message that is due."""
    seen = world.publish("a")
    feed, world.log._feed = world.log._feed, None  # as when another process publishes
    receipts = world.log.append([Draft("a", b"1"), Draft("b", b"1")]).result()
    cursors = (Cursor(EPOCH, seen), Cursor(EPOCH, receipts[1].id))
    first = poll(world, Query(Subscription(("a", "b"), cursors), False, None))
    world.log._feed = feed
    world.publish("a")
    world.forget()
    after = int(body(first)["cursor"].partition("-")[2])
    second = poll(world, asking("a", "b", after=after))
    assert receipts[0].id in ids(first) + ids(second)


def test_several_cursors_must_be_one_for_each(world: World) -> None:
    world.publish()
    query = Query(Subscription(("news",), (Cursor("x", 1), Cursor("x", 2))), False, None)
    with pytest.raises(BadRequest):
        poll(world, query)


def test_an_engine_that_is_away(world: World) -> None:
    world.publish()
    world.forget()
    world.engine.holds = True
    polls = ShortPolls(world.hub, INTERVAL, HEADERS)
    task = world.loop.create_task(polls.answer(asking(since=START), None, None))
    world.turn()
    world.engine.release(EngineUnavailable("the disk is away"))
    world.turn()
    assert isinstance(task.exception(), EngineUnavailable)


# Tags


@pytest.mark.parametrize("since", [NOW, START])
def test_a_tag_stands_until_the_next_message(world: World, since: Since) -> None:
    world.publish()
    query = asking(since=since)
    tag = tag_of(poll(world, query))
    for sent in (tag, b"W/" + tag, b'"x", ' + tag, b"*"):
        answer = poll(world, query, sent)
        assert (answer.status, answer.body) == (304, b"")
        assert tag_of(answer) == tag
    world.publish("other")
    assert poll(world, query, tag).status == 304
    id = world.publish()
    answer = poll(world, query, tag)
    assert answer.status == 200
    assert id in ids(answer)
    assert tag_of(answer) == b'"%b-%d"' % (EPOCH.encode(), id)


def test_a_tag_alone_goes_on_from_what_it_stands_for(world: World) -> None:
    world.publish()
    tag = tag_of(poll(world, asking()))
    sent = [world.publish() for _ in range(3)]
    answer = poll(world, asking(), tag)
    assert ids(answer) == sent
    assert body(answer)["recovered"] is True
    world.forget()
    assert ids(poll(world, asking(), b"W/" + tag)) == sent


def test_a_tag_of_before_the_first_message_goes_on_from_there(world: World) -> None:
    tag = tag_of(poll(world, asking()))
    assert poll(world, asking(), tag).status == 304
    id = world.publish()
    assert ids(poll(world, asking(), tag)) == [id]


def test_a_cursor_counts_more_than_a_tag(world: World) -> None:
    sent = [world.publish() for _ in range(3)]
    tag = b'"%b-%d"' % (EPOCH.encode(), sent[1])
    assert ids(poll(world, asking(after=sent[0]), tag)) == sent[1:]
    assert ids(poll(world, asking(since=START), tag)) == sent


def test_a_tag_of_another_log_is_told_as_a_reset(world: World) -> None:
    sent = [world.publish() for _ in range(3)]
    answer = poll(world, asking(), b'"other-5"')
    assert ids(answer) == sent
    assert [gap["reason"] for gap in body(answer)["gaps"]] == ["reset"]
    assert body(answer)["recovered"] is False
    assert poll(world, asking(), tag_of(answer)).status == 304


@pytest.mark.parametrize("tag", [b'"x"', b"x", b"", b'"\xff"', b'"a", "b"'])
def test_a_tag_that_means_nothing(world: World, tag: bytes) -> None:
    world.publish()
    assert poll(world, asking(), tag).status == 200


def test_a_page_with_more_behind_it_is_not_taken_for_the_newest(world: World) -> None:
    world.log.append([Draft("news", b"1")] * 300)
    world.turn()
    query = asking(since=START)
    answer = poll(world, query)
    assert answer.more
    assert body(answer)["more"] is True
    assert header(answer, "Last-Modified") == "Thu, 01 Jan 1970 00:00:00 GMT"
    last = ids(answer)[-1]
    assert tag_of(answer) == b'"%b-%d"' % (EPOCH.encode(), last)
    assert poll(world, query, tag_of(answer)).status == 200
    rest = poll(world, asking(after=last), tag_of(answer))
    assert len(ids(rest)) == 44
    assert not rest.more
    assert poll(world, query, tag_of(rest)).status == 304


# Dates


def at(world: World, seconds: float) -> None:
    """Put the log's clock to *seconds* from now."""
    world.now = time.time() + seconds


def test_a_date_stands_until_the_next_message(world: World) -> None:
    at(world, -100)
    world.publish()
    answer = poll(world, asking())
    date = header(answer, "Last-Modified")
    assert date is not None
    assert parsedate_to_datetime(date).timestamp() == int(world.now)
    unchanged = poll(world, asking(), date=date)
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert header(unchanged, "Last-Modified") == date
    at(world, -50)
    world.publish()
    assert poll(world, asking(), date=date).status == 200


def test_a_message_of_this_second_gets_the_date_of_the_one_before(world: World) -> None:
    at(world, 3600)  # its second is not over, whenever this runs
    world.publish()
    answer = poll(world, asking())
    date = header(answer, "Last-Modified")
    assert date == http_date(int(world.now) - 1)
    id = world.publish()
    again = poll(world, asking(since=START), date=date)
    assert again.status == 200
    assert id in ids(again)


@pytest.mark.parametrize("date", ["", "x", "Thu, 01 Jan 1970 00:00:00 GMT", http_date(2**33)])
def test_a_date_that_means_nothing(world: World, date: str) -> None:
    at(world, -100)
    world.publish()
    assert poll(world, asking(), date=date).status == 200


def test_a_tag_counts_more_than_a_date(world: World) -> None:
    at(world, -100)
    world.publish()
    date = header(poll(world, asking()), "Last-Modified")
    assert poll(world, asking(), b'"other"', date).status == 200
    assert poll(world, asking(), tag_of(poll(world, asking())), "x").status == 304


def test_a_date_says_nothing_of_a_channel_without_messages(world: World) -> None:
    assert poll(world, asking(), date=http_date(time.time())).status == 200


# Header lines made once


def test_equal_polls_share_their_header_lines(world: World) -> None:
    polls = ShortPolls(world.hub, INTERVAL, HEADERS)
    world.publish()
    first = polls.answer_now(asking(), None, None)
    second = polls.answer_now(asking(raw=True), None, None)
    assert first is not None
    assert second is not None
    assert first.headers is second.headers
    world.publish()
    third = polls.answer_now(asking(), None, None)
    assert third is not None
    assert tag_of(third) == b'"%b-%d"' % (EPOCH.encode(), FIRST_ID + 1)


def test_the_date_moves_on_when_its_second_is_surely_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = FIRST_ID / 1_000_000

        def time(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr("tidewire.transports.short_poll.time", clock)
    polls = ShortPolls(world.hub, INTERVAL, HEADERS)
    world.publish()
    dates = []
    for clock.now in (1.0, 2.9, 3.0, 4.0):
        answer = polls.answer_now(asking(), None, None)
        assert answer is not None
        dates.append(header(answer, "Last-Modified"))
    assert dates == [http_date(second) for second in (0, 0, 1, 1)]


def test_memory_does_not_answer_for_what_it_does_not_know(world: World) -> None:
    world.publish()
    world.forget()
    polls = ShortPolls(world.hub, INTERVAL, HEADERS)
    assert polls.answer_now(asking(), None, None) is None
    world.do(polls.answer(asking(), None, None))
    assert polls.answer_now(asking(), None, None) is not None
    assert polls.answer_now(asking(after=0), None, None) is None
