"""Short and long polling: validators, the interval, holding, waking, and lost answers."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.checker import check_received, from_envelope
from tests.acceptance.raw_http import RawConnection, Response
from tests.acceptance.subscribers import http_client, numbered, publish, publish_batch
from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.checker import Message
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

names = (f"poll-{n}" for n in itertools.count())

HELD = 10.0
"""Seconds. What is not answered at once is held for 20 or 30 of them; a machine that stands still
for a moment is not taken for that.
"""


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return next(names)


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[RawConnection]:
    """A connection of the test's own."""
    with RawConnection(server.address) as connection:
        yield connection


def publish_one(connection: RawConnection, channel: str, data: Any = 1) -> dict[str, Any]:
    """Publish and return the answer."""
    answer = connection.post("/publish", {"channel": channel, "data": data})
    assert answer.status == 200, answer
    result: dict[str, Any] = answer.json()
    return result


def seqs(answer: Response) -> list[int]:
    """The sequence numbers in the answer to a poll."""
    assert answer.status == 200, answer
    return [message["seq"] for message in answer.json()["messages"]]


def check_caching(answer: Response) -> None:
    """What every answer to a poll says to caches."""
    assert "no-cache" in answer.headers["cache-control"]
    assert answer.headers["vary"]


# Short polling


def test_a_short_poll_answers_at_once(connection: RawConnection, channel: str) -> None:
    begin = time.monotonic()
    answer = connection.get(f"/poll?channels={channel}")
    assert time.monotonic() - begin < HELD
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert body["messages"] == []
    assert body["hasNew"] is False
    assert body["gaps"] == []
    assert body["cursor"]
    check_caching(answer)


def test_a_short_poll_has_what_came_after_its_cursor(
    connection: RawConnection, channel: str
) -> None:
    cursor = connection.get(f"/poll?channels={channel}").json()["cursor"]
    results = [publish_one(connection, channel, n) for n in range(3)]
    answer = connection.get(f"/poll?channels={channel}&cursor={cursor}")
    body = answer.json()
    assert [message["id"] for message in body["messages"]] == [result["id"] for result in results]
    assert (body["hasNew"], body["recovered"]) == (True, True)
    check_caching(answer)
    answer = connection.get(f"/poll?channels={channel}&cursor={body['cursor']}")
    assert seqs(answer) == []
    assert answer.json()["recovered"] is True


def test_an_answer_that_was_lost_is_fetched_again(connection: RawConnection, channel: str) -> None:
    cursor = connection.get(f"/poll?channels={channel}").json()["cursor"]
    publish_one(connection, channel)
    for path in ("/poll?", "/longpoll?wait=1&"):
        target = f"{path}channels={channel}&cursor={cursor}"
        first, second = connection.get(target), connection.get(target)
        assert first.json() == second.json()
        assert seqs(first) == [1]


def test_the_interval_is_told(connection: RawConnection, start: StartServer, channel: str) -> None:
    answer = connection.get(f"/poll?channels={channel}")
    assert float(answer.headers["tidewire-poll-interval"]) == 3
    assert answer.json()["interval"] == 3000
    server = start(poll_interval=7.5)
    with RawConnection(server.address) as other:
        answer = other.get(f"/poll?channels={channel}")
        assert float(answer.headers["tidewire-poll-interval"]) == 7.5
        assert answer.json()["interval"] == 7500
        headers = {"If-None-Match": answer.headers["etag"]}
        unchanged = other.get(f"/poll?channels={channel}", headers)
        assert unchanged.status == 304
        assert float(unchanged.headers["tidewire-poll-interval"]) == 7.5


def test_entity_tags(connection: RawConnection, channel: str) -> None:
    publish_one(connection, channel)
    target = f"/poll?channels={channel}&since=start"
    answer = connection.get(target)
    tag = answer.headers["etag"]
    for value in [tag, f"W/{tag}", f'"other", {tag}', "*"]:
        unchanged = connection.get(target, {"If-None-Match": value})
        assert (unchanged.status, unchanged.body) == (304, b""), value
        assert unchanged.headers["etag"].removeprefix("W/") == tag.removeprefix("W/")
        check_caching(unchanged)
    assert connection.get(target, {"If-None-Match": '"other"'}).status == 200
    publish_one(connection, channel)
    answer = connection.get(target, {"If-None-Match": tag})
    assert 2 in seqs(answer)
    assert answer.headers["etag"] != tag


def test_a_poll_loop_with_tags_alone_misses_nothing(
    connection: RawConnection, channel: str
) -> None:
    answer = connection.get(f"/poll?channels={channel}")
    seen = []
    for n in range(50):
        if n % 3:
            publish_one(connection, channel, n)
        cursor, tag = answer.json()["cursor"], answer.headers["etag"]
        following = connection.get(
            f"/poll?channels={channel}&cursor={cursor}", {"If-None-Match": tag}
        )
        if following.status == 304:
            assert n % 3 == 0
        else:
            answer = following
            seen += seqs(answer)
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == 33


