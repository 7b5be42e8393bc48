"""Sending everybody away over a while: how long, in which order, and with which hints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tidewire.server import draining
from tidewire.server.draining import AT_ONCE, drain_seconds

if TYPE_CHECKING:
    from tests.server.conftest import Client, MakeServer, Server


@pytest.mark.parametrize(
    ("count", "window", "timeout", "seconds"),
    [
        (0, 5, 10, 0),
        (AT_ONCE, 5, 10, 0),
        (300, 5, 10, 1.5),
        (1_000, 5, 10, 5),
        (100_000, 5, 10, 5),
        (100_000, 5, 4, 2),  # half of the time to drain
        (100_000, 60, 20, 17),  # all but the last three seconds of it
        (100_000, 0, 10, 0),
    ],
)
def test_over_how_long(count: int, window: float, timeout: float, seconds: float) -> None:
    assert drain_seconds(count, window, timeout) == seconds


def stream(server: Server) -> Client:
    client = server.client()
    assert client.get("/sse?channels=a").status == 200
    return client


def test_a_few_end_at_once(make_server: MakeServer) -> None:
    server = make_server()
    clients = [stream(server) for _ in range(20)]
    server.app.drain()
    assert all(client.closed() for client in clients)


def test_many_end_one_after_the_other_polls_first(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(drain_window=0.5)
    now = float(int(server.loop.time()) + 1)  # so that quarters of the window are exact
    monkeypatch.setattr(server.loop, "time", lambda: now)
    monkeypatch.setattr(draining, "AT_ONCE", 10)
    monkeypatch.setattr(draining, "PER_SECOND", 1)
    streams = [stream(server) for _ in range(60)]
    polls = [server.client() for _ in range(40)]
    for poll in polls:
        poll.send("/longpoll?channels=a")
    idle = server.client()
    idle.get("/healthz")
    server.app.drain()
    assert idle.closed()
    assert not any(client.closed() for client in [*streams, *polls])
    assert server.get("/readyz").status == 503
    drain = server.app.drainage
    assert drain is not None
    begin = now

    def ended_at(share: float) -> tuple[int, int]:
        nonlocal now
        now = begin + 0.5 * share
        server.turn()  # the loop's clock stands, so that the next step is due by hand only
        drain._step()
        return sum(c.closed() for c in polls), sum(c.closed() for c in streams)

    assert ended_at(0.25) == (25, 0)
    assert ended_at(0.5) == (40, 10)
    assert ended_at(0.75) == (40, 35)
    assert not all(client.closed() for client in streams[:30]), "in the order of their coming"
    server.publish("a")
    assert b'"type":"message"' in next(c for c in streams if not c.closed()).read()
    assert ended_at(1.0) == (40, 60)


def test_who_goes_by_itself_is_not_sent_away(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "AT_ONCE", 1)
    server = make_server(drain_window=5)
    first, second = stream(server), stream(server)
    server.app.drain()
    first.leave()
    second.leave()
    drain = server.app.drainage
    assert drain is not None
    drain._began -= 5
    drain._step()
    assert server.app.nobody.is_set()


def test_hints_are_spread_over_as_long_as_the_fleet_needs(make_server: MakeServer) -> None:
    server = make_server(sse_retry=100, max_connection_rate=10)
    clients = [stream(server) for _ in range(20)]
    for client in clients:
        client.read()
    server.app.drain()
    retries = []
    for client in clients:
        data = client.read()
        begin = data.index(b'{"type":"close"')
        close = json.JSONDecoder().raw_decode(data[begin:].decode("latin-1"))[0]
        assert close["code"] == 1012
        retries.append(close["retry"])
    retries.sort()
    # Ten a second come back: each of them in a tenth of a second of its own, and some jitter.
    for place, retry in enumerate(retries, 1):
        assert place * 100 - 150 <= retry <= place * 100 + 250
