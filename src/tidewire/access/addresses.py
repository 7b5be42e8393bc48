"""The address that a request comes from, also behind proxies.

A proxy adds the address of whom it serves to ``X-Forwarded-For``, or to ``Forwarded`` (RFC 7239).
Anybody can write anything there; so what counts is read from the right, where the last proxy wrote,
and only as far as those that wrote it are trusted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_HOPS = 32
"""Proxies that a request may have come through. More are not looked at."""

_LONGEST = 100  # characters of an address as a proxy writes it, with quotes and port

# Pieces of a Forwarded header. A quote that nothing ends goes to the end, so that no character is
# looked at twice.
_PIECE = re.compile(r'"(?:[^"\\]|\\.?)*+"?|[^",;]+|[,;]', re.DOTALL)


def counted(address: str) -> str:
    """What connections of *address* are counted under.

    That is its network of 64 bits in IPv6, where one client may have so many addresses that each
    connection comes from another one.
    """
    parsed = _parse(address) if ":" in address else None
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address


class Addresses:
    """Finds clients' addresses behind the *trusted* proxies: addresses, or networks as in CIDR."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted: list[_Network] = [
            ipaddress.ip_network(proxy, strict=False) for proxy in trusted
        ]
        self.trusts = lru_cache(1024)(self._trusts)

    def is_trusted(self, peer: str) -> bool:
        """Whether what *peer* says of its clients is believed."""
        parsed = _parse(peer)
        return parsed is not None and self.trusts(parsed)

    def client(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The address of the client whose request came from *peer*, in its shortest form.

        What a proxy wrote that is no address stops the search at that proxy. So it does when
        both headers are there and do not agree: a proxy that writes one of them hands on the
        other as the client has made it up.
        """
        if not self._trusted and ":" not in peer:
            return peer
        parsed = _parse(peer)
        if parsed is None:
            return peer
        if not self.trusts(parsed):
            return str(parsed)
        forwarded = headers.get(b"forwarded")
        others = headers.get(b"x-forwarded-for")
        found = parsed
        if others is not None:
            found = self._walk(parsed, others.decode("latin-1").rsplit(",", MOST_HOPS)[-MOST_HOPS:])
        if forwarded is not None:
            named = self._walk(parsed, _nodes(forwarded.decode("latin-1"))[-MOST_HOPS:])
            found = named if others is None or named == found else parsed
        return str(found)

    def _walk(self, peer: _Address, hops: list[str]) -> _Address:
        """The last of *hops*, from the right, that a trusted one names, beginning with *peer*."""
        found = peer
        for hop in reversed(hops):
            named = _parse(_without_port(hop.strip(" \t")))
            if named is None:
                break
            found = named
            if not self.trusts(found):
                break
        return found

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> _Address | None:
    """An address; one of IPv4 that is written as IPv6 is one of IPv4."""
    if len(text) > _LONGEST:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))  # without its zone
    return address


def _without_port(hop: str) -> str:
    """An address as proxies write it: ``192.0.2.1``, ``192.0.2.1:80``, ``[2001:db8::1]:80`` …"""
    if hop.startswith("["):
        address, bracket, port = hop[1:].partition("]")
        return address if bracket and (not port or _is_port(port)) else ""
    address, colon, port = hop.partition(":")
    return address if colon and _is_port(colon + port) else hop


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit()


def _nodes(header: str) -> list[str]:
    """The value of ``for`` in each element of a Forwarded header; "" where there is none."""
    nodes = [""]
    pair = ""
    for piece in [*_PIECE.findall(header), ","]:
        if piece not in (",", ";"):
            pair += piece
            continue
        name, _, value = pair.partition("=")
        if name.strip(" \t").lower() == "for":
            nodes[-1] = _unquoted(value.strip(" \t"))
        pair = ""
        if piece == ",":
            nodes.append("")
    return nodes[:-1]


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
