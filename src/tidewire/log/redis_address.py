"""Where a log on Redis is: the URL that names it, taken apart and checked.

::

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]
    redis+unix:///PATH/TO/SOCKET
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…[/DATABASE]?master=NAME
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…

With ``rediss`` instead of ``redis`` the connections are encrypted. User and password are percent-
encoded, and are those of the servers that keep the log. Behind ``?`` may stand, in any order:

``prefix``
    What all keys begin with, ``{PREFIX}:``, so that several logs can be on one server. Default
    ``tidewire``.
``replicas``
    By how many replicas a message is to be held before its publish is answered. Default 0.
``partitions``
    Over how many logs the channels are spread, which then have one order together; in a cluster
    they are on different servers. All nodes need the same number, and another one begins anew.
    Default 1.
``master``
    Sentinel only, and needed there: the name by which the sentinels know the servers.
``sentinel_user``, ``sentinel_password``
    Sentinel only: the credentials of the sentinels themselves.
``database``
    The same as behind the slash, for addresses that have none.
``ca``, ``certificate``, ``key``
    Encrypted only: paths of PEM files. The authorities to trust instead of the system's, and what
    this client shows of itself.
"""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

import msgspec

PORT: Final = 6379
SENTINEL_PORT: Final = 26379
MOST_REPLICAS: Final = 100
MOST_PARTITIONS: Final = 64

Kind = Literal["server", "unix", "sentinel", "cluster"]

_KINDS: Final[dict[str, Kind]] = {
    "": "server",
    "unix": "unix",
    "sentinel": "sentinel",
    "cluster": "cluster",
}
_SCHEME = re.compile(r"(rediss?)(?:\+([a-z]+))?")
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s\[\]:/?#@,]+))(?::([0-9]{1,5}))?", re.ASCII)
_SECRETS = re.compile(r"(?<=://)[^?]*@|(?<=[?&]sentinel_password=)[^&]*")


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A log on Redis. As a text it is the URL without its secrets.

    ``hosts`` are the server itself, all known sentinels, or some servers of the cluster; none for
    a Unix socket, which is ``path``.
    """

    kind: Kind
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    shown: str
    path: str = ""
    user: str = ""
    password: str = ""
    database: int = 0
    prefix: str = "tidewire"
    replicas: int = 0
    partitions: int = 1
    master: str = ""
    sentinel_user: str = ""
    sentinel_password: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"<RedisAddress {self.shown}>"


def is_redis(url: str) -> bool:
    """Whether *url* is meant to name a log on Redis, right or wrong."""
    return url.startswith(("redis:", "rediss:", "redis+", "rediss+"))


def without_secrets(url: str) -> str:
    """*url*, of whatever kind of log, as it may be logged."""
    return _SECRETS.sub(_hide, url) if is_redis(url) else url


def _hide(match: re.Match[str]) -> str:
    return "***@" if match[0].endswith("@") else "***"


def parse_address(url: str) -> RedisAddress:
    """Take *url* apart.

    Raises:
        ValueError: which says what is wrong and what is allowed, without the URL's secrets.
    """
    scheme, colon, rest = url.partition("://")
    match = _SCHEME.fullmatch(scheme)
    kind = _KINDS.get(match[2] or "") if match else None
    if match is None or kind is None or not colon:
        raise ValueError(
            f"{without_secrets(url)!r} names no log on Redis: it begins with redis://, "
            "redis+unix://, redis+sentinel:// or redis+cluster://, or, encrypted, with rediss"
        )
    tls = match[1] == "rediss"
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if "@" in path and kind != "unix":
        raise ValueError("user and password are percent-encoded in a URL: a / in them is %2F")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    options = _options(query, kind, tls)
    if kind == "unix":
        if hosts or not path or tls:
            raise ValueError(
                "a Unix socket is named redis+unix:///PATH, without a host, and is not encrypted"
            )
        found: tuple[tuple[str, int], ...] = ()
    else:
        found = _hosts(hosts, kind)
    if kind == "sentinel" and not options.get("master"):
        raise ValueError(
            "redis+sentinel:// needs the name of what the sentinels watch: add ?master=NAME"
        )
    return RedisAddress(
        kind=kind,
        tls=tls,
        hosts=found,
        shown=without_secrets(url),
        path=slash + unquote(path) if kind == "unix" else "",
        user=unquote(user),
        password=unquote(password),
        database=_database("" if kind == "unix" else path, options.get("database", ""), kind),
        prefix=_prefix(options.get("prefix", "tidewire")),
        replicas=_number("replicas", options.get("replicas", "0"), MOST_REPLICAS),
        partitions=_number("partitions", options.get("partitions", "1"), MOST_PARTITIONS, 1),
        master=options.get("master", ""),
        sentinel_user=options.get("sentinel_user", ""),
        sentinel_password=options.get("sentinel_password", ""),
        ca=options.get("ca", ""),
        certificate=options.get("certificate", ""),
        key=options.get("key", ""),
    )


def _options(query: str, kind: Kind, tls: bool) -> dict[str, str]:
    """What stands behind the question mark, each name once and only where it means something."""
    allowed = ["prefix", "replicas", "partitions"]
    if kind != "cluster":
        allowed.append("database")
    if kind == "sentinel":
        allowed += ["master", "sentinel_user", "sentinel_password"]
    if tls:
        allowed += ["ca", "certificate", "key"]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError("behind the ? of a Redis URL stand NAME=VALUE, with & between") from None
    options: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise ValueError(f"{name!r} is not known in this URL; here may stand {_or(allowed)}")
        if name in options:
            raise ValueError(f"{name!r} stands in the URL twice")
        options[name] = value
    if bool(options.get("certificate")) != bool(options.get("key")):
        raise ValueError("certificate and key are given together, or neither is")
    return options


def _or(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]


def _hosts(text: str, kind: Kind) -> tuple[tuple[str, int], ...]:
    default = SENTINEL_PORT if kind == "sentinel" else PORT
    hosts: list[tuple[str, int]] = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None:
            raise ValueError(
                f"{part!r} is no HOST or HOST:PORT of a Redis server"
                + ("; an IPv6 address stands in [ ]" if part.count(":") > 1 else "")
            )
        port = int(match[3] or default)
        if not 1 <= port <= 65535:
            raise ValueError(f"the port of {part!r} is not between 1 and 65535")
        hosts.append((match[1] or match[2], port))
    if kind == "server" and len(hosts) > 1:
        raise ValueError(
            "redis:// takes one server; several are redis+sentinel:// or redis+cluster://"
        )
    return tuple(hosts)


def _database(path: str, option: str, kind: Kind) -> int:
    if path and option:
        raise ValueError("the database stands in the URL twice, behind the / and as database=")
    number = _number("the database", path or option or "0", 1_000_000)
    if number and kind == "cluster":
        raise ValueError("a cluster has no databases but 0; use ?prefix= to keep logs apart")
    return number


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise ValueError("prefix is 1 to 64 characters of A-Z a-z 0-9 _ - . :")
    return text


def _number(name: str, text: str, most: int, least: int = 0) -> int:
    if not (text.isascii() and text.isdigit()) or not least <= int(text[:20]) <= most:
        raise ValueError(f"{name} is a whole number from {least} to {most}, not {text!r}")
    return int(text)
