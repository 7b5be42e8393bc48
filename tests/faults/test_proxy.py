"""The faulty proxy does what it says, the same for the same seed, until it is healed."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import until
from tests.faults.proxy import FAULTS, FaultyProxy
from tests.faults.requests import Requests
from tests.listening import HOST, Listener
from tests.tcp_proxy import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

pytestmark = pytest.mark.faults

BODY = b"x" * 100
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + BODY


def request(number: int) -> bytes:
    """One of many requests."""
    return b"POST /%d HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde" % number


class Target:
    """An HTTP server that gives every request the same answer, and remembers the requests."""

    def __init__(self) -> None:
        self.address = ("127.0.0.1", 0)
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        whole = Requests()
        try:
            while data := await reader.read(65_536):
                for one in whole.feed(data):
                    self.requests.append(one)
                    writer.write(ANSWER)
        except OSError:
            pass
        finally:
            writer.transport.abort()


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """A server to talk to."""
    target = Target()
    async with Listener(target.serve) as listener:
        target.address = (HOST, listener.port)
        yield target


@asynccontextmanager
async def client(proxy: FaultyProxy) -> AsyncGenerator[Peer]:
    """A connection through the proxy."""
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    peer = Peer(*await asyncio.open_connection(host, int(port)))
    try:
        yield peer
    finally:
        peer.writer.transport.abort()


async def ask(peer: Peer, number: int) -> bytes:
    """Send a request and wait for its answer; less of it if the connection ends."""
    await peer.write(request(number))
    try:
        async with asyncio.timeout(20):
            return await peer.reader.readexactly(len(ANSWER))
    except asyncio.IncompleteReadError as end:
        return end.partial + b" FIN"
    except ConnectionResetError:
        return b" RST"


async def connections(proxy: FaultyProxy, count: int, requests: int) -> list[list[bytes]]:
    """What comes back on some connections, one after the other, until each is broken."""
    seen: list[list[bytes]] = []
    for _ in range(count):
        seen.append([])
        async with client(proxy) as peer:
            for number in range(requests):
                seen[-1].append(await ask(peer, number))
                if seen[-1][-1] != ANSWER:
                    break
    return seen


@pytest.mark.parametrize("fault", ["cut", "no answer", "twice"])
async def test_one_seed_does_the_same_again(target: Target, fault: str) -> None:
    runs = []
    for seed in ("one", "one", "two"):
        async with FaultyProxy(target.address, fault, seed=seed, most_bytes=2_000) as proxy:
            runs.append((await connections(proxy, 8, 10), proxy.injected))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_happens_once_it_is_healed(target: Target, fault: str) -> None:
    async with FaultyProxy(target.address, fault, seed="healed", most_bytes=200) as proxy:
        proxy.heal()
        assert await connections(proxy, 5, 10) == [[ANSWER] * 10] * 5
        assert not proxy.injected


async def test_cut_by_fin_and_by_rst_in_the_middle(target: Target) -> None:
    async with FaultyProxy(target.address, "cut", seed="cut", most_bytes=2_000) as proxy:
        ends = [answers[-1] for answers in await connections(proxy, 30, 20)]
        assert {end[-4:] for end in ends} >= {b" RST", b" FIN"}
        assert set(proxy.injected) == {"RST", "FIN"}
        assert any(len(end) > 4 and end != ANSWER for end in ends), "never within an answer"


async def test_stalled_bytes_go_on_or_are_cut(target: Target) -> None:
    async with FaultyProxy(target.address, "stall", seed="stall", most_bytes=800) as proxy:
        began = time.monotonic()
        seen = await connections(proxy, 6, 6)
        assert time.monotonic() - began > 0.3
        assert set(proxy.injected) == {"stalled", "stalled, then cut"}
        assert any(answers == [ANSWER] * 6 for answers in seen)
        assert any(answers[-1] != ANSWER for answers in seen)


async def test_slow_bytes_take_their_time(target: Target) -> None:
    async with FaultyProxy(target.address, "slow", seed="slow", most_rate=5_000) as proxy:
        began = time.monotonic()
        assert await connections(proxy, 1, 10) == [[ANSWER] * 10]
        assert time.monotonic() - began > 10 * len(ANSWER) / 5_000


async def test_a_later_connection_overtakes_an_earlier_one(target: Target) -> None:
    """The earlier one may have been given up by then: the server gets its bytes all the same."""
    for leaves in (False, True):
        async with FaultyProxy(target.address, "reorder", seed="reorder") as proxy:
            while not proxy.injected["overtaken"]:
                target.requests.clear()
                async with client(proxy) as earlier, client(proxy) as later:
                    await earlier.write(request(1))
                    await until(lambda: proxy.held or target.requests)
                    if leaves:
                        earlier.writer.close()
                    await ask(later, 2)
                    await until(lambda: len(target.requests) == 2)
            assert target.requests == [request(2), request(1)]


async def test_a_request_arrives_twice_and_is_answered_once(target: Target) -> None:
    async with FaultyProxy(target.address, "twice", seed="twice") as proxy:
        async with client(proxy) as peer:
            assert [await ask(peer, number) for number in range(20)] == [ANSWER] * 20
        doubled = proxy.injected["request twice"]
        assert 0 < doubled < 20
        await until(lambda: len(target.requests) == 20 + doubled)
    assert sorted(set(target.requests)) == sorted(request(number) for number in range(20))


async def test_what_is_not_http_is_not_sent_twice(target: Target) -> None:
    whole = Requests()
    upgrade = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    assert list(whole.feed(request(1) + upgrade[:20])) == [request(1)]
    assert whole.rest() == b""
    assert list(whole.feed(upgrade[20:] + b"frames")) == [upgrade]
    assert whole.rest() == b"frames"
    assert list(whole.feed(request(2))) == []
    assert whole.rest() == request(2)


async def test_the_request_arrives_and_the_answer_does_not(target: Target) -> None:
    async with FaultyProxy(target.address, "no answer", seed="none", most_bytes=600) as proxy:
        seen = await connections(proxy, 10, 5)
        dropped = sum(answers[-1] == b" RST" for answers in seen)
        assert dropped == proxy.injected["answer dropped"] > 0
        assert all(answer == ANSWER for answers in seen for answer in answers[:-1])
        assert len(target.requests) == sum(map(len, seen))
