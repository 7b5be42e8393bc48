"""The HTTP client that all of them share."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING

import httpx

import tidewire
from tidewire.client.answers import failure
from tidewire.client.credentials import NOBODY, SECRET_HEADERS
from tidewire.client.errors import Interrupted, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tidewire.client.address import ServerAddress
    from tidewire.client.credentials import Credentials, Token

EVENT_STREAM = "text/event-stream"
_TOKEN = "tidewire.token"  # noqa: S105  (where a request's extensions have it)


def open_http(address: ServerAddress, credentials: Credentials = NOBODY) -> httpx.AsyncClient:
    """A client with a pool of its own; close it, or use it as a context manager.

    Each request shows *credentials* to the server, and to no other that it redirects to.
    """
    headers = {"User-Agent": f"tidewire/{tidewire.__version__}"}
    if address.proxy is not None:
        headers["Authorization"] = address.proxy
    auth = _Showing(address, credentials)
    hooks = {"request": [auth.hide_from_others]}
    if address.is_secure:
        return httpx.AsyncClient(
            headers=headers,
            auth=auth,
            event_hooks=hooks,
            follow_redirects=True,
            verify=tls_context(),
        )
    # Reading all certificates takes longer than many a command (40 ms and more), so it is not done
    # where it is of no use; and nothing may go to another place without them.
    return httpx.AsyncClient(
        headers=headers,
        auth=auth,
        event_hooks=hooks,
        follow_redirects=True,
        verify=False,  # noqa: S501
        mounts={"https://": _NoTls()},
    )


@lru_cache(1)
def tls_context() -> ssl.SSLContext:
    """Whom to trust, for HTTP and WebSocket alike: the system's authorities and those of certifi.

    ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` in the environment name others instead.
    """
    context = httpx.create_ssl_context()  # certifi's, or those that the environment names
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        context.load_default_certs()
    return context


def token_of(answer: httpx.Response) -> Token | None:
    """The token that was shown for this answer, if one was."""
    token: Token | None = answer.request.extensions.get(_TOKEN)
    return token


def elsewhere(url: object) -> Refused:
    """What a redirect to another scheme comes to."""
    return Refused(f"the server redirects to {url}; use its https address")


class _Showing(httpx.Auth):
    """Shows credentials; after a 401, a new token where there is one to be had."""

    def __init__(self, address: ServerAddress, credentials: Credentials) -> None:
        self._server = httpx.URL(address.url)
        self._credentials = credentials

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        credentials = self._credentials
        while True:
            token = await credentials.token()
            request.headers.update(credentials.headers(token))
            request.extensions[_TOKEN] = token
            answer = yield request
            if answer.status_code != 401:
                # A stream says by its first event that it is one.
                if media_type_of(answer) != EVENT_STREAM:
                    credentials.accepted(token)
                return
            if not credentials.renewable or "authorization" not in answer.request.headers:
                return
            error = failure(401, answer.headers, await answer.aread())
            outcome = credentials.after(error, token)
            if not isinstance(outcome, Interrupted):
                raise outcome

    async def hide_from_others(self, request: httpx.Request) -> None:
        """Before each request, those that follow redirects among them."""
        url, server = request.url, self._server
        if (url.scheme, url.host, url.port) != (server.scheme, server.host, server.port):
            for name in SECRET_HEADERS:
                request.headers.pop(name, None)


def media_type_of(answer: httpx.Response) -> str:
    """The type of the answer's body, in lower case and without parameters; empty if unknown."""
    media_type: str = answer.headers.get("content-type", "")
    return media_type.partition(";")[0].strip().lower()


class _NoTls(httpx.AsyncBaseTransport):
    """Stands where a redirect would lead to TLS."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise elsewhere(request.url)
