"""Which web pages may use the server: exact origins, own and loopback ones, no rebound host."""

from __future__ import annotations

import pytest

from tidewire.access import origins
from tidewire.access.origins import Origins, host_name, is_loopback


def local() -> Origins:
    """What a server on a loopback address has by default."""
    return Origins([], [], loopback_only=True)


def public() -> Origins:
    """What a server on any other address has by default."""
    return Origins([], [], loopback_only=False)


def only(*allowed: str) -> Origins:
    return Origins(allowed, [], loopback_only=False)


# Origins by default: the server's own and loopback


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://app.example", "app.example"),
        ("https://App.Example", "app.EXAMPLE"),
        ("http://app.example:8480", "app.example:8480"),
        ("http://app.example", "app.example:80"),
        ("https://app.example", "app.example:443"),
        ("http://192.0.2.1:8480", "192.0.2.1:8480"),
        ("http://[2001:db8::1]:8480", "[2001:db8::1]:8480"),
        ("https://[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_a_page_of_the_server_itself_may(origin: str, host: str) -> None:
    assert public().allowed(origin, host)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://localhost:3000",
        "https://localhost:3000",
        "http://LOCALHOST:3000",
        "http://app.localhost:3000",
        "http://127.0.0.1:5173",
        "http://127.8.9.10",
        "http://[::1]",
        "http://[::1]:3000",
    ],
)
@pytest.mark.parametrize("host", ["app.example", "127.0.0.1:8480", ""])
def test_a_page_of_this_machine_may(origin: str, host: str) -> None:
    assert public().allowed(origin, host)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        # the server's name with something before, behind or inside
        "https://app.example.evil.example",
        "https://evilapp.example",
        "https://sub.app.example",
        "https://app.example.",
        "https://app-example",
        "https://example",
        # its name on another port, or with another scheme's
        "https://app.example:444",
        "https://app.example:80",
        "http://app.example:443",
        "https://app.example:",
        "ftp://app.example",
        "ws://app.example",
        "wss://app.example",
        "chrome-extension://app.example",
        "file://",
        "file://app.example",
        "app.example",
        "//app.example",
        # pages without an origin: sandboxed frames, files, redirects
        "null",
        "",
        " ",
        # no browser writes these
        "https://app.example/",
        "https://app.example/path",
        "https://app.example?query",
        "https://app.example#fragment",
        "https://evil.example/app.example",
        "https://app.example@evil.example",
        "https://evil.example@app.example",
        "https://evil.example\\@app.example",
        "https://app.example https://evil.example",
        "https://evil.example, https://app.example",
        "https://app.example\n",
        "https://",
        "https:app.example",
        "https:///app.example",
        # names and addresses that only look like loopback
        "http://localhost.evil.example",
        "http://evil-localhost",
        "http://notlocalhost",
        "http://localhost.",
        "http://localhost@evil.example",
        "http://evil.example@localhost",
        "http://localhost#.evil.example",
        "http://localhost?.evil.example",
        "http://localhost\\.evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1.nip.io",
        "http://1127.0.0.1",
        "http://0.0.0.0:8480",
        "http://[::]:8480",
        "http://[::1].evil.example",
        "http://[::1]evil.example",
        "http://[localhost]",
        "http://[::1",
        "http://::1",
        "http://10.0.0.1",
        "http://192.168.1.1",
        "http://169.254.169.254",
    ],
)
def test_any_other_page_may_not(origin: str) -> None:
    for origins_ in (local(), public()):
        assert not origins_.allowed(origin, "app.example")
        assert not origins_.allowed(origin, "app.example")  # nor when it is remembered


def test_the_same_name_under_another_host_is_foreign() -> None:
    decided = public()
    assert decided.allowed("https://a.example", "a.example")
    assert not decided.allowed("https://a.example", "b.example")
    assert decided.allowed("https://b.example", "b.example")


# Origins that are set


def test_a_plain_page_is_foreign_to_a_server_that_speaks_tls() -> None:
    secure = Origins([], [], loopback_only=False, secure=True)
    assert secure.allowed("https://app.example", "app.example")
    assert not secure.allowed("http://app.example", "app.example")
    assert not secure.allowed("http://app.example:8443", "app.example:8443")
    assert public().allowed("http://app.example", "app.example")


