"""A connection on real sockets, on both loops, with TLS and without: what the kernel takes of it.

Time stands still here, except where a test moves it: only bytes make things happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.server.peers import Peers, connected, secured
from tests.server.stub_app import STALL_TIMEOUT, Answer, answers_of, get

if TYPE_CHECKING:
    from tests.certificates import Authority
    from tidewire.server.certificate import Certificate

MUCH = 8 << 20  # bytes, more than the kernel takes for a client that does not read

Connect = Callable[[], AbstractAsyncContextManager[Peers]]


@pytest.fixture(params=["TCP", "TLS"])
def connect(
    request: pytest.FixtureRequest, certificate: Certificate, authority: Authority
) -> Connect:
    """Makes connections, of both kinds, one after the other."""
    if request.param == "TCP":
        return connected
    return partial(secured, certificate, authority.client_context())


def fill(descriptor: int) -> int:
    """Write to *descriptor* until the kernel takes no byte more; return how many it took."""
    taken = 0
    for piece in (b"x" * 65_536, b"x"):
        with contextlib.suppress(BlockingIOError):
            while True:
                taken += os.write(descriptor, piece)
    return taken


def pattern(count: int) -> bytes:
    """*count* bytes in which no part looks like another."""
    return random.Random(count).randbytes(count)


def test_requests_and_answers(run: Callable[..., None], connect: Connect) -> None:
    async def main() -> None:
        async with connect() as peers:
            await peers.send(get(b"/a") + get(b"/b", b"Connection: close"))
            answers = answers_of(await peers.receive_all())
            assert answers == [Answer(200, b"/a", False), Answer(200, b"/b", True)]

    run(main)


def test_what_the_kernel_does_not_take_comes_later_and_in_order(
    run: Callable[..., None], connect: Connect
) -> None:
    async def main() -> None:
        async with connect() as peers:
            stream = await peers.stream()
            connection = peers.connection
            assert connection.write(b"begin")
            assert not connection.write(pattern(MUCH))
            assert peers.congested()
            assert connection.fd == -1
            assert not connection.write(b"behind")
            whole = await peers.receive(5 + MUCH + 6)
            assert whole == b"begin" + pattern(MUCH) + b"behind"
            await stream.resumed.wait()
            assert not peers.congested()
            assert connection.write(b"again")
            assert await peers.receive(5) == b"again"

    run(main)


def test_a_kernel_that_takes_nothing(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with connected() as peers:
            stream = await peers.stream()
            filled = fill(peers.connection.fd)
            assert not peers.connection.write(b"behind")
            assert peers.congested()
            assert not stream.resumed.is_set()
            assert await peers.receive(filled + 6) == b"x" * filled + b"behind"
            await stream.resumed.wait()
            assert peers.connection.fd >= 0
            assert peers.connection.write(b".")

    run(main)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_kept_across_both_ways_of_writing(
    run: Callable[..., None], connect: Connect, seed: int
) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        async with connect() as peers:
            stream = await peers.stream()
            written, received, slow = bytearray(), bytearray(), 0
            while slow < 5:
                piece = chance.randbytes(chance.choice([1, 100, 70_000, 3 << 20]))
                taken = peers.connection.write(piece)
                written += piece
                assert taken is not peers.congested()
                if not taken:
                    slow += 1
                    stream.resumed.clear()
                    upto = len(written) if chance.random() < 0.7 else len(written) // 2
                    received += await peers.receive(upto - len(received))
                    if upto == len(written):
                        await stream.resumed.wait()
            received += await peers.receive(len(written) - len(received))
            assert received == written

    run(main)


def test_nothing_is_read_from_a_client_that_does_not_read(
    run: Callable[..., None], connect: Connect
) -> None:
    async def main() -> None:
        async with connect() as peers:
            stream = await peers.stream()
            assert not peers.connection.write(pattern(MUCH))
            await peers.send(b"question")
            for _ in range(50):
                await asyncio.sleep(0)
            assert stream.received == b""
            assert await peers.receive(MUCH) == pattern(MUCH)
            await stream.fed.wait()
            assert stream.told == ["resume"]
            assert stream.received == b"question"

    run(main)


def test_requests_behind_a_large_answer(run: Callable[..., None], connect: Connect) -> None:
    async def main() -> None:
        async with connect() as peers:
            await peers.send(get(b"/later") + get(b"/b"))
            await peers.until(lambda: b"/later" in peers.app.handled)
            peers.connection.respond(200, b"", pattern(MUCH))
            assert peers.congested()
            await peers.send(get(b"/c", b"Connection: close"))
            answers = answers_of(await peers.receive_all())
            assert [answer.body for answer in answers] == [pattern(MUCH), b"/b", b"/c"]

    run(main)


def test_closing_sends_what_waits(run: Callable[..., None], connect: Connect) -> None:
    async def main() -> None:
        async with connect() as peers:
            stream = await peers.stream()
            peers.connection.write(pattern(MUCH))
            peers.connection.write(b"last")
            peers.connection.close()
            assert peers.connection.fd == -1
            peers.connection.write(b"too late")
            assert await peers.receive_all() == pattern(MUCH) + b"last"
            await peers.app.gone.wait()
            assert stream.told == ["lost"]

    run(main)


def test_aborting_sends_nothing_more(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with connected() as peers:
            await peers.stream()
            peers.connection.write(pattern(MUCH))
            peers.connection.abort()
            peers.connection.write(b"too late")
            await peers.app.gone.wait()
            received = bytearray()
            try:
                while piece := await peers.loop.sock_recv(peers.client, 1 << 20):
                    received += piece
            except ConnectionResetError:
                pass
            assert len(received) < MUCH
            assert pattern(MUCH).startswith(received)

    run(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_closed_connection_never_writes_to_the_next_one_with_its_number(
    run: Callable[..., None], how: str
) -> None:
    async def main() -> None:
        async with connected() as peers:
            await peers.stream()
            number = peers.connection.fd
            getattr(peers.connection, how)()
            peers.connection.write(b"stray")
            await peers.app.gone.wait()
            await asyncio.sleep(0)
            ours, theirs = socket.socketpair()
            with ours, theirs:
                theirs.setblocking(False)
                if ours.fileno() != number:
                    os.dup2(ours.fileno(), number)
                try:
                    peers.connection.write(b"stray")
                    with pytest.raises(BlockingIOError):
                        theirs.recv(1)
                finally:
                    if ours.fileno() != number:
                        os.close(number)

    run(main)


def test_a_client_that_resets(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with connected() as peers:
            stream = await peers.stream()
            peers.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peers.client.close()
            peers.connection.write(b"to nobody")  # the reset may be there already: no error
            peers.connection.write(b"to nobody")
            await peers.app.gone.wait()
            assert stream.told == ["lost"]
            peers.connection.write(b"to nobody")

    run(main)


def test_a_client_that_leaves_in_the_middle_of_much(
    run: Callable[..., None], connect: Connect
) -> None:
    async def main() -> None:
        async with connect() as peers:
            stream = await peers.stream()
            peers.connection.write(pattern(MUCH))
            await peers.receive(100_000)
            peers.client.close()
            await peers.app.gone.wait()
            assert stream.told[-1] == "lost"

    run(main)


def test_a_bad_request_is_answered_although_more_comes(
    run: Callable[..., None], connect: Connect
) -> None:
    async def main() -> None:
        async with connect() as peers:
            await peers.send(b"nonsense\r\n\r\n" + b"x" * 1_000_000)
            (answer,) = answers_of(await peers.receive_all())  # to the end: no reset
            assert (answer.status, answer.last) == (400, True)
            await peers.send(b"x" * 1_000_000)
            assert not peers.app.gone.is_set()
            peers.client.close()
            await peers.app.gone.wait()

    run(main)


def test_a_half_closed_client_gets_the_answer_in_the_making(
    run: Callable[..., None], connect: Connect
) -> None:
    async def main() -> None:
        async with connect() as peers:
            await peers.send(get(b"/later"))
            peers.client.shutdown(socket.SHUT_WR)
            await peers.until(lambda: bool(peers.app.handled))
            request = peers.connection.current
            assert request is not None
            await peers.until(lambda: not request.keep_alive)
            for _ in range(20):
                await asyncio.sleep(0)
            peers.connection.respond(200, b"", b"late")
            assert answers_of(await peers.receive_all()) == [Answer(200, b"late", True)]

    run(main)


def test_a_client_that_takes_nothing_is_ended(run: Callable[..., None], connect: Connect) -> None:
    async def main() -> None:
        async with connect() as peers:
            stream = await peers.stream()
            peers.connection.write(pattern(MUCH))
            peers.app.clock.advance(STALL_TIMEOUT - 1)
            await asyncio.sleep(0)
            assert not peers.app.gone.is_set()
            peers.app.clock.advance(STALL_TIMEOUT / 4 + 2)
            await peers.app.gone.wait()
            assert peers.app.stalled == 1
            assert stream.told == ["lost"]

    run(main)


def test_a_client_that_takes_some_now_and_then_is_not(
    run: Callable[..., None], connect: Connect
) -> None:
    async def main() -> None:
        async with connect() as peers:
            await peers.stream()
            unsent = peers.connection._unsent  # what the kernel takes of ours is not taken yet
            peers.connection.write(bytes(6 * MUCH))
            for _ in range(4):
                before = unsent()
                while unsent() > before - 100_000:
                    assert await peers.receive(100_000)
                assert peers.congested()
                peers.app.clock.advance(STALL_TIMEOUT - 5)
            assert peers.app.stalled == 0
            peers.app.clock.advance(STALL_TIMEOUT + 6)
            await peers.app.gone.wait()
            assert peers.app.stalled == 1

    run(main)
