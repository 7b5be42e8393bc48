"""Request smuggling and broken HTTP, over sockets: one reading of all bytes, or none.

Behind every attack stands a good request that publishes a message. An attack that is refused is
answered once, and ends the connection; the request behind it is not answered, and its message is
in no channel.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_http import RawConnection
from tests.conformance.http_attacks import REFUSED, TAKEN, UPGRADES, Attack, Odd, Upgrade, get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess


def publish(channel: bytes) -> bytes:
    """A good request, which publishes one message."""
    body = b'{"channel":"%b","data":1}' % channel
    head = b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


SMUGGLED = publish(b"smuggled")


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[RawConnection]:
    """A connection to attack; afterwards nothing was smuggled, and the server serves others."""
    with RawConnection(server.address) as connection:
        yield connection
    with RawConnection(server.address) as witness:
        history = witness.get("/history?channel=smuggled")
        assert history.json()["messages"] == []


def refused(connection: RawConnection, attack: Attack) -> None:
    """The next answer refuses *attack*, and is the last."""
    answer = connection.response()
    assert (answer.status, answer.problem["code"]) == (attack.status, attack.code), answer
    assert answer.headers["connection"] == "close"
    assert connection.read_to_end() == b"", "what follows a refused request was answered"


@pytest.mark.parametrize("attack", REFUSED.values(), ids=REFUSED)
def test_an_attack_is_refused_and_nothing_behind_it_is_read(
    connection: RawConnection, attack: Attack
) -> None:
    connection.send(attack.sent + SMUGGLED)
    refused(connection, attack)
    with RawConnection(connection.address) as other:
        other.send(get() + attack.sent + SMUGGLED)
        assert other.response().json() == {"status": "ok"}
        refused(other, attack)


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_what_is_behind_a_wish_to_upgrade_is_no_request(
    connection: RawConnection, upgrade: Upgrade
) -> None:
    connection.send(upgrade.sent + SMUGGLED)
    assert connection.response().status == upgrade.status
    assert b"HTTP/1.1" not in connection.read_to_end()


@pytest.mark.parametrize("odd", TAKEN.values(), ids=TAKEN)
def test_what_can_be_read_in_one_way_is_answered_once(server: ServerProcess, odd: Odd) -> None:
    with RawConnection(server.address) as connection:
        body = b"x" * 60 if b"Content-Length: 60" in odd.sent else b""
        connection.send(odd.sent + body + publish(b"behind") + get())
        assert connection.response().status == odd.status
        published = connection.response()
        assert (published.status, published.json()["channel"]) == (200, "behind")
        assert connection.response().json() == {"status": "ok"}


def test_bytes_that_are_a_body_are_no_request(connection: RawConnection) -> None:
    """The same bytes as body and as request: whoever counted otherwise would publish."""
    connection.send(get(b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED + get())
    assert connection.response().json() == {"status": "ok"}
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    connection.send(get(b"Transfer-Encoding: chunked") + chunk + get(b"Connection: close"))
    for _ in range(3):
        assert connection.response().json() == {"status": "ok"}
    assert connection.ended


def test_tls_where_it_is_not_spoken(connection: RawConnection) -> None:
    hello = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    connection.send(hello.read())
    refused(connection, Attack(b""))


def test_a_target_of_8000_bytes_is_taken(connection: RawConnection) -> None:
    """RFC 9112 section 3 asks for that."""
    target = b"/poll?channels=a&device=" + b"x" * 7_976
    connection.send(get(target=target))
    assert connection.response().status == 200
