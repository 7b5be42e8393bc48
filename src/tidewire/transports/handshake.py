"""The WebSocket handshake (RFC 6455 section 4.2) and what it agrees on, without sockets."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from tidewire.model import BadRequest

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = "13"


# The sizes of a window as they are written (RFC 7692 section 7.1.2): nothing else is a number here.
_WINDOWS = {str(bits): bits for bits in range(8, 16)}


class UnsupportedVersion(BadRequest):
    """The client speaks another version of the protocol (answered 426, section 4.2.2)."""

    status = 426
    title = "Upgrade required"
    code = "websocket_version"


class Deflate(NamedTuple):
    """permessage-deflate as agreed: no context is kept on either side (RFC 7692).

    ``limited``: the client asked for a window, which the answer must confirm (section 7.1.2.1).
    """

    window_bits: int
    limited: bool

    @property
    def header(self) -> str:
        """The value of ``Sec-WebSocket-Extensions`` in the answer."""
        bits = f"; server_max_window_bits={self.window_bits}" if self.limited else ""
        return f"permessage-deflate; server_no_context_takeover; client_no_context_takeover{bits}"


def accept_key(headers: Mapping[str, str]) -> str:
    """Check the client's half of the handshake; return ``Sec-WebSocket-Accept``.

    *headers* has lower-case names. That ``Connection`` lists ``upgrade`` and ``Upgrade`` is
    ``websocket`` was seen to when the request was taken for a handshake.

    Raises:
        UnsupportedVersion: if the version is not 13.
        BadRequest: if the key is not 16 bytes of Base64.
    """
    version = headers.get("sec-websocket-version")
    if version != VERSION:
        raise UnsupportedVersion(
            "this server speaks WebSocket version 13 (RFC 6455) only"
            if version
            else "the header Sec-WebSocket-Version is missing"
        )
    key = headers.get("sec-websocket-key", "")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:  # binascii.Error is one; characters outside ASCII raise another
        valid = False
    if not valid:
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes of Base64", code="websocket_key")
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def choose_subprotocol(offered: str | None, spoken: Mapping[str, object]) -> str | None:
    """The first protocol that the client offers and the server speaks."""
    for name in (offered or "").split(","):
        if name.strip() in spoken:
            return name.strip()
    return None


def agree_deflate(offers: str | None) -> Deflate | None:
    """The first offer of permessage-deflate that can be accepted, or ``None``.

    The server keeps no context, so that one compressed message serves all clients; it asks the same
    of the client, so that an idle connection holds no window. An offer with an unknown or
    malformed parameter is declined, as RFC 7692 section 7.1 asks.
    """
    for offer in (offers or "").split(","):
        name, *parameters = [part.strip() for part in offer.split(";")]
        if name.lower() == "permessage-deflate" and (agreed := _agreed(parameters)):
            return agreed
    return None


def _agreed(parameters: list[str]) -> Deflate | None:
    """What *parameters* allow, ``None`` when they cannot be accepted."""
    bits = 15
    seen = set()
    for parameter in parameters:
        name, equals, value = (part.strip() for part in parameter.partition("="))
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if name in seen:
            return None
        seen.add(name)
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if equals:
                return None
        elif name == "server_max_window_bits":
            bits = _WINDOWS.get(value, 0)
            if bits < 9:  # zlib cannot make a window of 8 bits
                return None
        elif name == "client_max_window_bits":
            if equals and value not in _WINDOWS:
                return None
        else:
            return None
    return Deflate(bits, "server_max_window_bits" in seen)
