"""Where a server is: its base URL, and the URLs of what it offers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

DEFAULT_URL = "http://127.0.0.1:8480"

Query = Iterable[tuple[str, str]]


class ServerAddress(NamedTuple):
    """The base URL of a server, path prefix included, without a slash at its end.

    A user and a password in it are for a proxy. They are not in ``url``, which may be logged, but
    in ``proxy``: the value of the header ``Authorization`` that shows them.
    """

    url: str
    proxy: str | None = None

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Check a base URL as people write it.

        Raises:
            ValueError: saying what is wrong with it.
        """
        text = text.strip()
        user, at, _ = text.partition("://")[2].partition("/")[0].rpartition("@")
        plain = text.replace(user + at, "", 1)
        try:
            parts = urlsplit(plain)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{plain!r} is not a URL: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{plain!r} is not the address of a server, such as {DEFAULT_URL}")
        if parts.query or parts.fragment:
            raise ValueError(f"{plain!r} has a query or a fragment; give the base URL alone")
        if port == 0:
            raise ValueError(f"{plain!r} has port 0; give the port that the server printed")
        url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        return cls(url, _basic(user) if user else None)

    def __repr__(self) -> str:
        return f"ServerAddress({self.url!r})"

    @property
    def is_secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.url.startswith("https:")

    def http(self, path: str, query: Query = ()) -> str:
        """The URL of *path*, such as ``/sse``, with a query."""
        return f"{self.url}{path}{_encode(query)}"

    def websocket(self, path: str, query: Query = ()) -> str:
        """The same with the scheme ``ws`` or ``wss``."""
        return "ws" + self.http(path, query).removeprefix("http")


def _basic(user: str) -> str:
    """RFC 7617, for ``user:password`` as it stands in a URL."""
    name, _, password = user.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def _encode(query: Query) -> str:
    # Commas and colons may stand in a query as they are; so URLs in logs stay readable.
    pairs = [f"{name}={quote(value, safe=',:/@')}" for name, value in query]
    return "?" + "&".join(pairs) if pairs else ""
