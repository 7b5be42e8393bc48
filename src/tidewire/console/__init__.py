"""The console: the page that the server shows at its root."""

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
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    f"Permissions-Policy: {', '.join(f'{name}=()' for name in _NEVER_USED.split())}\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)


class StaticFile(NamedTuple):
    """A file with its header lines; ``tag`` is its quoted ``ETag``."""

    headers: bytes
    body: bytes
    tag: bytes


def static_files() -> dict[str, StaticFile]:
    """The console's files by path: ``/`` for the page, ``/console/…`` for what it loads."""
    found = {}
    for entry in (files(__name__) / "static").iterdir():
        ending = entry.name.rpartition(".")[2]
        if entry.is_file() and ending in _TYPES:
            body = entry.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            headers = (
                f"Content-Type: {_TYPES[ending]}\r\nCache-Control: no-cache\r\nETag: {tag}\r\n"
                + _SAFETY
            )
            path = "/" if entry.name == "index.html" else f"/console/{entry.name}"
            found[path] = StaticFile(headers.encode(), body, tag.encode())
    return found
