"""What a request shows: where a cookie stands, and that reading it takes no time to speak of."""

from __future__ import annotations

import time

import pytest

from tidewire.access.access import Credentials
from tidewire.server.identifying import take_credentials
from tidewire.server.request import Request

OWN = {b"sec-fetch-site": b"same-origin"}


def shown(cookie: bytes) -> Credentials:
    """What the server's own page shows with this header."""
    request = Request(b"GET", b"/sse", {b"cookie": cookie} | OWN, "1.1", True)
    return take_credentials(request, "session")


@pytest.mark.parametrize(
    "cookie",
    [
        b"session=a.b.c",
        b" session = a.b.c ",
        b'session="a.b.c"',
        b"other=1; session=a.b.c; more=2",
        b"broken;session=a.b.c",
        b'other="; session=a.b.c',
        b"session=a.b.c; session=d.e.f",
        b"sessions=1; Session=2; session=a.b.c",
    ],
)
def test_a_token_in_the_cookie(cookie: bytes) -> None:
    assert shown(cookie) == Credentials(token="a.b.c")


@pytest.mark.parametrize(
    "cookie", [b"", b"session", b"session=", b'session=""', b"sessions=a.b.c", b"=a.b.c", b";;="]
)
def test_no_token_in_the_cookie(cookie: bytes) -> None:
    assert shown(cookie) == Credentials()


def test_only_the_servers_own_page_shows_its_cookie() -> None:
    request = Request(b"GET", b"/sse", {b"cookie": b"session=a.b.c"}, "1.1", True)
    assert take_credentials(request, "session") == Credentials()


@pytest.mark.parametrize("piece", [b"\\", b'\\"', b"\\1", b";", b"a=b;", b'"', b"=", b" ", b"a"])
def test_a_cookie_is_read_in_linear_time(piece: bytes) -> None:
    text = piece * (100_000 // len(piece))
    start = time.process_time()
    for cookie in (text, b"session=" + text, b'session="' + text + b'"'):
        shown(cookie)
    assert time.process_time() - start < 0.5
