"""NchanSubscriber, made for another server, gets every message once and in order from ours.

By long polling it knows of nothing but the ``ETag`` and ``Last-Modified`` of the answer before.
"""

from __future__ import annotations

import itertools
import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.raw_http import RawConnection
from tests.acceptance.waiting import wait_until
from tests.conformance.listeners import NODE, NodeProgram
from tests.console.browser import start_browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

TRANSPORTS = {"longpoll": "longpoll", "eventsource": "sse"}
channels = (f"nchan-{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def program() -> Iterator[NodeProgram]:
    """NchanSubscriber in a process."""
    program = NodeProgram("nchan.mjs")
    yield program
    program.quit()


class Subscriber:
    """One NchanSubscriber, with the messages of the answers and events that it emits."""

    def __init__(self, program: NodeProgram, transport: str, url: str, **more: object) -> None:
        self.emitted: list[dict[str, Any]] = []
        self._program = program
        program.say(url=url, transport=transport, **more)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Envelopes of messages, as they come; what a restart makes it report is left out."""
        while True:
            said = self._program.next()
            if "error" in said:
                assert said["error"] in (0, 503), said
                continue
            self.emitted.append(said)
            if not said["text"]:  # a long poll's 204
                continue
            body = json.loads(said["text"])
            yield from body.get("messages", [body])


def publish(connection: RawConnection, *batch: tuple[str, object]) -> list[str]:
    """Publish pairs of channel and data; returns their ids."""
    commands = [{"channel": channel, "data": data} for channel, data in batch]
    answer = connection.post("/publish", {"messages": commands})
    assert answer.status == 200, answer
    return [result["id"] for result in answer.json()["results"]]


def ids(messages: Iterator[dict[str, Any]], count: int) -> list[str]:
    return [message["id"] for message in itertools.islice(messages, count)]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_message_once_over_many_polls(
    program: NodeProgram, server: ServerProcess, transport: str
) -> None:
    """In two channels, one by one and in batches, many of them in the same second."""
    one, other = next(channels), next(channels)
    url = f"{server.url}/{TRANSPORTS[transport]}?channels={one},{other}&since=start"
    with RawConnection(server.address) as connection:
        published = publish(connection, *[(one, n) for n in range(300)])
        subscriber = Subscriber(program, transport, url)
        messages = subscriber.messages()
        heard = ids(messages, 300)
        for n in range(90):
            published += publish(connection, *[((one, other)[n % 2], n)] * (1 + n % 3))
            if n % 2 == 0:  # so that it also comes when there is nothing, and waits
                heard += ids(messages, len(published) - len(heard))
        heard += ids(messages, len(published) - len(heard))
    assert heard == published
    assert len(subscriber.emitted) > 40
    assert program.close() == []


def test_a_poll_that_got_nothing_goes_on_from_there(
    program: NodeProgram, server: ServerProcess
) -> None:
    """It takes a 204 for an empty message, whose validators it goes on with."""
    channel = next(channels)
    subscriber = Subscriber(program, "longpoll", f"{server.url}/longpoll?channels={channel}&wait=1")
    messages = subscriber.messages()
    empty = program.next()
    assert empty["text"] == ""
    assert re.fullmatch(r'\d+:"[A-Za-z0-9]+-\d+"', empty["id"])
    with RawConnection(server.address) as connection:
        published = publish(connection, (channel, 1), (channel, 2))
    assert ids(messages, 2) == published
    # One more poll may have got nothing by now.
    assert [said["text"] for said in program.close() if said["text"] != ""] == []


def test_its_message_id_is_made_of_both_validators(
    program: NodeProgram, server: ServerProcess
) -> None:
    channel = next(channels)
    with RawConnection(server.address) as connection:
        publish(connection, (channel, 1))
        answer = connection.get(f"/longpoll?channels={channel}&since=start")
        second = int(parsedate_to_datetime(answer.headers["last-modified"]).timestamp())
        subscriber = Subscriber(
            program, "longpoll", f"{server.url}/longpoll?channels={channel}&since=start"
        )
        assert ids(subscriber.messages(), 1) == [answer.json()["cursor"]]
    assert subscriber.emitted[0]["id"] == f"{second}:{answer.headers['etag']}"
    assert second == answer.json()["messages"][0]["time"] // 1000
    program.close()


@pytest.mark.crash
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_lost_or_heard_twice_when_the_server_restarts(
    program: NodeProgram, start: StartServer, tmp_path: Path, transport: str
) -> None:
    def start_again(port: int = 0) -> ServerProcess:
        return start(engine=f"sqlite:///{tmp_path}/log.db", port=port, sse_retry=50)

    server = start_again()
    url = f"{server.url}/{TRANSPORTS[transport]}?channels=a,b&since=start"
    messages = Subscriber(program, transport, url).messages()
    published: list[str] = []
    heard: list[str] = []
    for end in (server.terminate, None):
        with RawConnection(server.address) as connection:
            for n in range(40):
                published += publish(connection, ("ab"[n % 2], n))
            heard += ids(messages, 20)
            if end is not None:
                end()
                assert server.wait() == 0
            else:
                server.kill()
        server = start_again(server.port)
        with RawConnection(server.address) as connection:
            published += publish(connection, ("a", "after"))
    heard += ids(messages, len(published) - len(heard))
    assert heard == published
    assert program.close() == []


def test_a_new_subscriber_goes_on_from_the_id_of_an_older_one(
    program: NodeProgram, server: ServerProcess
) -> None:
    """By event stream: it says ``last_event_id`` in the URL, whatever that has already."""
    channel = next(channels)
    with RawConnection(server.address) as connection:
        published = publish(connection, *[(channel, n) for n in range(10)])
    url = f"{server.url}/sse?channels={channel}&cursor={published[0]}"
    older = Subscriber(program, "eventsource", url)
    assert ids(older.messages(), 5) == published[1:6]
    last = older.emitted[-1]["id"]
    assert last == published[5]
    newer = Subscriber(program, "eventsource", url, id=last)
    assert ids(newer.messages(), 4) == published[6:]
    program.close()


IN_A_PAGE = """
    window.heard = [];
    const subscriber = new NchanSubscriber(arguments[0], "longpoll");
    subscriber.reconnectTimeout = 50;
    subscriber.on("message", (text) => heard.push(...JSON.parse(text).messages.map(({id}) => id)));
    subscriber.start();
"""


@pytest.mark.browser
@pytest.mark.crash
def test_in_a_page_of_another_origin(
    server: ServerProcess, start: StartServer, tmp_path: Path
) -> None:
    """The browser asks before it sends validators there, and has a cache of its own."""

    def start_again(port: int = 0) -> ServerProcess:
        engine = f"sqlite:///{tmp_path}/log.db"
        return start(engine=engine, port=port, allowed_origins=server.url)

    other = start_again()
    browser = start_browser(tmp_path / "profile")
    try:
        browser.get(f"{server.url}/healthz")
        library = (NODE / "node_modules" / "nchan" / "NchanSubscriber.js").read_text()
        url = f"{other.url}/longpoll?channels=a&since=start"
        browser.execute_script(library + IN_A_PAGE, url)

        def heard() -> list[str]:
            seen: list[str] = browser.execute_script("return heard")
            return seen

        with RawConnection(other.address) as connection:
            published = [*publish(connection, ("a", 1)), *publish(connection, ("a", 2))]
        wait_until(lambda: len(heard()) == 2)
        other.kill()
        other = start_again(other.port)
        with RawConnection(other.address) as connection:
            published += publish(connection, ("a", 3))
            wait_until(lambda: len(heard()) == 3)
            published += publish(connection, ("a", 4))
        wait_until(lambda: len(heard()) == 4)
        assert heard() == published
    finally:
        browser.quit()
