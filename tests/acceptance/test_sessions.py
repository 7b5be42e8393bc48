"""Sessions taken up again: on each transport, after a cut, a crash, and on another server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.eventsource import EventStream
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import PING, PONG, RawWebSocket, frame
from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

Envelope = dict[str, Any]


def publish(server: ServerProcess, channel: str, data: object) -> str:
    """Publish a message; return its id."""
    with RawConnection(server.address) as connection:
        answer = connection.post("/publish", {"channel": channel, "data": data})
    assert answer.status == 200, answer
    return str(answer.json()["id"])


def listen(server: ServerProcess, query: str, count: int) -> list[Envelope]:
    """The first ``count`` envelopes of an event stream, ``ready`` among them."""
    with RawConnection(server.address) as connection:
        connection.request("GET", f"/sse?{query}")
        status, headers = connection.head()
        assert status == 200, (status, headers)
        parser, found = EventStream(), list[Envelope]()
        while len(found) < count:
            found += [json.loads(event.data) for event in parser.feed(connection.chunk())]
    return found


def leave(server: ServerProcess, socket: RawConnection) -> None:
    """Be cut off, and wait until the server has noticed."""
    socket.socket.close()
    wait_until(lambda: server.connections() == 0)


def settle(server: ServerProcess) -> None:
    """Return when what was written of sessions up to now is kept.

    A server makes its changes of records in order, and that of a new consumer is waited for.
    """
    with RawConnection(server.address) as connection:
        assert connection.get("/poll?channels=b&consumer=behind").status == 200


def data_of(envelopes: list[Envelope]) -> list[object]:
    return [envelope["data"] for envelope in envelopes if envelope["type"] == "message"]


def subscribed(server: ServerProcess) -> tuple[RawWebSocket, str]:
    """A WebSocket that came for "a" and has subscribed to "b"; and its session."""
    socket = RawWebSocket(server.address)
    socket.open("/ws?channels=a")
    session = str(socket.read_envelope()["session"])
    assert socket.command(type="subscribe", channels=["b"], ref=1)["type"] == "ok"
    return socket, session


@pytest.mark.parametrize("transport", ["ws", "sse", "longpoll", "poll"])
def test_a_cut_websocket_goes_on_anywhere(start: StartServer, engine: str, transport: str) -> None:
    server = start(engine=engine)
    socket, session = subscribed(server)
    leave(server, socket)
    publish(server, "a", 1)
    publish(server, "b", 2)
    publish(server, "c", 3)
    if transport == "ws":
        with RawWebSocket(server.address) as again:
            again.open(f"/ws?session={session}")
            envelopes = [again.read_envelope() for _ in range(3)]
    elif transport == "sse":
        envelopes = listen(server, f"session={session}", 3)
    else:
        with RawConnection(server.address) as poller:
            answer = poller.get(f"/{transport}?session={session}").json()
        assert answer["recovered"] is True
        assert data_of(answer["messages"]) == [1, 2]
        return
    ready = envelopes[0]
    assert (ready["session"], ready["recovered"]) == (session, True)
    assert sorted(ready["channels"]) == ["a", "b"]
    assert data_of(envelopes) == [1, 2]


def test_only_what_a_pong_has_confirmed_is_not_sent_again(start: StartServer) -> None:
    server = start(ping_interval=0.3, pong_timeout=5)
    with RawWebSocket(server.address) as socket:
        socket.open("/ws?channels=a")
        session = socket.read_envelope()["session"]
        publish(server, "a", "confirmed")
        assert socket.read_envelope()["data"] == "confirmed"
        while (ping := socket.read_frame()).opcode != PING:
            pass
        socket.send(frame(PONG, ping.payload))
        assert socket.command(type="ping", ref=1)["type"] == "ok"  # the pong has been read
        publish(server, "a", "on its way")
        assert socket.read_envelope()["data"] == "on its way"
        leave(server, socket)
    assert data_of(listen(server, f"session={session}", 2)) == ["on its way"]


def test_an_event_stream_is_taken_up_from_where_it_started(start: StartServer) -> None:
    server = start()
    publish(server, "a", 1)
    first = publish(server, "a", 2)
    publish(server, "a", 3)
    (ready, message) = listen(server, f"channels=a&cursor={first}", 2)
    assert message["data"] == 3
    wait_until(lambda: server.connections() == 0)
    again = listen(server, f"session={ready['session']}", 2)
    assert (again[0]["session"], data_of(again)) == (ready["session"], [3])


def test_what_the_request_says_goes_before_the_record(start: StartServer) -> None:
    server = start()
    socket, session = subscribed(server)
    leave(server, socket)
    publish(server, "a", 1)
    second = publish(server, "a", 2)
    publish(server, "b", 3)
    with_cursor = listen(server, f"session={session}&cursor={second}", 2)
    assert data_of(with_cursor) == [3]
    assert sorted(with_cursor[0]["channels"]) == ["a", "b"]
    publish(server, "new", 4)
    with RawConnection(server.address) as poller:
        some = poller.get(f"/poll?session={session}&channels=a,new&since=start").json()
    assert data_of(some["messages"]) == [4]  # "a" goes on where the event stream began


@pytest.mark.parametrize("path", ["/ws", "/sse", "/poll", "/longpoll"])
def test_an_unknown_session(server: ServerProcess, path: str) -> None:
    with RawWebSocket(server.address) as socket:
        if path == "/ws":
            answer = socket.handshake(f"{path}?session=unknown")
        else:
            answer = socket.get(f"{path}?session=unknown")
        assert (answer.status, answer.problem["code"]) == (404, "unknown_session")


def test_an_unknown_session_with_channels_is_a_new_one(server: ServerProcess) -> None:
    with RawWebSocket(server.address) as socket:
        socket.open("/ws?session=unknown&channels=a")
        ready = socket.read_envelope()
    assert ready["session"] != "unknown"
    assert ready["channels"] == ["a"]
    with RawConnection(server.address) as poller:
        assert poller.get("/poll?session=unknown&channels=a").status == 200


def test_a_session_ends_after_its_time(start: StartServer) -> None:
    server = start(session_ttl=0.3)
    socket, session = subscribed(server)
    leave(server, socket)

    def forgotten() -> bool:
        with RawConnection(server.address) as poller:
            return poller.get(f"/longpoll?session={session}&wait=1").status == 404

    wait_until(forgotten)


def test_a_client_is_back_before_its_end_was_noticed(start: StartServer) -> None:
    server = start()
    with RawWebSocket(server.address) as older, RawWebSocket(server.address) as newer:
        older.open("/ws?channels=a")
        session = older.read_envelope()["session"]
        newer.open(f"/ws?session={session}")
        assert newer.read_envelope()["channels"] == ["a"]
        assert newer.command(type="subscribe", channels=["b"], ref=1)["type"] == "ok"
        older.socket.close()
        wait_until(lambda: server.connections() == 1)
        leave(server, newer)
    assert sorted(listen(server, f"session={session}", 1)[0]["channels"]) == ["a", "b"]


@pytest.mark.crash
def test_a_killed_server_remembers_what_was_subscribed(
    start: StartServer, shared_engine: str
) -> None:
    server = start(engine=shared_engine)
    socket, session = subscribed(server)
    publish(server, "b", 1)
    settle(server)
    server.kill()
    socket.socket.close()
    server = start(engine=shared_engine)
    assert data_of(listen(server, f"session={session}", 2)) == [1]


@pytest.mark.crash
def test_a_session_outlives_its_server(start: StartServer, shared_engine: str) -> None:
    """It goes on at another one, without anything the first might have said at its end."""
    first, second = start(engine=shared_engine), start(engine=shared_engine)
    socket, session = subscribed(first)
    publish(first, "a", 1)
    settle(first)
    first.kill()
    socket.socket.close()
    publish(second, "b", 2)
    envelopes = listen(second, f"session={session}", 3)
    assert (envelopes[0]["session"], envelopes[0]["recovered"]) == (session, True)
    assert data_of(envelopes) == [1, 2]


def test_a_drained_server_hands_its_sessions_to_the_next(
    start: StartServer, shared_engine: str
) -> None:
    first, second = start(engine=shared_engine), start(engine=shared_engine)
    with RawWebSocket(first.address) as socket:
        socket.open("/ws?channels=a,b")
        session = socket.read_envelope()["session"]
        first.terminate()
        assert socket.read_envelope()["type"] == "close"
        socket.socket.close()
    assert first.wait() == 0
    publish(second, "b", 1)
    ready, message = listen(second, f"session={session}", 2)
    assert (ready["session"], ready["recovered"], message["data"]) == (session, True, 1)
