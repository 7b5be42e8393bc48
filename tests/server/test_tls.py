"""TLS on real sockets, on both loops: handshakes, records, goodbyes, and slow clients.

What holds with TLS and without is in ``test_connection_sockets.py``. Time stands still here, except
where a test moves it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.certificates import Authority
from tests.server.peers import HEAD, SecurePeers, accepted, secured
from tests.server.stub_app import LIMITS, STALL_TIMEOUT, Answer, answers_of, get, post
from tidewire.server.certificate import Certificate
from tidewire.server.tls import PIECE, RECORD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Main = Callable[[SecurePeers], Awaitable[None]]

MUCH = 8 << 20  # bytes, more than the kernel takes for a client that does not read
LATE = 0.3  # seconds by which the wheel may be late
ALERT, HANDSHAKE = 21, 22  # types of records
FATAL = b"\2"


@pytest.fixture
def with_peers(
    run: Callable[..., None], certificate: Certificate, authority: Authority
) -> Callable[[Main], None]:
    """Run a test with a client that has shaken hands."""
    context = authority.client_context()
    return lambda main: run(partial(_with, lambda: secured(certificate, context), main))


@pytest.fixture
def with_stranger(run: Callable[..., None], certificate: Certificate) -> Callable[[Main], None]:
    """Run it with a client that has only connected."""
    return lambda main: run(partial(_with, lambda: accepted(certificate), main))


async def _with(
    connect: Callable[[], AbstractAsyncContextManager[SecurePeers]], main: Main
) -> None:
    async with connect() as peers:
        await main(peers)


def pattern(count: int) -> bytes:
    """*count* bytes in which no part looks like another."""
    return random.Random(count).randbytes(count)


# Requests


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 150_000])
def test_a_body_of_many_records(with_peers: Callable[[Main], None], size: int) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.send(post(b"/p", pattern(size), b"Connection: close"))
        (answer,) = answers_of(await peers.receive_all())
        assert answer.body == b"/p" + pattern(size)

    with_peers(main)


def test_records_that_come_in_pieces(with_peers: Callable[[Main], None]) -> None:
    async def main(peers: SecurePeers) -> None:
        peers.tls.write(get(b"/a"))
        for byte in peers.outgoing.read():
            await peers.loop.sock_sendall(peers.client, bytes([byte]))
            await asyncio.sleep(0)
        peers.tls.write(get(b"/b", b"Connection: close"))
        await peers.flush()
        answers = answers_of(await peers.receive_all())
        assert [answer.body for answer in answers] == [b"/a", b"/b"]

    with_peers(main)


# A client that does not read


def test_what_waits_is_not_encrypted_before_the_kernel_takes_it(
    with_peers: Callable[[Main], None],
) -> None:
    """So that one message costs its bytes once, and not once for each slow client."""

    async def main(peers: SecurePeers) -> None:
        await peers.stream()
        peers.connection.write(pattern(MUCH))
        peers.connection.write(pattern(MUCH))
        assert peers.encrypted() <= PIECE + PIECE // 8
        assert await peers.receive(2 * MUCH) == 2 * pattern(MUCH)

    with_peers(main)


def test_others_get_their_turn_while_much_is_encrypted(
    with_peers: Callable[[Main], None],
) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.stream()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        peers.connection.write(bytes(64 << 20))
        assert len(await peers.receive(64 << 20)) == 64 << 20
        counting.cancel()
        assert turns >= 32, turns

    with_peers(main)


def test_a_control_frame_gets_between_the_frames_of_a_large_message(
    with_peers: Callable[[Main], None],
) -> None:
    frame = b"\x82\x7f" + (100_000).to_bytes(8) + bytes(100_000)

    async def main(peers: SecurePeers) -> None:
        stream = await peers.stream(b"/frames")
        message = frame * 80
        assert not peers.connection.write(message)
        peers.connection.interject(b"\x89\x00")
        whole = await peers.receive(len(message) + 2)
        await stream.resumed.wait()
        found = whole.index(b"\x89\x00")
        assert found % len(frame) == 0
        assert found < len(message)
        assert whole.replace(b"\x89\x00", b"") == message

    with_peers(main)


def test_even_while_closing(with_peers: Callable[[Main], None]) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.stream()
        peers.connection.write(pattern(MUCH))
        peers.connection.close()
        peers.app.clock.advance(STALL_TIMEOUT * 1.5)
        await peers.app.gone.wait()
        assert peers.app.stalled == 1

    with_peers(main)


# The end


def test_aborting_is_no_goodbye(with_peers: Callable[[Main], None]) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.stream()
        peers.connection.write(pattern(MUCH))
        peers.connection.abort()
        peers.connection.write(b"too late")
        await peers.app.gone.wait()
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            await peers.receive_all()

    with_peers(main)


@pytest.mark.parametrize("how", ["goodbye", "shutdown"])
def test_a_half_closed_client_gets_the_answer_in_the_making(
    with_peers: Callable[[Main], None], how: str
) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.send(get(b"/later"))
        if how == "goodbye":
            await peers.say_goodbye()
        else:  # TCP's end alone; who cuts a request short by it gets nowhere, as it has a length
            peers.client.shutdown(socket.SHUT_WR)
        await peers.until(lambda: bool(peers.app.handled))
        request = peers.connection.current
        assert request is not None
        await peers.until(lambda: not request.keep_alive)
        for _ in range(20):
            await asyncio.sleep(0)
        peers.connection.respond(200, b"", b"late")
        assert answers_of(await peers.receive_all()) == [Answer(200, b"late", True)]
        await peers.app.gone.wait()

    with_peers(main)


def test_what_follows_a_goodbye_is_nobodys(with_peers: Callable[[Main], None]) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.send(get(b"/later"))
        await peers.until(lambda: bool(peers.app.handled))
        await peers.say_goodbye()
        await peers.loop.sock_sendall(peers.client, b"neither TLS nor HTTP")
        request = peers.connection.current
        assert request is not None
        await peers.until(lambda: not request.keep_alive)
        for _ in range(20):
            await asyncio.sleep(0)
        peers.connection.respond(200, b"", b"late")
        assert answers_of(await peers.receive_all()) == [Answer(200, b"late", True)]
        await peers.app.gone.wait()
        assert peers.app.bad_tls == 0

    with_peers(main)


@pytest.mark.parametrize("how", ["goodbye", "shutdown", "close"])
def test_a_client_that_leaves_ends_its_stream(with_peers: Callable[[Main], None], how: str) -> None:
    async def main(peers: SecurePeers) -> None:
        stream = await peers.stream()
        if how == "goodbye":
            await peers.say_goodbye()
        elif how == "shutdown":
            peers.client.shutdown(socket.SHUT_WR)
        else:
            peers.client.close()
        await peers.app.gone.wait()
        assert stream.told == ["lost"]
        peers.connection.write(b"to nobody")

    with_peers(main)


def test_a_changed_record_ends_the_connection(with_peers: Callable[[Main], None]) -> None:
    async def main(peers: SecurePeers) -> None:
        stream = await peers.stream()
        peers.tls.write(b"question")
        record = bytearray(peers.outgoing.read())
        record[-1] ^= 1
        await peers.loop.sock_sendall(peers.client, record)
        await peers.app.gone.wait()
        assert stream.received == b""
        assert stream.told == ["lost"]
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            await peers.receive(1)

    with_peers(main)


# Strangers


def client_hello(version: bytes) -> bytes:
    """A greeting that offers this *version* as the highest, and ciphers of its time."""
    ciphers = bytes.fromhex("c013 c014 c009 c00a 002f 0035")
    body = version + bytes(32) + b"\0" + len(ciphers).to_bytes(2) + ciphers + b"\1\0"
    message = b"\1" + len(body).to_bytes(3) + body
    return bytes([HANDSHAKE]) + b"\3\1" + len(message).to_bytes(2) + message


@pytest.mark.parametrize(
    "version", [b"\3\0", b"\3\1", b"\3\2"], ids=["SSL 3", "TLS 1.0", "TLS 1.1"]
)
def test_old_versions_are_refused(with_stranger: Callable[[Main], None], version: bytes) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.loop.sock_sendall(peers.client, client_hello(version))
        alert = await peers.loop.sock_recv(peers.client, 100)
        assert alert[0] == ALERT
        assert alert[-2:-1] == FATAL
        assert alert[-1] in (40, 70)  # handshake failure, protocol version
        assert await peers.loop.sock_recv(peers.client, 100) == b""
        await peers.app.gone.wait()
        assert peers.app.bad_tls == 1

    with_stranger(main)


def test_a_plain_request_is_told_so(with_stranger: Callable[[Main], None]) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.loop.sock_sendall(peers.client, get(b"/"))
        said = b""
        while piece := await peers.loop.sock_recv(peers.client, 1000):
            said += piece
        (answer,) = answers_of(said)
        assert (answer.status, answer.last) == (400, True)
        assert b"use https" in answer.body
        await peers.app.gone.wait()
        assert peers.app.bad_tls == 1
        assert peers.app.handled == []

    with_stranger(main)


@pytest.mark.parametrize(
    "said",
    [b"nonsense, and much of it" * 9, bytes(500), b"\x16\3\1\xff\xff" + bytes(70_000)],
    ids=["text", "zeros", "too long a record"],
)
def test_what_is_not_tls_ends_the_connection(
    with_stranger: Callable[[Main], None], said: bytes
) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.loop.sock_sendall(peers.client, said)
        await peers.app.gone.wait()
        assert peers.app.bad_tls == 1
        assert peers.app.handled == []

    with_stranger(main)


@pytest.mark.parametrize("said", [b"", client_hello(b"\3\3")[:40]], ids=["nothing", "half"])
def test_a_handshake_has_as_long_as_a_head(
    with_stranger: Callable[[Main], None], said: bytes
) -> None:
    async def main(peers: SecurePeers) -> None:
        for byte in said:
            peers.app.clock.advance(LIMITS.head_timeout / 50)
            await peers.loop.sock_sendall(peers.client, bytes([byte]))
            await asyncio.sleep(0)
        assert not peers.app.gone.is_set()
        peers.app.clock.advance(LIMITS.head_timeout + LATE)
        await peers.app.gone.wait()
        assert peers.app.bad_tls == 0

    with_stranger(main)


@pytest.mark.parametrize("how", ["shutdown", "close"])
def test_who_leaves_in_the_handshake(with_stranger: Callable[[Main], None], how: str) -> None:
    async def main(peers: SecurePeers) -> None:
        await peers.loop.sock_sendall(peers.client, client_hello(b"\3\3")[:40])
        if how == "shutdown":
            peers.client.shutdown(socket.SHUT_WR)
        else:
            peers.client.close()
        await peers.app.gone.wait()

    with_stranger(main)


# What is agreed


@pytest.mark.parametrize(
    ("offered", "taken"),
    [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)],
)
def test_the_protocol_is_http_1_1(
    run: Callable[..., None],
    certificate: Certificate,
    authority: Authority,
    offered: list[str],
    taken: str | None,
) -> None:
    context = authority.client_context()
    context.set_alpn_protocols(offered)

    async def main(peers: SecurePeers) -> None:
        assert peers.tls.selected_alpn_protocol() == taken
        assert peers.tls.compression() is None
        await peers.send(get(b"/a"))
        assert await peers.receive(len(HEAD))

    run(partial(_with, lambda: secured(certificate, context), main))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(
    run: Callable[..., None],
    certificate: Certificate,
    authority: Authority,
    version: ssl.TLSVersion,
) -> None:
    context = authority.client_context()
    context.maximum_version = version

    async def main(peers: SecurePeers) -> None:
        await peers.send(get(b"/a"))
        await peers.receive(10)
        first = peers.tls
        assert not first.session_reused
        async with accepted(certificate) as again:
            await again.shake_hands(context, first.session)
            assert again.tls.session_reused
            assert again.tls.version() == first.version()

    run(partial(_with, lambda: secured(certificate, context), main))


def test_new_connections_get_the_new_certificate(
    run: Callable[..., None], authority: Authority
) -> None:
    pair = authority.issue("changing")
    certificate = Certificate(*pair)
    context = authority.client_context()

    def serial(peers: SecurePeers) -> object:
        shown = peers.tls.getpeercert()
        assert shown is not None
        return shown["serialNumber"]

    async def main(peers: SecurePeers) -> None:
        await peers.stream()
        pair.replace_by(authority.issue("newer"))
        certificate.reload()
        async with secured(certificate, context) as later:
            assert serial(later) != serial(peers)
            await later.send(get(b"/a"))
            await later.receive(10)
        peers.connection.write(b"still")
        assert await peers.receive(5) == b"still"

    run(partial(_with, lambda: secured(certificate, context), main))
