"""What the head of a request means: its target, its host, the length of its body."""

from __future__ import annotations

import pytest

from tidewire.model import BadRequest
from tidewire.server.head import body_length, check_target

# Targets


@pytest.mark.parametrize("target", [b"/", b"/poll?channels=a", b"//other.example/poll", b"/a:80"])
def test_a_path_is_taken_as_it_is(target: bytes) -> None:
    assert check_target(b"GET", target, b"localhost") == (target, b"localhost")


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://a.example/poll?channels=b", b"/poll?channels=b", b"a.example"),
        (b"HTTPS://a.example:8443/x//y", b"/x//y", b"a.example:8443"),
        (b"http://[::1]:80/", b"/", b"[::1]:80"),
        (b"http://a.example", b"/", b"a.example"),
        (b"http://a.example?channels=b", b"/?channels=b", b"a.example"),
        (b"http://a.example/poll#part", b"/poll", b"a.example"),
    ],
)
def test_a_url_names_the_host_whatever_the_header_says(
    target: bytes, path: bytes, host: bytes
) -> None:
    assert check_target(b"GET", target, b"other.example") == (path, host)


@pytest.mark.parametrize(
    "target",
    [
        b"http:///poll",
        b"http://:80/poll",
        b"http://user@a.example/poll",
        b"http://a.example\\poll",
        b"http://a.example:80:80/poll",
        b"http:/poll",
        b"http:poll",
        b"ftp://a.example/poll",
        b"a.example:80",
        b"poll",
        b"*",
        b"",
    ],
)
def test_other_targets_are_refused(target: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        check_target(b"GET", target, b"localhost")
    assert caught.value.code == "bad_http"


def test_targets_of_their_methods_alone() -> None:
    assert check_target(b"OPTIONS", b"*", b"localhost") == (b"*", b"localhost")
    assert check_target(b"CONNECT", b"a.example:80", b"localhost") == (
        b"a.example:80",
        b"localhost",
    )


# Hosts


@pytest.mark.parametrize(
    "host",
    [None, b"", b"localhost", b"a.example:8480", b"A_b-c.example.", b"127.0.0.1:80", b"[::1]:80"],
)
def test_a_host_is_a_name_or_an_address(host: bytes | None) -> None:
    assert check_target(b"GET", b"/", host) == (b"/", host)


@pytest.mark.parametrize(
    "host",
    [
        b"a.example, b.example",
        b"a.example,b.example",
        b"a.example b.example",
        b"user@a.example",
        b"a.example/path",
        b"http://a.example",
        b"a.example:http",
        b"a.example:80:80",
        b"a.example:999999",
        b"[::1",
        b"::1",
        b"[a.example]",
        b"l\xf6calhost",
        b"a\tb",
        b'"a"',
        b"a" * 256,
    ],
)
def test_other_hosts_are_refused(host: bytes) -> None:
    for target in (b"/", b"http://localhost/"):
        with pytest.raises(BadRequest) as caught:
            check_target(b"GET", target, host)
        assert caught.value.code == "bad_http"


def test_many_hosts_leave_the_check_as_it_was() -> None:
    for n in range(3_000):
        host = b"%d.example" % n
        assert check_target(b"GET", b"/", host) == (b"/", host)
    with pytest.raises(BadRequest):
        check_target(b"GET", b"/", b"a b")


# Bodies


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ({}, 0),
        ({b"content-length": b"0"}, 0),
        ({b"content-length": b"007"}, 7),
        ({b"content-length": b"9" * 19}, 10**19 - 1),
        ({b"transfer-encoding": b"Chunked"}, None),
    ],
)
def test_the_length_of_a_body(headers: dict[bytes, bytes], length: int | None) -> None:
    assert body_length("1.1", headers, upgrade=False) == length


@pytest.mark.parametrize(
    "headers",
    [
        {b"content-length": b"0", b"transfer-encoding": b"chunked"},
        {b"content-length": b"0" * 20},
        {b"transfer-encoding": b"identity, chunked"},
        {b"transfer-encoding": b"gzip"},
        {b"transfer-encoding": b""},
    ],
)
def test_a_length_that_is_not_said_in_one_way(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(BadRequest):
        body_length("1.1", headers, upgrade=False)


def test_http_1_0_knows_no_chunks() -> None:
    with pytest.raises(BadRequest):
        body_length("1.0", {b"transfer-encoding": b"chunked"}, upgrade=False)


def test_what_begins_a_websocket_has_no_body() -> None:
    wish = {b"upgrade": b"websocket"}
    assert body_length("1.1", wish | {b"content-length": b"0"}, upgrade=True) == 0
    for length in ({b"content-length": b"1"}, {b"transfer-encoding": b"chunked"}):
        with pytest.raises(BadRequest):
            body_length("1.1", wish | length, upgrade=True)
        body_length("1.1", wish | length, upgrade=False)  # Connection does not list it
        body_length("1.1", {b"upgrade": b"h2c"} | length, upgrade=True)
