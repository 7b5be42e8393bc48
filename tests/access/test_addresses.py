"""Whose address counts, and what is believed of it."""

from __future__ import annotations

import time

import pytest

from tidewire.access.addresses import MOST_HOPS, Addresses, counted

PROXY = "10.0.0.1"
TRUSTED = ["10.0.0.0/8", "192.0.2.7", "fd00::/8"]


def client(peer: str, *, xff: str | None = None, forwarded: str | None = None) -> str:
    """The client of a request that came from *peer* with these headers."""
    headers = {}
    if xff is not None:
        headers[b"x-forwarded-for"] = xff.encode("latin-1")
    if forwarded is not None:
        headers[b"forwarded"] = forwarded.encode("latin-1")
    return Addresses(TRUSTED).client(peer, headers)


def test_without_proxies_the_peer_counts() -> None:
    assert Addresses(()).client(PROXY, {b"x-forwarded-for": b"203.0.113.9"}) == PROXY
    assert client("203.0.113.5", xff="203.0.113.9", forwarded="for=203.0.113.9") == "203.0.113.5"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("203.0.113.9,10.1.2.3 ,\t192.0.2.7", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),  # what the client has made up
        ("10.9.9.9, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),  # a client within the trusted network
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("203.0.113.9:5000", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_x_forwarded_for_is_read_from_the_right(header: str, expected: str) -> None:
    assert client(PROXY, xff=header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
        ("proto=https; for=203.0.113.9", "203.0.113.9"),
        ('for="203.0.113.9:5000"', "203.0.113.9"),
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ('for="[2001:db8::1]:443", for=10.1.2.3', "2001:db8::1"),
        ("for=6.6.6.6, for=203.0.113.9", "203.0.113.9"),
        ('for=203.0.113.9;host="a,b;for=6.6.6.6"', "203.0.113.9"),
        (r'for=203.0.113.9;host="\",for=6.6.6.6"', "203.0.113.9"),
        (r'for="203\.0.113.9"', "203.0.113.9"),
    ],
)
def test_forwarded_is_read_from_the_right(header: str, expected: str) -> None:
    assert client(PROXY, forwarded=header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        ",",
        "unknown",
        "_hidden",
        "203.0.113",
        "203.0.113.9.1",
        "203.0.113.9:",
        "203.0.113.9:x",
        "203.0.113.9:\xb2",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "[2001:db8::1]:",
        "[]",
        "2001:db8::1::1",
        "0x7f.1",
        "localhost",
        "\x00",
        "1" * 5_000,
        "203.0.113.9 203.0.113.8",
        "for=203.0.113.9",
    ],
)
def test_what_is_no_address_is_the_proxys(header: str) -> None:
    assert client(PROXY, xff=header) == PROXY
    assert client(PROXY, xff=f"203.0.113.9, {header}, 10.1.2.3") == "10.1.2.3"
    quoted = header.replace('"', "")
    if not header.startswith("for="):
        assert client(PROXY, forwarded=f'for="{quoted}"') == PROXY


@pytest.mark.parametrize(
    "header", ["", "for", "for=", 'for="', 'for="203.0.113.9', "host=a", ";;,"]
)
def test_a_broken_forwarded_is_the_proxys(header: str) -> None:
    assert client(PROXY, forwarded=header) == PROXY


def test_two_headers_that_do_not_agree_are_not_believed() -> None:
    # The proxy writes one of them and hands on the other, which the client has made up.
    assert client(PROXY, xff="203.0.113.9", forwarded="for=6.6.6.6") == PROXY
    assert client(PROXY, xff="203.0.113.9", forwarded="nonsense") == PROXY
    assert client(PROXY, xff="203.0.113.9", forwarded="for=203.0.113.9") == "203.0.113.9"


def test_no_more_hops_than_there_can_be() -> None:
    hops = ["203.0.113.9", *["10.0.0.1"] * 1_000]
    assert client(PROXY, xff=", ".join(hops)) == PROXY
    assert client(PROXY, forwarded=", ".join(f"for={hop}" for hop in hops)) == PROXY
    few = ", ".join(hops[:MOST_HOPS])
    assert client(PROXY, xff=few) == "203.0.113.9"


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "fd00::1", "192.0.2.7"])
def test_proxies_by_address_and_network(peer: str) -> None:
    assert Addresses(TRUSTED).is_trusted(peer)
    assert client(peer, xff="203.0.113.9") == "203.0.113.9"


@pytest.mark.parametrize("peer", ["192.0.2.8", "11.0.0.1", "fe00::1", "", "a socket"])
def test_all_others_are_not_trusted(peer: str) -> None:
    assert not Addresses(TRUSTED).is_trusted(peer)
    assert client(peer, xff="203.0.113.9") == peer


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_ipv6_counts_by_its_network(address: str, key: str) -> None:
    assert counted(address) == key


@pytest.mark.parametrize(
    "piece",
    ["10.0.0.1,", ",", ";", '"', '"\\"', "\\", 'for="10.0.0.1",', "for=10.0.0.1;", 'for="', "a="],
)
def test_headers_are_read_in_linear_time(piece: str) -> None:
    header = piece * (100_000 // len(piece))
    start = time.process_time()
    client(PROXY, xff=header)
    client(PROXY, forwarded=header)
    assert time.process_time() - start < 1.0  # 0.1 s; quadratic, it would be minutes
