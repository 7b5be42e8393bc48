"""Clients that are not ours hear exactly the published events, in order, each once."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.acceptance.raw_http import RawConnection
from tests.conformance.listeners import BROWSER, NODE_LISTENERS, PYTHON_LISTENERS, Heard
from tests.conformance.messages import Publication, exactly, publications, publish, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.conformance.listeners import Listener
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

END = Publication("null", "conformance.end")
CONTROL = ["tidewire.ready", "tidewire.gap", "tidewire.close"]
EVENT_SOURCES = {"eventsource 5", "eventsource 4", BROWSER}
HEARTBEAT = 0.02
BOM = "\ufeff"
FETCH_EVENT_SOURCE = "fetch-event-source"
"""Differs from the standard: it has one callback for events of all names, takes a BOM away from the
begin of each value, and empty lines from the begin of data.
"""

channels = (f"clients-{n}" for n in itertools.count())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(BROWSER, marks=pytest.mark.browser),
        *NODE_LISTENERS,
        *PYTHON_LISTENERS,
    ],
)
def name(request: pytest.FixtureRequest) -> str:
    """The client that the tests are about."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    """A server whose streams are full of heartbeats."""
    return start_shared(sse_heartbeat=HEARTBEAT)


@pytest.fixture(scope="module")
def publisher(server: ServerProcess) -> Iterator[RawConnection]:
    """A kept-alive connection for publishing."""
    with RawConnection(server.address) as connection:
        yield connection


def until_end(events: Iterator[Heard]) -> list[Heard]:
    """What is heard up to the last message, without that."""
    return list(itertools.takewhile(lambda event: event.type != END.event, events))


def names_of(batch: Sequence[Publication]) -> list[str]:
    chosen = [publication.event for publication in (*batch, END) if publication.event is not None]
    return [*chosen, *CONTROL]


def check_ready(name: str, event: Heard) -> dict[str, Any]:
    """The first event of a stream, which is for those only who listen for it."""
    assert event.type == "tidewire.ready"
    check_callback(name, event)
    envelope: dict[str, Any] = json.loads(event.data)
    assert envelope["type"] == "ready"
    assert envelope["id"] == event.id
    return envelope


def check_callback(name: str, event: Heard) -> None:
    """What is no plain message never reaches ``onmessage``."""
    if name in EVENT_SOURCES:
        assert event.how == ("onmessage" if event.type == "message" else "listener")


def type_of(name: str, publication: Publication) -> str:
    kind = publication.event or "message"
    return kind.removeprefix(BOM) if name == FETCH_EVENT_SOURCE else kind


@given(before=st.lists(publications, max_size=6), live=st.lists(publications, max_size=6))
@settings(max_examples=20)
def test_each_client_hears_exactly_what_was_published(
    name: str,
    client: Listener,
    server: ServerProcess,
    publisher: RawConnection,
    before: list[Publication],
    live: list[Publication],
) -> None:
    channel = next(channels)
    batch = [*before, *live]
    results = publish(publisher, channel, before)
    url = f"{server.url}/sse?channels={channel}&since=start"
    with client.listening(url, names_of(batch)) as events:
        check_ready(name, next(events))
        results += publish(publisher, channel, [*live, END])
        heard = until_end(events)
    assert [event.id for event in heard] == [result["id"] for result in results[:-1]]
    for event, publication, result in zip(heard, batch, results, strict=False):
        check_callback(name, event)
        assert event.type == type_of(name, publication)
        time = json.loads(event.data)["time"]
        assert isinstance(time, int)
        whole = json.dumps(
            {
                "type": "message",
                "id": result["id"],
                "channel": channel,
                "seq": result["seq"],
                "time": time,
                **publication.more,
            }
        )
        kind, members = exactly(event.data)
        expected = [*exactly(whole)[1], ("data", exactly(publication.data))]
        assert (kind, sorted(members, key=first)) == ("object", sorted(expected, key=first))


def first(member: tuple[str, object]) -> str:
    return member[0]


def raw_text(publication: Publication) -> str:
    """The data of a string in ``raw`` format: an event stream knows one kind of line end."""
    return str(json.loads(publication.data)).replace("\r\n", "\n").replace("\r", "\n")


def heard_as(name: str, text: str) -> str:
    if name != FETCH_EVENT_SOURCE:
        return text
    lines = [line.removeprefix(BOM) for line in text.split("\n")]
    return "\n".join([*itertools.dropwhile(lambda line: not line, lines[:-1]), lines[-1]])


multi_line = texts.map(json.dumps).map(Publication)


@given(batch=st.lists(multi_line | publications, max_size=10))
@settings(max_examples=20)
def test_raw_data_is_heard_as_it_was_published(
    name: str,
    client: Listener,
    server: ServerProcess,
    publisher: RawConnection,
    batch: list[Publication],
) -> None:
    channel = next(channels)
    url = f"{server.url}/sse?channels={channel}&format=raw"
    with client.listening(url, names_of(batch)) as events:
        check_ready(name, next(events))
        results = publish(publisher, channel, [*batch, END])
        heard = until_end(events)
    assert [event.id for event in heard] == [result["id"] for result in results[:-1]]
    for event, publication in zip(heard, batch, strict=True):
        check_callback(name, event)
        assert event.type == type_of(name, publication)
        if publication.data.startswith('"'):
            assert event.data == heard_as(name, raw_text(publication))
        else:
            assert exactly(event.data) == exactly(publication.data)


@pytest.mark.parametrize("shape", ["envelope", "raw"])
def test_large_messages(
    name: str, client: Listener, server: ServerProcess, publisher: RawConnection, shape: str
) -> None:
    channel = next(channels)
    wave, lines = "\U0001f30a" * 200_000, "\n".join(map(str, range(20_000)))
    batch = [Publication(json.dumps(text, ensure_ascii=False)) for text in (wave, lines, "small")]
    with client.listening(
        f"{server.url}/sse?channels={channel}&format={shape}", names_of(batch)
    ) as events:
        check_ready(name, next(events))
        publish(publisher, channel, [*batch, END])
        texts = [
            event.data if shape == "raw" else json.loads(event.data)["data"]
            for event in until_end(events)
        ]
    assert texts == [wave, lines, "small"]


def test_heartbeats_are_heard_by_nobody(
    name: str, client: Listener, server: ServerProcess, publisher: RawConnection
) -> None:
    channel = next(channels)
    target = f"/sse?channels={channel}"
    with client.listening(server.url + target, names_of([])) as events:
        check_ready(name, next(events))
        with RawConnection(server.address) as observer:  # which is there later than the client
            observer.request("GET", target)
            observer.head()
            assert b"tidewire.ready" in observer.chunk()
            assert [observer.chunk() for _ in range(5)] == [b":\n"] * 5
        publish(publisher, channel, [END])
        assert until_end(events) == []


def test_gaps_are_for_those_who_listen_for_them(
    name: str, client: Listener, server: ServerProcess, publisher: RawConnection
) -> None:
    channel = next(channels)
    results = publish(publisher, channel, [Publication(str(n)) for n in range(5)])
    url = f"{server.url}/sse?channels={channel}&since=start&policy=latest"
    with client.listening(url, names_of([])) as events:
        check_ready(name, next(events))
        gap, message = itertools.islice(events, 2)
    assert (gap.type, json.loads(gap.data)["skipped"]) == ("tidewire.gap", 4)
    check_callback(name, gap)
    assert (message.type, message.id) == ("message", results[-1]["id"])


def test_without_names_all_is_heard_by_who_listens_for_none(
    name: str, client: Listener, server: ServerProcess, publisher: RawConnection
) -> None:
    channel = next(channels)
    batch = [Publication(str(n), event) for n, event in enumerate((None, "a", "message", "b"))]
    large = Publication(json.dumps("x" * 40_000), "c")
    [*_, lost, kept] = publish(publisher, channel, batch)
    target = f"/sse?channels={channel}&consumer={channel}&since=-1&named=false&fragments=true"
    with client.listening(f"{server.url}{target}", []) as events:
        ready, first = itertools.islice(events, 2)
        [result] = publish(publisher, channel, [large])
        parts = list(itertools.islice(events, 2))
        with RawConnection(server.address) as newer:
            newer.request("GET", target)
            close = next(events)
    heard = [ready, first, *parts, close]
    for event in heard:
        assert event.type == "message"
        check_callback(name, event)
    envelopes = [json.loads(event.data) for event in heard]
    types = [envelope["type"] for envelope in envelopes]
    assert types == ["ready", "message", "fragment", "fragment", "close"]
    assert [event.id for event in heard[:3]] == [lost["id"], kept["id"], before(result["id"])]
    assert envelopes[1]["event"] == "b"
    whole = json.loads(envelopes[2]["data"] + envelopes[3]["data"])
    assert (whole["event"], whole["data"]) == ("c", json.loads(large.data))


def before(id: str) -> str:
    """The position before a message."""
    epoch, dash, number = id.partition("-")
    return f"{epoch}{dash}{int(number) - 1}"


def test_the_end_of_a_stream_is_for_those_who_listen_for_it(
    name: str, client: Listener, server: ServerProcess, publisher: RawConnection
) -> None:
    channel = next(channels)
    target = f"/sse?channels={channel}&consumer={channel}"
    with client.listening(server.url + target, names_of([])) as events:
        check_ready(name, next(events))
        [result] = publish(publisher, channel, [Publication("1")])
        message = next(events)
        with RawConnection(server.address) as newer:
            newer.request("GET", target)
            close = next(events)
    assert (message.type, message.id) == ("message", result["id"])
    assert (close.type, json.loads(close.data)["code"]) == ("tidewire.close", 4409)
    check_callback(name, close)