def test_a_tag_of_another_channel_hides_nothing(connection: RawConnection, channel: str) -> None:
    other = f"{channel}-other"
    publish_one(connection, channel)
    publish_one(connection, other)
    tag = connection.get(f"/poll?channels={channel}&since=start").headers["etag"]
    answer = connection.get(f"/poll?channels={other}&since=start", {"If-None-Match": tag})
    assert seqs(answer) == [1]


def test_a_tag_of_a_page_hides_none_of_the_rest(start: StartServer, channel: str) -> None:
    server = start()
    with RawConnection(server.address) as connection:
        messages = [{"channel": channel, "data": "x" * 1_000}] * 2_000
        assert connection.post("/publish", {"messages": messages}).status == 200
        seen: list[int] = []
        answer = connection.get(f"/poll?channels={channel}&since=start")
        while answer.status == 200 and answer.json()["hasNew"]:
            seen += seqs(answer)
            target = f"/poll?channels={channel}&cursor={answer.json()['cursor']}"
            answer = connection.get(target, {"If-None-Match": answer.headers["etag"]})
        assert seen == list(range(1, 2_001))


def test_last_modified(connection: RawConnection, channel: str) -> None:
    publish_one(connection, channel)
    target = f"/poll?channels={channel}&since=start"
    answer = connection.get(target)
    date = parsedate_to_datetime(answer.headers["last-modified"])
    assert abs(date.timestamp() - time.time()) < 60
    old = formatdate(time.time() - 3600, usegmt=True)
    assert connection.get(target, {"If-Modified-Since": old}).status == 200
    assert connection.get(target, {"If-Modified-Since": "nonsense"}).status == 200
    wait_until(lambda: is_unchanged(connection, target))


def is_unchanged(connection: RawConnection, target: str) -> bool:
    """Whether the date of an answer is soon good for a 304."""
    answer = connection.get(target)
    headers = {"If-Modified-Since": answer.headers["last-modified"]}
    return connection.get(target, headers).status == 304


def test_a_message_in_the_same_second_is_never_hidden(
    connection: RawConnection, channel: str
) -> None:
    target = f"/poll?channels={channel}&since=start"
    end = time.monotonic() + 2.2  # over two changes of the second
    count = 0
    while time.monotonic() < end:
        publish_one(connection, channel)
        count += 1
        date = connection.get(target).headers.get("last-modified")
        publish_one(connection, channel)
        count += 1
        answer = connection.get(target, {"If-Modified-Since": date})
        assert answer.status == 200, "a new message, and 304"
        if count > 200:  # one page must do for the check
            channel = next(names)
            target, count = f"/poll?channels={channel}&since=start", 0


def test_if_none_match_goes_before_if_modified_since(
    connection: RawConnection, channel: str
) -> None:
    publish_one(connection, channel)
    target = f"/poll?channels={channel}&since=start"
    answer = connection.get(target)
    headers = {
        "If-None-Match": '"other"',
        "If-Modified-Since": formatdate(time.time() + 60, usegmt=True),
    }
    assert connection.get(target, headers).status == 200
    headers = {
        "If-None-Match": answer.headers["etag"],
        "If-Modified-Since": formatdate(time.time() - 3600, usegmt=True),
    }
    assert connection.get(target, headers).status == 304


def test_too_frequent_polls_are_refused(start: StartServer, channel: str) -> None:
    server = start(min_poll_interval=1)
    target = f"/poll?channels={channel}"
    with RawConnection(server.address) as connection:
        # In one piece: no moment in which the machine stands still comes between the two.
        connection.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 2)
        assert connection.response().status == 200
        refused = connection.response()
        assert refused.status == 429
        assert refused.problem["code"]
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        wait_until(lambda: connection.get(target).status == 200)


# Long polling


def test_a_long_poll_answers_at_once_when_there_is_something(
    connection: RawConnection, channel: str
) -> None:
    cursor = connection.get(f"/poll?channels={channel}").json()["cursor"]
    publish_one(connection, channel)
    begin = time.monotonic()
    answer = connection.get(f"/longpoll?channels={channel}&cursor={cursor}")
    assert time.monotonic() - begin < HELD
    assert seqs(answer) == [1]
    assert (answer.json()["hasNew"], answer.json()["recovered"]) == (True, True)
    check_caching(answer)


def test_an_empty_long_poll_is_204_with_the_cursor(connection: RawConnection, channel: str) -> None:
    begin = time.monotonic()
    answer = connection.get(f"/longpoll?channels={channel}&wait=1")
    assert 0.9 < time.monotonic() - begin < HELD
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers
    check_caching(answer)
    publish_one(connection, channel)
    cursor = answer.headers["tidewire-cursor"]
    assert seqs(connection.get(f"/longpoll?channels={channel}&cursor={cursor}")) == [1]


