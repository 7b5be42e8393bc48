"""A client that knows conditional requests (RFC 9110 section 13), and nothing of Tidewire.

It asks for one address again and again, with the validators of the answer before.
"""

from __future__ import annotations

import http.client
import itertools
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.raw_http import RawConnection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

PATHS = ("/longpoll", "/poll")
channels = (f"conditional-{n}" for n in itertools.count())


class ConditionalClient:
    """Sends ``ETag`` back as ``If-None-Match``, and ``Last-Modified`` as ``If-Modified-Since``."""

    def __init__(self, address: tuple[str, int], target: str) -> None:
        self.address = address
        self.target = target
        self.validators: dict[str, str] = {}
        self.statuses: list[int] = []

    def ask(self) -> Any:
        """One request; the body of a 200, else ``None``."""
        with closing(http.client.HTTPConnection(*self.address, timeout=20)) as connection:
            connection.request("GET", self.target, headers=self.validators)
            answer = connection.getresponse()
            body = answer.read()
        self.statuses.append(answer.status)
        assert answer.status in (200, 204, 304), body
        # A 304 has the validators that a 200 would have (section 15.4.5).
        self.validators = {
            "If-None-Match": answer.headers["ETag"],
            "If-Modified-Since": answer.headers["Last-Modified"],
        }
        return json.loads(body) if answer.status == 200 else None

    def messages(self) -> Iterator[str]:
        """The ids of messages, from one answer after the other."""
        while True:
            yield from self.ids()

    def ids(self) -> list[str]:
        """The ids in the next answer."""
        body = self.ask()
        return [] if body is None else [message["id"] for message in body["messages"]]


def publish(connection: RawConnection, *names: str) -> list[str]:
    """Publish one message in each of these channels; returns their ids."""
    commands = [{"channel": name, "data": number} for number, name in enumerate(names)]
    answer = connection.post("/publish", {"messages": commands})
    assert answer.status == 200, answer
    return [result["id"] for result in answer.json()["results"]]


@pytest.fixture
def publisher(server: ServerProcess) -> Iterator[RawConnection]:
    """A connection for publishing."""
    with RawConnection(server.address) as connection:
        yield connection


@pytest.mark.parametrize("path", PATHS)
def test_every_message_once(server: ServerProcess, publisher: RawConnection, path: str) -> None:
    """In two channels, over many polls, many of them in the same second."""
    one, other = next(channels), next(channels)
    publish(publisher, one, other)
    client = ConditionalClient(server.address, f"{path}?channels={one},{other}&wait=1")
    assert client.ids() == []  # it begins now
    published: list[str] = []
    heard: list[str] = []
    for n in range(120):
        if n % 4:
            published += publish(publisher, *((one, other, one)[: n % 4]))
        if n % 4 or path == "/poll":
            heard += client.ids()
    assert heard == published
    assert client.statuses.count(200) == 90 + (path == "/poll")


@pytest.mark.parametrize("start", ["since=start", "since=-10", "since=0", "cursor={first}"])
def test_a_long_poll_goes_on_whatever_its_address_began_with(
    server: ServerProcess, publisher: RawConnection, start: str
) -> None:
    channel = next(channels)
    published = publish(publisher, *[channel] * 700)
    target = f"/longpoll?channels={channel}&{start.format(first=published[0])}"
    messages = ConditionalClient(server.address, target).messages()
    begin = {"since=-10": 690, "cursor={first}": 1}.get(start, 0)
    assert list(itertools.islice(messages, 700 - begin)) == published[begin:]
    for _ in range(5):
        later = publish(publisher, channel, f"{channel}-other", channel)
        assert list(itertools.islice(messages, 2)) == later[::2]


def test_a_proxy_that_compresses_weakens_the_tag(
    server: ServerProcess, publisher: RawConnection
) -> None:
    channel = next(channels)
    client = ConditionalClient(server.address, f"/longpoll?channels={channel}&since=start")
    for _ in range(5):
        published = publish(publisher, channel)
        assert client.ids() == published
        client.validators["If-None-Match"] = f"W/{client.validators['If-None-Match']}"


def test_a_short_poll_from_the_start_is_the_same_page_until_it_changes(
    server: ServerProcess, publisher: RawConnection
) -> None:
    """So that a cache may keep it: what it has is what was asked for."""
    channel = next(channels)
    published = publish(publisher, channel)
    client = ConditionalClient(server.address, f"/poll?channels={channel}&since=start")
    for _ in range(3):
        assert client.ids() == published
        assert client.ask() is None
        assert client.statuses[-1] == 304
        published += publish(publisher, channel)


def clients_of(server: ServerProcess) -> list[ConditionalClient]:
    """One client of each kind of polls, begun."""
    clients = [ConditionalClient(server.address, f"{path}?channels=a,b&wait=1") for path in PATHS]
    assert [client.ids() for client in clients] == [[], []]
    return clients


@pytest.mark.crash
def test_every_message_once_over_restarts(start: StartServer, tmp_path: Path) -> None:
    """The server has forgotten its clients; the validators are all there is."""
    server = start(engine=f"sqlite:///{tmp_path}/log.db")
    clients = clients_of(server)
    published: list[str] = []
    heard: list[list[str]] = [[], []]
    for end in ("terminate", "kill", ""):
        with RawConnection(server.address) as connection:
            for _ in range(5):
                published += publish(connection, "a", "b", "a")
                for client, ids in zip(clients, heard, strict=True):
                    ids += client.ids()
            published += publish(connection, "b")  # to be heard after the restart
        if end:
            getattr(server, end)()
            server.wait()
            server = start(engine=f"sqlite:///{tmp_path}/log.db")
            for client in clients:
                client.address = server.address
    assert heard == [published[:-1]] * 2


def test_a_log_that_was_lost_is_told(start: StartServer) -> None:
    """A tag of another log is a position that cannot be gone on from, not one to be ignored."""
    server = start()
    clients = clients_of(server)
    server.kill()
    server = start()
    with RawConnection(server.address) as connection:
        published = publish(connection, "a")
    for client in clients:
        client.address = server.address
        body = client.ask()
        assert [gap["reason"] for gap in body["gaps"]] == ["reset", "reset"]
        assert [message["id"] for message in body["messages"]] == published
        assert body["recovered"] is False
