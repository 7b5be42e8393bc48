"""The console, the page that the server shows at its root, and the client that it is made of."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
}

# Nothing but the server's own files and its own addresses (its WebSockets are 'self' to browsers
# since 2022), no script or style within the page, and no text that becomes code.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_NEVER_USED = (
    "accelerometer camera display-capture fullscreen geolocation gyroscope magnetometer microphone "
    "midi payment picture-in-picture publickey-credentials-get usb"
)
_SAFETY = (
    f"Content-Security-Policy: {_POLICY}\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    f"Permissions-Policy: {', '.join(f'{name}=()' for name in _NEVER_USED.split())}\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)


CLIENT = "client.js"
"""The JavaScript client in one file, as ``make client`` builds it: for pages of any origin."""


class StaticFile(NamedTuple):
    """A file with its header lines; ``tag`` is its quoted ``ETag``."""

    headers: bytes
    body: bytes
    tag: bytes


_PATHS = {"index.html": "/", CLIENT: f"/{CLIENT}"}
_ALLOWED = {CLIENT: "cross-origin"}


def static_files(*, console: bool = True) -> dict[str, StaticFile]:
    """The files by path: ``/`` for the page, ``/console/…`` for what it loads, ``/client.js``.

    Without the *console* the last one alone.
    """
    found = {}
    for entry in (files(__name__) / "static").iterdir():
        ending = entry.name.rpartition(".")[2]
        if entry.is_file() and ending in _TYPES and (console or entry.name == CLIENT):
            body = entry.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            headers = (
                f"Content-Type: {_TYPES[ending]}\r\nCache-Control: no-cache\r\nETag: {tag}\r\n"
                f"Cross-Origin-Resource-Policy: {_ALLOWED.get(entry.name, 'same-origin')}\r\n"
                + _SAFETY
            )
            path = _PATHS.get(entry.name, f"/console/{entry.name}")
            found[path] = StaticFile(headers.encode(), body, tag.encode())
    return found
