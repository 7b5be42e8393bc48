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

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; "
    "img-src 'self' data:; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'none'"
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
                f"Content-Security-Policy: {_POLICY}\r\nReferrer-Policy: no-referrer\r\n"
            )
            path = "/" if entry.name == "index.html" else f"/console/{entry.name}"
            found[path] = StaticFile(headers.encode(), body, tag.encode())
    return found
