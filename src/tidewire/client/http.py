"""The HTTP client that all of them share."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING

import httpx

import tidewire
from tidewire.client.errors import Refused

if TYPE_CHECKING:
    from tidewire.client.address import ServerAddress


def open_http(address: ServerAddress) -> httpx.AsyncClient:
    """A client with a pool of its own; close it, or use it as a context manager."""
    headers = {"User-Agent": f"tidewire/{tidewire.__version__}"}
    if address.is_secure:
        return httpx.AsyncClient(headers=headers, follow_redirects=True, verify=tls_context())
    # Reading all certificates takes longer than many a command (40 ms and more), so it is not done
    # where it is of no use; and nothing may go to another place without them.
    return httpx.AsyncClient(
        headers=headers,
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


class _NoTls(httpx.AsyncBaseTransport):
    """Stands where a redirect would lead to TLS."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise Refused(f"the server redirects to {request.url}; use its https address")
