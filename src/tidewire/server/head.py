"""What the head of a request means: whom it is sent to, and how long its body is.

Everything here is refused that another server could read in another way (RFC 9112 sections 3.2, 6.1
and 11.2).
"""

from __future__ import annotations

import re

from tidewire.model import BadRequest

# As RFC 3986 has it, but for the comma: that may be two fields that some server joined to one.
_HOST = re.compile(
    rb"(?:[A-Za-z0-9\-._~%!$&'()*+;=]{0,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?"
)
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^#]*).*", re.IGNORECASE | re.DOTALL)
_MOST_DIGITS = 19  # of a length: more could be over 64 bits

# Hosts that were found good: the same few come with every request.
_MOST_KNOWN = 1_000
_known: set[bytes] = set()


def bad_http(detail: str) -> BadRequest:
    """The error of a request that is not HTTP/1.1, or not HTTP/1.1 alone."""
    return BadRequest(detail, code="bad_http")


def check_target(method: bytes, target: bytes, host: bytes | None) -> tuple[bytes, bytes | None]:
    """The path and query that a request is for, and the host that it means.

    The absolute form names the host itself, whatever ``Host`` says. Of the other forms
    ``OPTIONS *`` and the authority behind ``CONNECT`` stay as they are.

    Raises:
        BadRequest: if target or host are none of that.
    """
    if host is not None and host not in _known:
        _check_host(host)
    if target.startswith(b"/"):
        return target, host
    if (absolute := _ABSOLUTE.fullmatch(target)) is not None:
        authority, path = absolute[1], absolute[2]
        _check_host(authority)
        if authority.startswith(b":"):
            raise bad_http("the target is a URL that names no host")
        return (path if path.startswith(b"/") else b"/" + path), authority
    if method == b"CONNECT" or (method == b"OPTIONS" and target == b"*"):
        return target, host
    raise bad_http("a target is a path that begins with a slash, or an http URL")


def _check_host(host: bytes) -> None:
    if _HOST.fullmatch(host) is None:
        raise bad_http("a host is a name or an address, and a port where there is one")
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known.add(host)


def body_length(version: str, headers: dict[bytes, bytes], *, upgrade: bool) -> int | None:
    """How many bytes the body has; ``None`` if it comes in chunks. *upgrade*: what follows may not.

    Raises:
        BadRequest: if that is not said in exactly one way, or is no length.
    """
    coding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if coding is length is None:
        return 0
    if coding is not None and (
        length is not None or coding.lower() != b"chunked" or version == "1.0"
    ):
        raise bad_http("a body has either Content-Length or Transfer-Encoding: chunked")
    if length is not None and len(length) > _MOST_DIGITS:
        raise bad_http(f"Content-Length has more than {_MOST_DIGITS} digits")
    bytes_to_come = int(length or 0) if coding is None else None
    if upgrade and bytes_to_come != 0 and headers.get(b"upgrade", b"").lower() == b"websocket":
        raise bad_http("a request that begins a WebSocket has no body")
    return bytes_to_come
