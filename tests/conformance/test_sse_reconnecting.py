"""Clients that are not ours reconnect by themselves, and miss nothing and hear nothing twice."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_http import RawConnection
from tests.conformance.cut_streams import CutStreams, record
from tests.conformance.listeners import BROWSER, NODE_LISTENERS
from tests.conformance.messages import Publication, publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.listeners import Heard, Listener
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

FETCH_EVENT_SOURCE = "fetch-event-source"
LARGE = [Publication(json.dumps("x" * 16_000))] * 60  # more than is on its way at any moment
SMALL = [Publication(str(n)) for n in range(20)]


@pytest.fixture(
    scope="module", params=[pytest.param(BROWSER, marks=pytest.mark.browser), *NODE_LISTENERS]
)
def name(request: pytest.FixtureRequest) -> str:
    """The client that the tests are about."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    """A server that has its clients reconnect at once."""
    return start_shared(sse_retry=1)


def publish_to(server: ServerProcess, batch: list[Publication], channel: str = "a") -> list[str]:
    """Publish and return the ids."""
    with RawConnection(server.address) as connection:
        return [result["id"] for result in publish(connection, channel, batch)]


def is_message(event: Heard) -> bool:
    return event.type == "message"


@pytest.mark.crash
def test_nothing_is_lost_or_heard_twice_when_the_server_restarts(
    name: str, client: Listener, start: StartServer, tmp_path: Path
) -> None:
    """It is told to end and it is killed, each while the client is in the middle of a backlog."""
    # There is one byte of each event at which a cut costs this client the event: see below.
    ends = ["terminate", "terminate" if name == FETCH_EVENT_SOURCE else "kill"]

    def start_again(port: int = 0) -> ServerProcess:
        return start(
            engine=f"sqlite:///{tmp_path}/log.db", port=port, sse_retry=100, sse_heartbeat=0.05
        )

    server = start_again()
    url = f"{server.url}/sse?channels=a&since=start"
    with client.listening(url, ["tidewire.ready", "tidewire.close"]) as events:
        assert next(events).type == "tidewire.ready"
        messages = filter(is_message, events)
        published: list[str] = []
        heard: list[Heard] = []
        for end in ends:
            published += publish_to(server, LARGE)
            heard += itertools.islice(messages, 15)
            getattr(server, end)()
            server.wait()
            server = start_again(server.port)
            published += publish_to(server, SMALL)
        heard += itertools.islice(messages, len(published) - len(heard))
        published += publish_to(server, SMALL)
        heard += itertools.islice(messages, len(SMALL))
    assert [event.id for event in heard] == published


def test_streams_without_names_go_on_where_they_ended(
    name: str, client: Listener, server: ServerProcess
) -> None:
    channel = f"unnamed-{name.replace(' ', '-')}"
    batch = [Publication("1", "named"), Publication("2")]
    url = f"{server.url}/sse?channels={channel}&since=start&named=false"
    with client.listening(url, []) as events, RawConnection(server.address) as operator:
        envelopes = (json.loads(event.data) for event in events)
        assert next(envelopes)["recovered"] is False
        published = publish_to(server, batch, channel)
        heard = list(itertools.islice(envelopes, 2))
        operator.request("DELETE", f"/connections?channel={channel}&retry=1")
        assert operator.response().json()["disconnected"] == 1
        published += publish_to(server, batch, channel)
        close, ready = itertools.islice(envelopes, 2)
        assert (close["type"], ready["type"], ready["recovered"]) == ("close", "ready", True)
        heard += itertools.islice(envelopes, 2)
    assert [envelope["id"] for envelope in heard] == published
    assert [envelope.get("event") for envelope in heard] == ["named", None] * 2


def test_an_event_that_was_cut_is_asked_for_again(
    name: str, client: Listener, server: ServerProcess
) -> None:
    """Wherever it was cut: each client is cut at every byte of an event."""
    batch = [Publication('"one"'), Publication('"other"', "other")]
    one, other = publish_to(server, batch, name.replace(" ", "-"))
    target = f"/sse?channels={name.replace(' ', '-')}&since=start"
    whole = record(server.address, target, f"id: {other}\n\n".encode())
    begin = whole.index(b"event: other")
    cuts = range(begin, len(whole) + 1)
    with CutStreams(whole, cuts) as cutting, client.listening(f"{cutting.url}/sse", []):
        assert cutting.asked() == ""
        asked = [cutting.asked() for _ in cuts]
    expected = [one] * (len(cuts) - 1) + [other]
    if name == FETCH_EVENT_SOURCE:
        # It takes an id for its last when it has read the line, not when it has the event.
        expected[-2] = other
    assert asked == expected