def test_only_exact_origins_may() -> None:
    decided = only("https://app.example", "https://other.example:8443")
    for origin, may in {
        "https://app.example": True,
        "https://APP.example": True,
        "https://other.example:8443": True,
        "http://app.example": False,
        "https://app.example:8443": False,
        "https://other.example": False,
        "https://sub.app.example": False,
        "https://app.example.evil.example": False,
        "https://app.example/": False,
        "http://localhost:3000": False,
        "https://server.example": False,
        "null": False,
        "": False,
    }.items():
        assert decided.allowed(origin, "server.example") is may, origin


@pytest.mark.parametrize(
    "written",
    [
        "https://App.example",
        "https://app.example/",
        "https://app.example:443",
        " https://app.example ",
    ],
)
def test_an_origin_can_be_written_in_other_ways_than_browsers_do(written: str) -> None:
    assert only(written).allowed("https://app.example", "server.example")


def test_the_port_of_another_scheme_is_not_left_out() -> None:
    assert only("https://app.example:80").allowed("https://app.example:80", "server.example")
    assert not only("https://app.example:80").allowed("https://app.example", "server.example")


def test_null_may_only_when_it_is_named() -> None:
    assert only("null").allowed("null", "server.example")
    assert not only("https://app.example").allowed("null", "server.example")


def test_a_star_lets_every_page_in() -> None:
    for origin in ("https://evil.example", "null", "", "garbage"):
        assert only("*").allowed(origin, "server.example")


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8480",
        "LOCALHOST",
        "app.localhost:8480",
        "127.0.0.1",
        "127.0.0.1:8480",
        "127.255.255.254",
        "[::1]",
        "[::1]:8480",
        " 127.0.0.1:8480 ",
    ],
)
def test_a_local_server_answers_to_loopback_names(host: str) -> None:
    assert local().host_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8480",
        "localhost.evil.example:8480",
        "127.0.0.1.nip.io:8480",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost@evil.example",
        "rebind.it",
        "0.0.0.0:8480",
        "[::]:8480",
        "[::1].evil.example",
        "[::1]evil.example:8480",
        "[localhost]:8480",
        "[::1",
        "192.168.1.1",
        "10.0.0.1:8480",
        "localhost, evil.example",
        "localhost:8480:8480",
        "localhost:evil.example",
    ],
)
def test_a_local_server_does_not_answer_to_a_rebound_name(host: str) -> None:
    assert not local().host_allowed(host)


def test_a_public_server_answers_to_any_name() -> None:
    for host in ("app.example", "192.0.2.1:8480", "[2001:db8::1]", ""):
        assert public().host_allowed(host)


@pytest.mark.parametrize("loopback_only", [True, False])
def test_hosts_that_are_set_are_the_only_ones(loopback_only: bool) -> None:
    decided = Origins(
        [],
        ["push.example", "Other.Example:443", "[2001:db8::1]", "::1"],
        loopback_only=loopback_only,
    )
    for host, may in {
        "push.example": True,
        "PUSH.example:8480": True,
        "other.example": True,
        "[2001:db8::1]:8480": True,
        "[::1]:8480": True,
        "push.example.evil.example": False,
        "sub.push.example": False,
        "localhost": False,
        "127.0.0.1": False,
        "": False,
    }.items():
        assert decided.host_allowed(host) is may, host


def test_a_star_among_the_hosts_turns_the_guard_off() -> None:
    assert Origins([], ["*"], loopback_only=True).host_allowed("evil.example")


# What is remembered


def test_a_host_and_an_empty_origin_are_remembered_apart() -> None:
    decided = local()
    assert decided.host_allowed("localhost")
    assert not decided.allowed("", "localhost")
    decided = local()
    assert not decided.allowed("", "localhost")
    assert decided.host_allowed("localhost")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "_MOST_KNOWN", 8)
    decided = local()
    for number in range(100):
        assert not decided.host_allowed(f"evil-{number}.example")
        assert not decided.allowed(f"https://evil-{number}.example", "localhost")
        assert 1 <= len(decided._known_hosts) <= 8
        assert 1 <= len(decided._known_origins) <= 8
    assert decided.host_allowed("localhost")


# The parts


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("App.Example:8480", "app.example"),
        ("app.example", "app.example"),
        ("app.example:", "app.example"),
        ("[2001:DB8::1]:8480", "2001:db8::1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("", ""),
        (":8480", ""),
    ],
)
def test_the_name_of_a_host(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("ip6-localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost.localdomain", False),
        ("0.0.0.0", False),
        ("::", False),
        ("128.0.0.1", False),
        ("127.1", False),  # browsers and resolvers disagree on it
        ("", False),
    ],
)
def test_what_stands_for_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
