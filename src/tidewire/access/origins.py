"""Origins and Hosts: which web pages may use this server (RFC 6455 section 10.2, Fetch).

A browser tells the origin of the page that makes it send a request; no page can change that. A
request without ``Origin`` comes from no browser, or from the server's own pages, and passes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_MOST_KNOWN = 1024

# What browsers write, and nothing that one reader might take for another host than the next.
_ORIGIN = re.compile(r"(https?)://([^\s/?#@\\:\[\]]+|\[[0-9a-f:.]+\])(:[0-9]+)?")
_HOST = re.compile(r"(?:([^\[\]:]*)|\[([0-9a-f:.]+)\])(?::[0-9]*)?")


def is_loopback(host: str) -> bool:
    """Whether *host*, a name or an address without port or brackets, stands for this machine."""
    if host in ("localhost", "ip6-localhost") or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """The name or address of a ``Host`` header, without its port and an address's brackets."""
    host = host.strip().lower()
    match = _HOST.fullmatch(host)
    return host if match is None else match[1] or match[2] or ""


def _without_default_port(scheme: str, authority: str) -> str:
    return authority.removesuffix(":443" if scheme == "https" else ":80")


class Origins:
    """Decides on ``Origin`` and ``Host`` headers; what it decided is remembered.

    *allowed* are exact origins (scheme, host and port), or ``*``; when there are none, the server's
    own origin and loopback. *hosts* are accepted names; when there are none, loopback names
    on a loopback server, else any. With *secure* the server speaks TLS itself, so its own origin is
    not that of an ``http`` page of the same name.
    """

    def __init__(
        self,
        allowed: Iterable[str],
        hosts: Iterable[str],
        *,
        loopback_only: bool,
        secure: bool = False,
    ) -> None:
        self._allowed = frozenset(_canonical(origin) for origin in allowed)
        self._hosts = frozenset(host_name(host) for host in hosts)
        self._loopback_only = loopback_only
        self._secure = secure
        self._known_hosts: dict[str, bool] = {}
        self._known_origins: dict[tuple[str, str], bool] = {}

    def host_allowed(self, host: str) -> bool:
        """Whether the server answers to this ``Host``: the guard against DNS rebinding."""
        known = self._known_hosts.get(host)
        if known is None:
            if len(self._known_hosts) >= _MOST_KNOWN:
                self._known_hosts.clear()
            known = self._known_hosts[host] = self._decide_host(host_name(host))
        return known

    def allowed(self, origin: str, host: str) -> bool:
        """Whether a page of *origin* may use the server that it reached as *host*."""
        known = self._known_origins.get((origin, host))
        if known is None:
            if len(self._known_origins) >= _MOST_KNOWN:
                self._known_origins.clear()
            known = self._decide_origin(origin.lower(), host.lower())
            self._known_origins[origin, host] = known
        return known

    def _decide_host(self, name: str) -> bool:
        if self._hosts:
            return name in self._hosts or "*" in self._hosts
        return not self._loopback_only or is_loopback(name)

    def _decide_origin(self, origin: str, host: str) -> bool:
        if self._allowed:
            return "*" in self._allowed or origin in self._allowed
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            return False
        scheme, name, port = match[1], match[2], match[3] or ""
        # Some proxies write the port in Host although it is the scheme's own.
        is_own = name + port == _without_default_port(scheme, host)
        if is_own and (scheme == "https" or not self._secure):
            return True
        return is_loopback(name.strip("[]"))


def _canonical(origin: str) -> str:
    """An origin as a setting has it, in the way that browsers write it."""
    origin = origin.strip().rstrip("/").lower()
    return _without_default_port(origin.partition(":")[0], origin)
