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
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

MOST_HOPS = 32
"""Proxies that a request may have come through. More are not looked at."""

# Pieces of a Forwarded header. A quote that nothing ends goes to the end, so that no character is
# looked at twice.
_PIECE = re.compile(r'"(?:[^"\\]|\\.?)*+"?|[^",;]+|[,;]', re.DOTALL)


_MAPPED = bytes(10) + b"\xff\xff"  # what an address of IPv4 begins with when written as IPv6


def counted(address: str) -> str:
    """What connections of *address* are counted under.

    That is its network of 64 bits in IPv6, where one client may have so many addresses that each
    connection comes from another one.
    """
    packed = _packed(address) if ":" in address else None
    if packed is None:
        return address
    if len(packed) == 4:
        return inet_ntop(AF_INET, packed)
    return inet_ntop(AF_INET6, packed[:8] + bytes(8)) + "/64"


class _Peer(NamedTuple):
    """An address at the other end of connections: its bytes, its shortest form, and its word."""

    packed: bytes
    text: str
    trusted: bool


class Addresses:
    """Finds clients' addresses behind the *trusted* proxies: addresses, or networks as in CIDR."""

    def __init__(self, trusted: Iterable[str]) -> None:
        # By the bytes of an address: for each network the bits that count, and what they are.
        self._trusted: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
        for proxy in trusted:
            network = ipaddress.ip_network(proxy, strict=False)
            bits = (int(network.netmask), int(network.network_address))
            self._trusted[network.max_prefixlen // 8].append(bits)
        self._trusts_some = any(self._trusted.values())
        # Behind proxies most connections come from the same few addresses.
        self._peer = lru_cache(1_024)(self._look_at)

    def is_trusted(self, peer: str) -> bool:
        """Whether what *peer* says of its clients is believed."""
        found = self._peer(peer) if self._trusts_some else None
        return found is not None and found.trusted

    def client(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The address of the client whose request came from *peer*, in its shortest form.

        What a proxy wrote that is no address stops the search at that proxy. So it does when
        both headers are there and do not agree: a proxy that writes one of them hands on the
        other as the client has made it up.
        """
        if not self._trusts_some and ":" not in peer:
            return peer
        known = self._peer(peer)
        if known is None:
            return peer
        packed, text, trusted = known
        if not trusted:
            return text
        forwarded = headers.get(b"forwarded")
        others = headers.get(b"x-forwarded-for")
        found = packed
        if others is not None:
            found = self._walk(packed, others.decode("latin-1").rsplit(",", MOST_HOPS)[-MOST_HOPS:])
        if forwarded is not None:
            named = self._walk(packed, _nodes(forwarded.decode("latin-1"))[-MOST_HOPS:])
            found = named if others is None or named == found else packed
        return _text(found)

    def _look_at(self, peer: str) -> _Peer | None:
        packed = _packed(peer)
        return None if packed is None else _Peer(packed, _text(packed), self._trusts(packed))

    def _walk(self, peer: bytes, hops: list[str]) -> bytes:
        """The last of *hops*, from the right, that a trusted one names, beginning with *peer*."""
        found = peer
        for hop in reversed(hops):
            named = _packed(_without_port(hop.strip(" \t")))
            if named is None:
                break
            found = named
            if not self._trusts(found):
                break
        return found

    def _trusts(self, packed: bytes) -> bool:
        number = int.from_bytes(packed, "big")
        for mask, network in self._trusted[len(packed)]:  # for each connection: no generator
            if number & mask == network:
                break
        else:
            return False
        return True


def _packed(text: str) -> bytes | None:
    """The 4 or 16 bytes of an address; one of IPv4 that is written as IPv6 is one of IPv4."""
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        packed = inet_pton(AF_INET6, text.partition("%")[0])  # without its zone
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _text(packed: bytes) -> str:
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


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
