"""What a request shows of who it is from.

In this order: ``X-API-Key``, ``Authorization: Bearer``, ``token`` and ``ticket`` in the URL, and
the cookie, if the settings name one. The first that is there counts alone. What the URL has of it
is taken out of the request's query, so that nothing behind this can log it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidewire.access.access import Credentials
from tidewire.model import BadRequest, Unauthorized
from tidewire.transports.query import parameters

if TYPE_CHECKING:
    from tidewire.server.request import Request

_SECRET = (b"token", b"ticket", b"api_key")


def take_credentials(request: Request, cookie: str) -> Credentials:
    """What *request* shows; *cookie* is the name of the cookie that may hold a token, or empty.

    Raises:
        BadRequest: if the URL's part of it cannot be decoded.
        Unauthorized: if ``Authorization`` is not ``Bearer``.
    """
    in_url = _take_from_query(request)
    headers = request.headers
    origin = request.header(b"origin") if b"origin" in headers else None
    if b"x-api-key" in headers:
        return Credentials(request.header(b"x-api-key"), None, None, origin)
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, shown = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not shown.strip():
            raise Unauthorized(
                "Authorization takes Bearer and a token or a key", why="another scheme"
            )
        return Credentials(None, shown.strip().decode("latin-1"), None, origin)
    if in_url:
        if "token" in in_url:
            return Credentials(None, in_url["token"], None, origin)
        host = _own_host(request)
        return Credentials(in_url.get("api_key"), None, in_url.get("ticket"), origin, host)
    if cookie and b"cookie" in headers and _is_own_page(request):
        token = _cookie(headers[b"cookie"].decode("latin-1"), cookie)
        if token:
            return Credentials(token=token, origin=origin)
    return Credentials(origin=origin)


def _take_from_query(request: Request) -> dict[str, str]:
    """The credentials in the URL, which has them no longer then."""
    query = request.query
    if b"token=" not in query and b"ticket=" not in query and b"api_key=" not in query:
        return {}
    found: dict[str, str] = {}
    rest = []
    for part in query.split(b"&"):
        if part.partition(b"=")[0] in _SECRET:
            for name, values in parameters(part).items():
                if values[-1]:
                    if not values[-1].isascii():
                        raise BadRequest(f"{name} in the URL is ASCII text")
                    found[name] = values[-1]
        else:
            rest.append(part)
    request.query = b"&".join(rest)
    return found


def _is_own_page(request: Request) -> bool:
    """Whether a page that may use this server has made the browser send the cookie.

    A browser adds cookies to whatever any page makes it send. Such requests have an ``Origin``,
    which was checked by now; where there is none, ``Sec-Fetch-Site`` tells that the page is the
    server's own. Older browsers that do not send it get nowhere with a cookie.
    """
    return b"origin" in request.headers or request.headers.get(b"sec-fetch-site") == b"same-origin"


def _own_host(request: Request) -> str | None:
    """Where the request was sent to, if a page of the same origin has made a browser send it."""
    if request.headers.get(b"sec-fetch-site") != b"same-origin":
        return None
    return request.header(b"host")


def _cookie(header: str, name: str) -> str | None:
    """The value of a cookie (RFC 6265 section 4.2.1): of several the first, of the longest path.

    The standard library's reader takes a second for 16 KiB of backslashes (CVE-2024-7592).
    """
    for pair in header.split(";"):
        key, sign, value = pair.partition("=")
        if sign and key.strip(" \t") == name:
            value = value.strip(" \t")
            quoted = len(value) >= 2 and value[0] == value[-1] == '"'
            return value[1:-1] if quoted else value
    return None
