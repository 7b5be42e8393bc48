"""Checks of single values that a range cannot express; each raises ``ValueError`` saying why."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal
from urllib.parse import urlsplit

ENGINE_FORMS = (
    "memory:, sqlite:///relative.db, sqlite:////absolute.db, redis://HOST:PORT/DATABASE, "
    "redis+unix:///PATH, redis+sentinel://HOST:PORT,HOST:PORT?master=NAME or "
    "redis+cluster://HOST:PORT,HOST:PORT (with rediss instead of redis: encrypted)"
)
MOST_WORKERS = 256
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_CHANNEL = re.compile(r"[A-Za-z0-9_\-.:/@#]{1,255}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_\-./@#]{1,254}")


def split_list(value: object) -> object:
    """A comma-separated text, or the array of a file, as a tuple; anything else unchanged."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def check_host(value: str) -> str:
    """An IP address or a host name, without a scheme or a port."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        name, colon, port = value.rpartition(":")
        if colon and port.isdecimal() and _HOST_NAME.fullmatch(name):
            raise ValueError(f"the port is a setting of its own: --port {port}") from None
        if not _HOST_NAME.fullmatch(value):
            raise ValueError("it is neither an IP address nor a host name") from None
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``; no name but localhost is trusted to say so."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_engine(value: str) -> str:
    """The address of a log: :data:`ENGINE_FORMS`."""
    if value == "memory:":
        return value
    if value.startswith(("redis", "valkey")):
        return _check_redis(value)
    path = value.removeprefix("sqlite:///")
    if path == value:
        raise ValueError("no such engine")
    if not path.strip("/"):
        raise ValueError("the path of the database file is missing")
    if path == ":memory:":
        raise ValueError("for a log in memory write memory:")
    if path.endswith("/") or "\0" in path:
        raise ValueError("that is no path of a file")
    return value


def _check_redis(value: str) -> str:
    # Here, because whoever has no Redis need not wait for it.
    from tidewire.log.redis_address import is_redis, parse_address

    if value.startswith("valkey"):
        raise ValueError("a Valkey server is named as a Redis is, redis://")
    if not is_redis(value):
        raise ValueError("no such engine")
    parse_address(value)
    return value


def check_jwks_url(value: str) -> str:
    """Where keys come from: nobody on the way may put in their own."""
    if not value:
        return value
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("that is no address") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("that is no address")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("over http anybody on the way could put in their own keys: use https")
    return value


def check_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses of IPv4 and IPv6, and networks of them as in CIDR."""
    for network in value:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"{network!r} is neither an address nor a network") from None
    return value


def check_namespace(value: str) -> str:
    """The part of a channel's name before the first colon."""
    if not _NAMESPACE.fullmatch(value):
        raise ValueError("a namespace has 1 to 254 characters of A-Z a-z 0-9 _ - . / @ #")
    return value


def check_auto_channels(value: tuple[str, ...]) -> tuple[str, ...]:
    """Names of channels, @me among them, that every subscriber gets: so few of them."""
    for name in value:
        if not _CHANNEL.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a channel")
    if len(value) > 16:
        raise ValueError("every subscriber would have more than 16 channels")
    return value


def check_workers(value: object) -> int | Literal["auto"]:
    """How many processes, or ``auto``; as strict as other settings are."""
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_WORKERS:
        raise ValueError("no number of processes")
    return value