def test_prefer_sets_the_wait(connection: RawConnection, channel: str) -> None:
    begin = time.monotonic()
    answer = connection.get(f"/longpoll?channels={channel}", {"Prefer": "wait=1"})
    assert answer.status == 204
    assert 0.9 < time.monotonic() - begin < HELD


def held_poll(server: ServerProcess, channel: str, extra: str = "") -> tuple[RawConnection, str]:
    """A connection with a held long poll, and the cursor that it has."""
    connection = RawConnection(server.address, timeout=20)
    cursor = connection.get(f"/poll?channels={channel}").json()["cursor"]
    connection.request("GET", f"/longpoll?channels={channel}&cursor={cursor}&wait=20{extra}")
    return connection, cursor


def test_a_held_poll_is_woken_at_once_and_answered_once(
    server: ServerProcess, connection: RawConnection, channel: str
) -> None:
    held, _ = held_poll(server, channel)
    with held:
        held.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            held.receive()  # nothing has come, so it is held
        held.socket.settimeout(10)
        publish_one(connection, channel)
        begin = time.monotonic()
        answer = held.response()
        assert time.monotonic() - begin < HELD
        assert seqs(answer) == [1]
        publish_one(connection, channel)
        # The next answer on this connection is that of the next request, and of no other.
        following = held.get(f"/longpoll?channels={channel}&cursor={answer.json()['cursor']}")
        assert seqs(following) == [2]
        held.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            held.receive()


async def test_many_held_polls_are_all_woken(server: ServerProcess, channel: str) -> None:
    polls = [held_poll(server, channel)[0] for _ in range(200)]
    async with http_client(server.url) as client:
        published = await publish_batch(client, numbered(3, [channel]))
    begin = time.monotonic()
    for poll in polls:
        with poll:
            messages: list[Message] = []
            answer = poll.response().json()
            messages += map(from_envelope, answer["messages"])
            while len(messages) < 3:
                target = f"/longpoll?channels={channel}&cursor={answer['cursor']}"
                answer = poll.get(target).json()
                messages += map(from_envelope, answer["messages"])
            check_received(published, messages)
    assert time.monotonic() - begin < HELD


def test_a_vanished_poller_is_noticed(start: StartServer, channel: str) -> None:
    server = start()
    polls = [held_poll(server, channel)[0] for _ in range(20)]
    wait_until(lambda: server.connections() == 20)
    for poll in polls:
        poll.socket.close()
    wait_until(lambda: server.connections() == 0)


def test_a_half_closed_poller_is_noticed(start: StartServer, channel: str) -> None:
    server = start()
    held, _ = held_poll(server, channel)
    with held:
        held.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: server.connections() == 0)


async def test_a_long_poll_loop_among_publishers_misses_nothing(
    server: ServerProcess, channel: str
) -> None:
    published: list[Message] = []
    received: list[Message] = []
    async with asyncio.timeout(30), http_client(server.url) as one, http_client(server.url) as two:
        cursor = (await one.get(f"/poll?channels={channel}")).json()["cursor"]

        async def keep_publishing() -> None:
            published.extend([await publish(two, c) for c in numbered(400, [channel])])

        publishing = asyncio.create_task(keep_publishing())
        while len(received) < 400:
            answer = await one.get(f"/longpoll?channels={channel}&cursor={cursor}&wait=20")
            assert answer.status_code == 200
            received += map(from_envelope, answer.json()["messages"])
            cursor = answer.json()["cursor"]
        await publishing
    check_received(published, received)


# One address for all


@pytest.mark.parametrize(
    ("query", "headers", "kind"),
    [
        ("", {}, "poll"),
        ("", {"Accept": "application/json"}, "poll"),
        ("", {"Accept": "*/*"}, "poll"),
        ("", {"Accept": "text/event-stream"}, "sse"),
        ("&wait=1", {}, "longpoll"),
        ("", {"Prefer": "wait=1"}, "longpoll"),
        ("", {"Prefer": "respond-async, wait=1"}, "longpoll"),
        ("&wait=1", {"Accept": "text/event-stream"}, "sse"),
    ],
)
def test_subscribe_chooses_by_the_request(
    connection: RawConnection, channel: str, query: str, headers: dict[str, str | None], kind: str
) -> None:
    connection.request("GET", f"/subscribe?channels={channel}{query}", headers)
    status, fields = connection.head()
    if kind == "sse":
        assert status == 200
        assert fields["content-type"].startswith("text/event-stream")
    elif kind == "longpoll":
        assert status == 204
        assert fields["tidewire-cursor"]
    else:
        assert status == 200
        assert "etag" in fields


def test_subscribe_chooses_a_websocket(server: ServerProcess, connection: RawConnection) -> None:
    headers: dict[str, str | None] = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    connection.request("GET", "/subscribe?channels=a", headers)
    status, fields = connection.head()
    assert (status, fields["upgrade"].lower()) == (101, "websocket")
